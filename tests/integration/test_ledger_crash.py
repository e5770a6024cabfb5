"""Real processes on one ledger, ended with SIGKILL at any moment: what was sent is always paid for, once.

The processes are forked from a small program of their own, which imports no torch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client.ledger import Budget, Ledger
from common.audit import AuditLog

ROOT = Path(__file__).parents[2]
STEPS = 5
PROGRAM = """
import json, os, random, signal, sys, time
from pathlib import Path
from client.ledger import Budget, Ledger, Task
from common.audit import AuditLog
from common.errors import BudgetSpent, ReservationClosed
from common.private.event import Event

assert "torch" not in sys.modules
folder, budget, STEPS = Path(sys.argv[1]), float(sys.argv[2]), 5

class Reckoning:
    def epsilon_of(self, events, delta, accountant):
        return float(sum(event.steps for event in events))
    def exceeds(self, events, epsilon, delta, accountant):
        return self.epsilon_of(events, delta, accountant) > epsilon

def ledger():
    log = AuditLog(folder / "audit.jsonl")
    return Ledger(folder / "ledgers" / "c.jsonl", Budget(budget, 1e-5), log, accounting=Reckoning())

def task(study, number):
    return Task(study, study * 64, number, "b" * 64, "c", "d" * 64)

def note(name, line):
    handle = os.open(folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(handle, (line + "\\n").encode())
    os.close(handle)

def reserve(study, number):
    return ledger().reserve(task(study, number), Event(1.0, 0.1, STEPS), 1e-5)

def settle_and_send(reservation):
    ledger().settle(reservation, STEPS)
    note("sent", reservation.id)

def child(work):
    process = os.fork()
    if not process:
        try:
            work()
            os._exit(0)
        except BudgetSpent:
            os._exit(3)
        except ReservationClosed:
            os._exit(4)
        except BaseException as error:
            note("errors", repr(error))
            os._exit(1)
    return process

def ended(process):
    status = os.waitpid(process, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
"""

EVERY_LINE = """
WRITING = {"append", "opened", "write_head", "locked", "write_whole", "sync_folder", "write_atomically"}

def traced(seen):
    def local(frame, event, argument):
        if event == "line":
            seen(frame)
        return local
    def calls(frame, event, argument):
        code = frame.f_code
        mine = code.co_filename.endswith(("chain.py", "files.py", "witness.py")) and code.co_name in WRITING
        return local if mine else None
    sys.settrace(calls)

def round_at(number, moment):
    left = [moment]
    def seen(frame):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def work():
        traced(seen)
        settle_and_send(reserve("a", number))
    return work

moment, number, kills = 0, 1, 0
while True:
    died = ended(child(round_at(number, moment)))
    ledger().verify()
    if died != -signal.SIGKILL:
        break
    kills += 1
    moment += 1 + kills % 3
    number += kills % 4 == 0
print(json.dumps({"kills": kills, "last": died}))
"""

AT_RANDOM = """
chance = random.Random(int(sys.argv[3]))

def site(study):
    def work():
        for number in range(1, 1000):
            settle_and_send(reserve(study, number))
    return work

ended_by, running = [], {}
for study in "abc":
    running[child(site(study))] = study
for _ in range(16):
    time.sleep(chance.uniform(0.0, 0.08))
    process = chance.choice(list(running))
    os.kill(process, signal.SIGKILL)
    ended_by.append(ended(process))
    study = running.pop(process)
    running[child(site(study))] = study
    ledger().verify()
for process in running:
    os.kill(process, signal.SIGKILL)
    ended_by.append(ended(process))
print(json.dumps({"ended_by": ended_by}))
"""

AT_ONCE = """
def waiting(work):
    def after():
        while not (folder / "go").exists():
            time.sleep(0.001)
        work()
    return after

def all_at_once(works):
    processes = [child(waiting(work)) for work in works]
    note("go", "")
    found = [ended(process) for process in processes]
    (folder / "go").unlink()
    return found

held = reserve("z", 1)
print(json.dumps({
    "settled": all_at_once([lambda: settle_and_send(held)] * 4),
    "reserved": all_at_once([lambda study=study: reserve(study, 1) for study in "abcdef"]),
}))
"""


@dataclass(frozen=True)
class Crowd:
    """A site's folder, and programs that run there."""

    folder: Path

    def run(self, program: str, budget: float, *arguments: object) -> Any:
        """What a program says in JSON."""
        command = [sys.executable, "-c", PROGRAM + program, self.folder, str(budget), *map(str, arguments)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert not (self.folder / "errors").exists(), (self.folder / "errors").read_text()
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    @property
    def sent(self) -> list[str]:
        """Ids of the reservations that something was sent on."""
        path = self.folder / "sent"
        return path.read_text().split() if path.exists() else []

    def require_truth(self) -> dict[str, int]:
        """Steps that count, by id; all that was sent is among them, once."""
        ledger = Ledger(
            self.folder / "ledgers" / "c.jsonl", Budget(1.0, 1e-5), AuditLog(self.folder / "audit.jsonl")
        )
        checked = ledger.verify()
        assert checked.told is not None and checked.entries - checked.told <= 1
        counted = {line.record.id: line.event.steps for line in ledger.book().lines}
        assert all(counted[name] == STEPS for name in self.sent)
        assert max(Counter(self.sent).values(), default=0) <= 1
        return counted


@pytest.fixture
def crowd(tmp_path: Path) -> Crowd:
    return Crowd(tmp_path)


def test_killed_before_every_line_that_writes(crowd: Crowd) -> None:
    told = crowd.run(EVERY_LINE, 1e9)
    assert told["kills"] > 40 and told["last"] == 0
    counted = crowd.require_truth()
    # A round that was killed before it settled goes on with its reservation when it is asked again.
    assert 0 < len(crowd.sent) <= len(counted) < told["kills"]


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments(crowd: Crowd, seed: int) -> None:
    told = crowd.run(AT_RANDOM, 1e9, seed)
    assert set(told["ended_by"]) == {-9} and len(told["ended_by"]) == 19
    counted = crowd.require_truth()
    assert crowd.sent and len(counted) >= len(crowd.sent)


def test_a_budget_is_never_spent_twice_while_processes_die(crowd: Crowd) -> None:
    told = crowd.run(AT_RANDOM, 60.0, 2)
    counted = crowd.require_truth()
    assert sum(counted.values()) <= 60 and set(told["ended_by"]) <= {-9, 3}


def test_of_many_at_once_one_may_send_and_as_many_reserve_as_the_budget_holds(crowd: Crowd) -> None:
    told = crowd.run(AT_ONCE, 4.5 * STEPS)
    assert sorted(told["settled"]) == [0, 4, 4, 4] and len(crowd.sent) == 1
    assert sorted(told["reserved"]) == [0, 0, 0, 3, 3, 3]
    assert sum(crowd.require_truth().values()) == 4 * STEPS
