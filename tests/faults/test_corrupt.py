"""Files that come back from the disk otherwise than they were written: nothing is ever made of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from client.checkpoints.checkpoint import INTERVAL_VARIABLE, Checkpoints
from client.ledger import Ledger
from client.site import Site
from common.errors import ConsiliumError, WeightsDamaged
from common.study import Study
from tests.faults.conftest import SITES, Killed, Runs
from tests.faults.disk import DAMAGES, flipped, spoil
from tests.unit.conftest import FaultyGrid

ROUND = 1 + len(SITES) + 1 + len(SITES) + 1  # writes of the journal: begun, kept, trained, counted, finished
KEPT, TRAINED, COUNTED = ROUND + 3, ROUND + 6, ROUND + 9  # in the second round
PRIVATE = {"noise_multiplier": 1.0, "sample_rate": 0.25, "target_delta": 1e-3, "accountant": "rdp"}


def damaged(*ways: str) -> pytest.MarkDecorator:
    """A test of each of these ways in which a file can be damaged."""
    return pytest.mark.parametrize("damage", [DAMAGES[way] for way in ways], ids=ways)


anyhow, in_short = damaged(*DAMAGES), damaged("a bit in the middle", "empty")


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, make_study: Callable[..., Study], site_of: Callable[..., Site]
) -> Path:
    """A quiet run in ``whole``, and runs that were killed after a write of their journal, in its number."""
    study = make_study(
        federation={"strategy": {"name": "fedadam"}, "rounds": 2, "average_last": 2, "evaluate_every": 1}
    )
    made = Runs(tmp_path_factory.mktemp("runs"), study, lambda: FaultyGrid([site_of(s) for s in SITES]))
    made.go("whole", made.grid())
    for write in (KEPT, TRAINED, COUNTED, ROUND):
        made.go(str(write), made.grid(), dies_at=write, after=True)
    return made.folder


@pytest.fixture
def half(runs: Runs, prepared: Path) -> Callable[[int], Path]:
    """The folder of a run that was killed at a write of its journal; ``whole`` lies beside it."""

    def make(write: int) -> Path:
        shutil.copytree(prepared / "whole", runs.folder / "whole", dirs_exist_ok=True)
        return Path(shutil.copytree(prepared / str(write), runs.folder / "cut", dirs_exist_ok=True))

    return make


def model(runs: Runs, name: str) -> bytes:
    return (runs.folder / name / "model.safetensors").read_bytes()


def same(runs: Runs) -> bool:
    """Whether the disturbed run has come to what the quiet one came to."""
    found = [json.loads((runs.folder / name / "run.json").read_text()) for name in ("cut", "whole")]
    first, second = ([entry["contributed"] for entry in run["rounds"]] for run in found)
    return first == second and model(runs, "cut") == model(runs, "whole")


def stops(runs: Runs, code: str) -> ConsiliumError:
    """The error with which going on stops."""
    with pytest.raises(ConsiliumError) as stopped:
        runs.go("cut", runs.grid())
    assert stopped.value.code == code and stopped.value.hint
    return stopped.value


# At the coordinator


@pytest.mark.fault(
    "an update that the coordinator keeps is damaged",
    "the site is asked for it again; the model is the same",
)
@anyhow
def test_a_kept_update(runs: Runs, half: Callable[[int], Path], damage: Any) -> None:
    kept = sorted((half(KEPT) / "rounds/0002/train").iterdir())
    assert len(kept) == 2
    spoil(kept[0], damage)
    again = runs.grid()
    runs.go("cut", again)
    assert same(runs)
    trained = {site for kind, site in again.asked if kind == "train"}
    assert trained == {*SITES} - {kept[1].stem}, "the other one was whole"


@pytest.mark.fault(
    "an update, or the model of the round, is damaged once the model was made",
    "the model is made again of the updates; the result is the same",
)
@pytest.mark.parametrize("file", ["rounds/0002/train/cedar", "checkpoints/round-0002"])
@pytest.mark.parametrize("write", [TRAINED, COUNTED], ids=["trained", "counted"])
def test_what_a_model_was_made_of(runs: Runs, half: Callable[[int], Path], file: str, write: int) -> None:
    spoil(half(write) / f"{file}.safetensors", lambda data: flipped(data, 0.9))
    runs.go("cut", runs.grid())
    assert same(runs)


@pytest.mark.fault("a site's counts are damaged at the coordinator", "the site counts again")
@in_short
def test_kept_counts(runs: Runs, half: Callable[[int], Path], damage: Any) -> None:
    folder = half(COUNTED)
    spoil(folder / "rounds/0002/evaluate/alder.safetensors", damage)
    runs.go("cut", runs.grid())
    assert same(runs)
    metrics = [json.loads((runs.folder / n / "run.json").read_text())["final"] for n in ("cut", "whole")]
    assert metrics[0] == metrics[1]


@pytest.mark.fault(
    "the model of a finished round, or what the strategy remembers of it, is damaged",
    "stops with `weights-damaged`; with the file put back from a backup it goes on to the same model",
)
@in_short
@pytest.mark.parametrize("file", ["checkpoints/round-0001.safetensors", "rounds/memory-0001.safetensors"])
def test_what_there_is_no_other_copy_of(
    runs: Runs, half: Callable[[int], Path], file: str, damage: Any
) -> None:
    path = half(ROUND) / file
    backup = path.read_bytes()
    spoil(path, damage)
    assert "backup" in stops(runs, "weights-damaged").hint
    path.unlink()
    stops(runs, "weights-damaged")
    path.write_bytes(backup)
    runs.go("cut", runs.grid())
    assert same(runs)


@pytest.mark.fault(
    "the model of a round is damaged while the study runs",
    "stops with `weights-damaged` before anything is trained from it",
)
def test_a_model_between_two_rounds(runs: Runs, faults: Any) -> None:
    path = runs.folder / "cut/checkpoints/round-0001.safetensors"

    def spoiling(content: Any) -> Any:
        spoil(path, lambda data: flipped(data, 0.9))
        return content

    grid = runs.grid(faults={"dogwood": faults.content(spoiling, "evaluate")})
    with pytest.raises(WeightsDamaged) as stopped:
        runs.go("cut", grid)
    assert "backup" in stopped.value.hint
    assert [kind for kind, _ in grid.asked].count("train") == len(SITES)


@pytest.mark.fault(
    "any bit of the coordinator's journal is another one",
    "stops with `home-invalid`, or goes on to the same model where nothing depends on the bit",
)
@pytest.mark.parametrize("bits", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_a_bit_of_the_journal(runs: Runs, half: Callable[[int], Path], bits: int) -> None:
    codes = set()
    for number in range(bits):  # spread over the file, ever denser
        path = half(COUNTED) / "journal.db"
        spoil(path, lambda data, number=number: flipped(data, number * 0.618034 % 1.0))  # type: ignore[misc]
        try:
            runs.go("cut", runs.grid())
        except ConsiliumError as error:
            codes.add(error.code)
            assert error.hint
        else:
            assert same(runs)
        shutil.rmtree(runs.folder / "cut")
    assert "home-invalid" in codes and codes <= {"home-invalid", "weights-damaged", "journal-taken"}


@pytest.mark.fault(
    "the coordinator's journal is cut off, or not a database",
    "stops with `home-invalid`; put back from a backup, it goes on to the same model",
)
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"\0" * len(data)])
def test_a_journal_that_is_none(runs: Runs, half: Callable[[int], Path], damage: Any) -> None:
    path = half(COUNTED) / "journal.db"
    backup = path.read_bytes()
    spoil(path, damage)
    assert "backup" in stops(runs, "home-invalid").hint
    path.write_bytes(backup)
    runs.go("cut", runs.grid())
    assert same(runs)


# At a site


@pytest.fixture
def private(runs: Runs, make_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> Runs:
    """A private study whose codec carries over what it leaves out."""
    monkeypatch.setenv(INTERVAL_VARIABLE, "0")
    training = {"optimizer": "sgd", "batch_size": 2}
    federation = {"rounds": 2, "codec": "int8"}
    return runs.of(make_study(federation=federation, training=training, privacy=PRIVATE))


def lines(site: Site) -> list[tuple[int, bool]]:
    """Steps of each reservation in a site's ledger, and whether it is settled."""
    book = Ledger(Path(site.ledger), None).book()
    return [(line.event.steps, line.settled is not None) for line in book.lines]


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> Iterator[None]:
    """Have the processes end at a call of something."""
    real, calls = getattr(owner, name), []

    def once(*given: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            raise Killed
        return real(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, once)
        yield
    assert len(calls) == call


AT_A_SITE = {
    "the checkpoint of a site's training": ("*.checkpoint", (Checkpoints, "offer", 2)),
    "a finished update that was not sent": ("*.finished", (Ledger, "settle", 1)),
}


def damaged_at_a_site(what: str) -> Any:
    becomes = "the task is begun again on the same reservation; the model and what was paid are the same"
    return pytest.param(*AT_A_SITE[what], marks=pytest.mark.fault(f"{what} is damaged", becomes), id=what)


@in_short
@pytest.mark.parametrize(("pattern", "moment"), [damaged_at_a_site(what) for what in AT_A_SITE])
def test_what_outlives_a_task(
    private: Runs,
    sites: Callable[[str], list[Site]],
    quiet: tuple[bytes, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    moment: tuple[Any, str, int],
    damage: Any,
) -> None:
    there = sites("cut")
    with dying(monkeypatch, *moment):
        private.go("cut", private.grid(*there))
    (path,) = private.folder.glob(f"sites-cut/*/training/*/*/{pattern}")
    spoil(path, damage)
    private.go("cut", private.grid(*there))
    assert (model(private, "cut"), [lines(site) for site in there]) == quiet


@pytest.fixture
def quiet(
    private: Runs, sites: Callable[[str], list[Site]], known: dict[str, Any]
) -> tuple[bytes, list[Any]]:
    """The model of a quiet run, and what it cost each site."""
    if "quiet" not in known:
        there = sites("whole")
        private.go("whole", private.grid(*there))
        known["quiet"] = model(private, "whole"), [lines(site) for site in there]
    found: tuple[bytes, list[Any]] = known["quiet"]
    return found


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    """What is worked out once."""
    return {}


@pytest.mark.fault(
    "a site's privacy ledger is damaged",
    "the site trains no more and refuses with `ledger-broken`; the others go on, and `run.json` names it",
)
@anyhow
def test_a_ledger(private: Runs, sites: Callable[[str], list[Site]], damage: Any) -> None:
    there = sites("cut")
    private.go("cut", private.grid(*there), dies_at=ROUND, after=True)
    ledger = Path(there[0].ledger)
    spoil(ledger, damage)
    spoilt = ledger.read_bytes()
    private.go("cut", private.grid(*there))
    run = json.loads((private.folder / "cut/run.json").read_text())
    assert run["status"] == "completed"
    assert [entry["contributed"] for entry in run["rounds"]] == [list(SITES), list(SITES[1:])]
    assert run["rounds"][1]["missing"]["alder"].startswith("ledger-")
    assert ledger.read_bytes() == spoilt, "nothing is added to it"


@pytest.mark.fault(
    "what a site's codec left out of its last update is damaged",
    "the site refuses with `home-invalid`, before anything is paid, and says which file to remove",
)
@in_short
def test_what_was_left_out(private: Runs, sites: Callable[[str], list[Site]], damage: Any) -> None:
    there = sites("cut")
    private.go("cut", private.grid(*there), dies_at=ROUND, after=True)
    (path,) = (Path(there[0].state) / "residuals").glob("*/*.safetensors")
    spoil(path, damage)
    private.go("cut", private.grid(*there))
    run = json.loads((private.folder / "cut/run.json").read_text())
    assert run["status"] == "completed"
    assert run["rounds"][1]["missing"]["alder"].startswith("home-invalid")
    assert len(lines(there[0])) == 1 and len(lines(there[1])) == 2
