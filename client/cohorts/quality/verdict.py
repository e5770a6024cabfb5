"""What the numbers mean in plain words, and what to do first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from client.cohorts.quality.counts import NO_SPLIT, UNLABELLED, Cell, Counts, Dimension
from client.cohorts.quality.drift import Drift, Level
from client.cohorts.quality.facts import FileCounts
from client.cohorts.quality.lookalikes import Issue, LookAlikes
from client.cohorts.quality.outliers import Figure, Outlier
from client.dicom.outcomes import Outcome, Reason
from common.page.wording import listing, number, percent, plural, share

FEW_PATIENTS = 20
RARE = 0.05
THINGS = {
    "brightness": "brightness of the pictures",
    "labels": "labels",
    "modalities": "modalities",
    "scanners": "scanners",
    "sizes": "size of the pictures",
    "lengths": "number of frames",
}


class Gravity(StrEnum):
    """How much a remark matters."""

    stop = "stop"
    look = "look"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to know before training.

    Attributes:
        gravity: Whether it must be mended first, or looked at.
        text: What was found.
        todo: What to do about it.
        section: Where the page shows more: ``files``, ``cases``, ``alike``, ``apart`` or ``drift``.
    """

    gravity: Gravity
    text: str
    todo: str
    section: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a cohort may be trained on as it is.

    Attributes:
        gravity: Of the gravest remark; None if there is none.
        text: One sentence.
        remarks: The gravest first.
    """

    gravity: Gravity | None
    text: str
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict is made from."""

    files: FileCounts
    counts: Counts
    look_alikes: LookAlikes
    outliers: tuple[Outlier, ...]
    drift: Drift | None


_TEXTS = {
    Gravity.stop: "Do not train on this cohort yet: what is marked “mend first” would spoil the result.",
    Gravity.look: "Nothing forbids training on this cohort, but a person should look at the points below.",
    None: "Nothing was found that speaks against training on this cohort.",
}


def verdict(evidence: Evidence) -> Verdict:
    """What the evidence means."""
    if not evidence.counts.cases:
        todo = "Look at what became of the files, and at the folders that were taken in."
        section = "files" if evidence.files.seen else "cases"
        remark = Remark(Gravity.stop, "The cohort holds no case.", todo, section)
        return Verdict(Gravity.stop, "There is nothing to train on.", (remark,))
    found = [remark for rule in _RULES for remark in rule(evidence)]
    remarks = tuple(sorted(found, key=lambda remark: remark.gravity is not Gravity.stop))
    gravity = remarks[0].gravity if remarks else None
    return Verdict(gravity, _TEXTS[gravity], remarks)


def _patients(evidence: Evidence) -> Iterator[Remark]:
    """Patients in two splits, and too few of them."""
    divided = len(evidence.counts.split_patients)
    if divided:
        text = f"{plural(divided, 'patient has', 'patients have')} cases in more than one split."
        todo = "Give all cases of a patient one split; a test on patients seen in training shows nothing."
        yield Remark(Gravity.stop, text, todo, "cases")
    if evidence.counts.patients < FEW_PATIENTS:
        text = f"The cohort is of {plural(evidence.counts.patients, 'patient')} only."
        todo = "Results on so few patients move much by chance; take in more if there are more."
        yield Remark(Gravity.look, text, todo, "cases")


def _alike(evidence: Evidence) -> Iterator[Remark]:
    """Cases that look the same and should not."""
    found = evidence.look_alikes
    for issue in Issue:
        extent = found.extents[issue]
        if not extent.pairs:
            continue
        same = f", {number(extent.same_pairs)} of them with the very same pixels" if extent.same_pairs else ""
        text = f"Cases that look the same {_SAME[issue]}: {plural(extent.pairs, 'pair')}{same}."
        # Look-alikes are for a person to judge; the same pixels in training and in test are not.
        grave = issue is Issue.two_splits and extent.same_pairs > 0
        yield Remark(Gravity.stop if grave else Gravity.look, text, _MEND[issue], "alike")
    if not found.complete:
        text = "So many pictures are alike that the search for look-alikes was ended early."
        yield Remark(Gravity.look, text, "Mend those that are listed, then make this report again.", "alike")


_SAME = {
    Issue.two_splits: "stand in two splits, such as training and test",
    Issue.two_patients: "are of two patients",
    Issue.two_labels: "have two labels",
    Issue.repeated: "are in the cohort more than once",
}
_MEND = {
    Issue.two_splits: "Keep them in one split: a model cannot be tested with what it has seen.",
    Issue.two_patients: "If it is one person with two identifiers, have the archive merge them.",
    Issue.two_labels: "One of the labels may be wrong; have the reports read again.",
    Issue.repeated: "They count twice in training; take one of each away.",
}


def _labels(evidence: Evidence) -> Iterator[Remark]:
    """Labels that are missing, alone, or rare."""
    cells = evidence.counts.by[Dimension.label]
    labelled = [cell for cell in cells if cell.name != UNLABELLED]
    bare = _cases(cells, UNLABELLED)
    if bare:
        text = f"{plural(bare, 'case has', 'cases have')} no label ({_of(bare, evidence)} of the cohort)."
        yield Remark(Gravity.look, text, "They are not trained on; add them to the table of labels.", "cases")
    if len(labelled) == 1:
        text = "All labelled cases have the same label."
        todo = (
            "Such a site cannot show by itself that a model tells labels apart; add other cases if you can."
        )
        yield Remark(Gravity.look, text, todo, "cases")
    total = sum(cell.cases for cell in labelled)
    rare = [cell.name for cell in labelled if cell.cases < RARE * total]
    if rare:
        text = (
            f"{plural(len(rare), 'label is', 'labels are')} rarer than {percent(RARE)}: {listing(rare, 4)}."
        )
        yield Remark(Gravity.look, text, "Check that this is so in your patients too.", "cases")


def _splits(evidence: Evidence) -> Iterator[Remark]:
    """Splits that are missing altogether, or for some cases."""
    cells = evidence.counts.by[Dimension.split]
    names = {cell.name for cell in cells}
    if names == {NO_SPLIT}:
        return
    if NO_SPLIT in names:
        text = f"{plural(_cases(cells, NO_SPLIT), 'case is', 'cases are')} in no split."
        yield Remark(Gravity.look, text, "They are neither trained on nor tested with.", "cases")
    for split, use in (("train", "train on"), ("test", "test with")):
        if split not in names:
            todo = "Give some patients this split, or take part without it if the study allows that."
            yield Remark(Gravity.look, f"There is no case to {use}.", todo, "cases")


def _files(evidence: Evidence) -> Iterator[Remark]:
    """Files that could not be used."""
    files = evidence.files
    held = files.of(Outcome.quarantined)
    if held:
        reason = max(Reason, key=lambda r: files.reasons.get(r, 0))
        text = (
            f"{plural(held, 'file is', 'files are')} in quarantine ({share(held, files.seen)} of all files), "
            f"most often because of {reason}."
        )
        yield Remark(Gravity.look, text, reason.hint, "files")


def _apart(evidence: Evidence) -> Iterator[Remark]:
    """Blank pictures, other outliers, and what the intake noticed."""
    blank = sum(o.oddities[0].figure is Figure.blank for o in evidence.outliers)
    if blank:
        text = f"{plural(blank, 'case shows', 'cases show')} nothing: the picture is one even grey."
        todo = "Leave them out, or check the window that the study states."
        yield Remark(Gravity.look, text, todo, "apart")
    others = len(evidence.outliers) - blank
    if others:
        text = (
            f"{plural(others, 'case stands', 'cases stand')} apart by brightness, contrast, size or spacing."
        )
        yield Remark(
            Gravity.look, text, "Look at the pictures below; leave out what does not belong.", "apart"
        )
    cells = evidence.counts.findings
    if cells:
        named = listing([f"{cell.name} ({number(cell.cases)})" for cell in cells], 4)
        text = f"The intake noticed in some cases: {named}."
        yield Remark(Gravity.look, text, "Open a few of them in a viewer before you rely on them.", "cases")


def _moved(evidence: Evidence) -> Iterator[Remark]:
    """Drift that chance does not explain."""
    shifts = evidence.drift.shifts if evidence.drift else ()
    for level, word in ((Level.far, "much"), (Level.moved, "somewhat")):
        things = list(dict.fromkeys(THINGS[shift.what] for shift in shifts if shift.level is level))
        if things:
            text = f"Compared with the reference these have changed {word}: {listing(things)}."
            todo = "Find out why (new scanner, new protocol, other patients) before old and new are mixed."
            yield Remark(Gravity.look, text, todo, "drift")


_Rule = Callable[[Evidence], Iterator[Remark]]
_RULES: Sequence[_Rule] = (_patients, _alike, _labels, _splits, _files, _apart, _moved)


def _cases(cells: Sequence[Cell], name: str) -> int:
    return sum(cell.cases for cell in cells if cell.name == name)


def _of(part: int, evidence: Evidence) -> str:
    return share(part, evidence.counts.cases)
