"""Real files, cut and with flipped bits, are decoded or refused with a reason, in bounded time and memory.

The decoders are programs in C, and one that is fed nonsense may end the process it runs in. So files are
broken in a process of their own; what it says about each case is judged here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.dicom.outcomes import Reason

MEMORY_BYTES = 2**31
CRASHES_ALLOWED = 3
"""Of some thousand broken files; the intake has a process for each, which may die of it."""

WORKER = """
import json, random, resource, sys, time
from pathlib import Path
from client.dicom.decoding import decode
from client.dicom.dataset.kinds import kind_of
from client.dicom.outcomes import Quarantined
from client.dicom.dataset.reading import read

def cut(data, case):
    return data[: 64 * (case + 1)]

def flipped(data, case):
    random_ = random.Random(case)
    broken = bytearray(data)
    for _ in range(random_.choice([1, 3, 20])):
        place = random_.randrange(128, len(broken))
        broken[place] ^= 1 << random_.randrange(8)
    return bytes(broken)

def whole(data, case):
    return data

change = globals()[sys.argv[1]]
for line in sys.stdin:
    path, case = json.loads(line)
    started, outcome = time.perf_counter(), "read"
    try:
        dataset = read(change(Path(path).read_bytes(), case))
        kind_of(dataset)
        decode(dataset)
        outcome = "decoded"
    except Quarantined as refused:
        outcome = str(refused.reason)
    except BaseException as error:
        outcome = "!" + type(error).__name__
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([outcome, seconds, memory]), flush=True)
"""


@dataclass(frozen=True)
class Said:
    """What became of one case: a reason, ``decoded``, ``!`` and an exception, or ``crashed``."""

    outcome: str
    seconds: float = 0.0
    memory_bytes: int = 0


def broken_in_a_process(change: str, cases: list[tuple[str, int]]) -> list[Said]:
    """What becomes of each file and number of a change; a process that dies is followed by another."""
    said: list[Said] = []
    while len(said) < len(cases):
        rest = "".join(json.dumps(case) + "\n" for case in cases[len(said) :])
        done = subprocess.run(
            [sys.executable, "-c", WORKER, change], input=rest, capture_output=True, text=True, timeout=250
        )
        said += [Said(*json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]
        if done.returncode != 0:
            assert done.returncode < 0, done.stderr[-2000:]  # by a signal, and not by an error of its own
            said.append(Said("crashed"))
    return said


def judge(said: list[Said]) -> None:
    outcomes = {one.outcome for one in said}
    assert outcomes <= {*Reason, "decoded", "crashed"}
    assert sum(one.outcome == "crashed" for one in said) <= CRASHES_ALLOWED
    assert max(one.seconds for one in said) < 10
    assert max(one.memory_bytes for one in said) < MEMORY_BYTES


@pytest.fixture(scope="session")
def small_files(data_folder: Path) -> list[Path]:
    """The bag's files of up to 16 KB, compressed and not."""
    files = [path for path in (data_folder / "dicom" / "bag").iterdir() if path.stat().st_size <= 2**14]
    assert len(files) > 40
    return sorted(files)


def test_the_bag_takes_bounded_time_and_memory(data_folder: Path) -> None:
    said = broken_in_a_process(
        "whole", [(str(p), 0) for p in sorted((data_folder / "dicom" / "bag").iterdir())]
    )
    judge(said)
    assert not any(one.outcome == "crashed" for one in said)
    assert sum(one.outcome == "decoded" for one in said) >= 116


def test_files_that_are_cut_off_anywhere(small_files: list[Path]) -> None:
    chosen = small_files[::5]
    cases = [(str(path), case) for path in chosen for case in range(path.stat().st_size // 64)]
    judge(broken_in_a_process("cut", cases))


def test_files_with_flipped_bits(small_files: list[Path]) -> None:
    judge(broken_in_a_process("flipped", [(str(path), case) for path in small_files for case in range(12)]))
