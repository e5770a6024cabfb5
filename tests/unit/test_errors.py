"""The error tree: its drawing is true, its codes are stable, and nothing private leaves with a refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import common.errors
from common.errors import ConsiliumError, DataError, MachineError, Refusal, RunError, StudyError, TrustError

BRANCHES = {StudyError: 3, DataError: 4, RunError: 5, MachineError: 6, TrustError: 7}
PATH = re.compile(r"(?<!\w)[/~]\w|\\|\b[A-Z]:")
# Codes that have left a site once: other releases and run.json know them. Add to them, never rename.
RELEASED = """
    study-file-missing study-syntax study-unknown-key study-invalid-value
    manifest-missing manifest-invalid site-unknown sites-overruled label-unknown patient-in-two-splits
    site-empty site-too-small site-without-test-cases image-missing image-unreadable image-wrong-modality
    site-refused quorum-not-reached nothing-learned update-refused task-invalid
    output-exists output-unwritable disk-full port-taken device-unavailable extra-missing
    mixed-installation flower-moved engine-failed
"""


def below(kind: type[ConsiliumError]) -> Iterator[type[ConsiliumError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith(common.errors.__name__):
            yield child
            yield from below(child)


LEAVES = [kind for kind in below(ConsiliumError) if kind not in BRANCHES]
every_leaf = pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)


def drawn() -> dict[str, tuple[int, set[str]]]:
    """The docstring's drawing: for each branch its exit code and the names below it."""
    tree: dict[str, tuple[int, set[str]]] = {}
    for line in (common.errors.__doc__ or "").splitlines():
        if branch := re.match(r"    [├└]── (\w+)\s+(\d)\s", line):
            names: set[str] = set()
            tree[branch[1]] = (int(branch[2]), names)
        elif re.match(r"    [│ ]   [├└]── ", line):
            names.update(re.findall(r"\w+", line))
    return tree


def test_drawing_names_exactly_the_classes_there_are() -> None:
    there = {b.__name__: (code, {kind.__name__ for kind in below(b)}) for b, code in BRANCHES.items()}
    assert drawn() == there


@every_leaf
def test_every_class_says_all_three_for_itself(kind: type[ConsiliumError]) -> None:
    assert {"code", "public", "hint"} <= set(vars(kind))
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", kind.code)
    assert kind.public.endswith(".") and kind.hint.endswith(".")


@every_leaf
def test_public_text_and_hint_hold_no_path(kind: type[ConsiliumError]) -> None:
    assert not PATH.search(kind.public) and not PATH.search(kind.hint)


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in LEAVES} | {ConsiliumError.code}) == len(LEAVES) + 1


def test_released_codes_remain() -> None:
    assert set(RELEASED.split()) <= {kind.code for kind in LEAVES}


@pytest.mark.parametrize(
    ("branch", "code"), BRANCHES.items(), ids=lambda value: getattr(value, "code", value)
)
def test_exit_code_is_the_branch_s(branch: type[ConsiliumError], code: int) -> None:
    assert {kind.exit_code for kind in (branch, *below(branch))} == {code}


def test_root_is_a_defect() -> None:
    assert (ConsiliumError.code, ConsiliumError.exit_code) == ("internal", 1)


@every_leaf
def test_code_finds_its_class(kind: type[ConsiliumError]) -> None:
    found = ConsiliumError.of_code(kind.code, "row 7")
    assert type(found) is kind
    assert found.private == "row 7"


@pytest.mark.parametrize("code", ["internal", "no-such-code", ""])
def test_code_of_no_class_finds_the_root(code: str) -> None:
    found = ConsiliumError.of_code(code, "row 7")
    assert type(found) is ConsiliumError
    assert found.private == "row 7"


@every_leaf
def test_refusal_carries_nothing_private(kind: type[ConsiliumError]) -> None:
    error = kind("/srv/pacs/Doe^Jane.dcm row 7")
    assert "Doe" in str(error) and "Doe" in error.private
    assert error.refusal() == Refusal(kind.code, kind.public, kind.hint)
    assert str(error.refusal()) == f"{kind.code}: {kind.public}"


def test_private_text_defaults_to_the_public_one() -> None:
    assert str(StudyError()) == StudyError().private == StudyError.public


def test_hint_of_one_occurrence_is_its_own() -> None:
    assert StudyError("x", hint="Do this.").refusal().hint == "Do this."
    assert StudyError("x").hint == ConsiliumError.hint
