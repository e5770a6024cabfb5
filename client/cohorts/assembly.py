"""From stored objects and labels to cases: which pictures make a case, in which order, for which split.

A pure function of what is stored, so an archive gives the same cases in whatever order and in however many
runs it was taken in.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from client.cohorts.case import Case, Content, Piece, name_of
from client.cohorts.catalogue import StoredImage
from client.cohorts.labels import Label, Labels
from client.cohorts.rules import Rules
from client.cohorts.store import Blob
from client.dicom.geometry.arranging import Finding, Irregularity, Stack, arrange
from client.dicom.outcomes import Kind, Outcome, Reason
from client.dicom.pixels import Display
from client.dicom.place import Frame, Plane

Fate = tuple[Outcome, str]
TAKEN: Fate = (Outcome.case, "")
DUPLICATE: Fate = (Outcome.duplicate, "")
CONTRADICTING, EMPTY = "lines of labels that contradict each other", "lines of labels that are empty"
"""Notes on the table of labels itself, which stay when a later intake is given no table."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A case, and what masks and labels are matched by.

    Attributes:
        case: As it will be stored.
        study: Pseudonymous UID.
        series: Pseudonymous UID.
        sops: Pseudonymous UIDs of its objects.
        space: Pseudonym of the frame of reference.
        planes: Of its pictures; empty if any has none.
        shape: Height and width of its pictures.
    """

    case: Case
    study: str
    series: str
    sops: tuple[str, ...]
    space: str
    planes: tuple[Plane, ...]
    shape: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Assembly:
    """What an intake comes to.

    Attributes:
        drafts: The cases.
        outcomes: By id of a file that holds a stored object, what became of it.
        notes: Counts of what did not fit together.
    """

    drafts: tuple[Draft, ...]
    outcomes: Mapping[int, Fate]
    notes: Mapping[str, Any] = field(default_factory=dict)

    def cases(self, earlier: Mapping[str, Case], intake: int) -> list[Case]:
        """The cases, each with the number of the intake in which it first stood as it is."""

        def since(case: Case) -> int:
            before = earlier.get(case.name)
            return before.intake if before is not None and before.digest == case.digest else intake

        return [replace(draft.case, intake=since(draft.case)) for draft in self.drafts]


def assemble(
    images: Sequence[StoredImage],
    blobs: Mapping[str, Blob],
    labels: Labels,
    rules: Rules,
    share: Callable[[str], float],
) -> Assembly:
    """The cases of what is stored, still without masks.

    Args:
        images: Every stored object, in an order that does not depend on the intake.
        blobs: Their arrays by digest.
        labels: Of patients, studies, series and objects.
        rules: What a case is.
        share: A number in [0, 1) for each patient; those below ``rules.test_share`` are for testing.
    """
    outcomes: dict[int, Fate] = {}
    distinct = _distinct([image for image in images if not image.instance.mask], outcomes)
    pictures = _without_copies(distinct, rules, outcomes)
    series: dict[tuple[str, str], list[StoredImage]] = defaultdict(list)
    for image in pictures:
        series[image.instance.patient, image.instance.series].append(image)
    make = _single_pictures if rules.sequence == "rows" else _sequences
    drafts = [draft for members in series.values() for draft in make(members, blobs, rules, outcomes)]
    for image in pictures:
        outcomes.setdefault(image.file, (Outcome.quarantined, Reason.unplaced))
    named, notes = _named(drafts, labels, rules, share)
    return Assembly(tuple(named), outcomes, notes)


def _distinct(images: Sequence[StoredImage], outcomes: dict[int, Fate]) -> list[StoredImage]:
    """Each object once, without those that contradict each other."""
    by_sop: dict[str, list[StoredImage]] = defaultdict(list)
    for image in images:
        by_sop[image.instance.sop].append(image)
    single: list[StoredImage] = []
    for same in by_sop.values():
        if len({(image.digest, image.instance.patient) for image in same}) > 1:
            # Which of them is the right one, or whose it is, nobody can say.
            outcomes.update((image.file, (Outcome.quarantined, Reason.conflict)) for image in same)
            continue
        first, *others = same
        outcomes.update((image.file, DUPLICATE) for image in others)
        single.append(first)
    return single


def _without_copies(
    images: Sequence[StoredImage], rules: Rules, outcomes: dict[int, Fate]
) -> list[StoredImage]:
    """The objects without those that stand in another series of the patient as well.

    An archive that was sent on may have given its objects new UIDs, but not new places. Of sequences only
    whole series are copies, of a series as large or larger: two that share a blank slice both need it. Two
    pictures of one series that look the same are no copies.
    """
    members: dict[tuple[str, str], list[StoredImage]] = defaultdict(list)
    for image in images:
        members[image.instance.patient, image.instance.series].append(image)
    holders: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    kept: list[StoredImage] = []
    for (_, series), those in sorted(members.items(), key=lambda item: (-len(item[1]), item[0])):
        others = [holders[_place(image)] for image in those]
        if rules.sequence != "rows":
            others = [set.intersection(*others)] * len(those)
        outcomes.update((i.file, DUPLICATE) for i, found in zip(those, others, strict=True) if found)
        fresh = [image for image, found in zip(those, others, strict=True) if not found]
        for image in fresh:
            holders[_place(image)].add(series)
        kept.extend(fresh)
    return kept


def _place(image: StoredImage) -> tuple[Any, ...]:
    """What a copy has in common with its original, whatever its names and its window."""
    frames = tuple(replace(frame, stack="") for frame in image.instance.frames)  # may stand for the UID
    return image.instance.patient, image.digest, frames, replace(image.display, window=None)


def _single_pictures(
    images: Sequence[StoredImage], blobs: Mapping[str, Blob], rules: Rules, outcomes: dict[int, Fate]
) -> Iterator[Draft]:
    """Every frame of every object is a case."""
    for image in images:
        for index, frame in enumerate(image.instance.frames):
            outcomes[image.file] = TAKEN
            rows, columns = frame.spacing_mm or (None, None)
            yield _draft([(image, index)], blobs, (None, rows, columns), ())


def _sequences(
    images: Sequence[StoredImage], blobs: Mapping[str, Blob], rules: Rules, outcomes: dict[int, Fate]
) -> Iterator[Draft]:
    """Every stack of slices, or every film, of one series is a case."""
    members = [(image, index) for image in images for index in range(len(image.instance.frames))]
    frames = [image.instance.frames[index] for image, index in members]
    shapes = [_shape(image, blobs) for image, _ in members]
    arrangement = arrange(frames, shapes)
    for stack in arrangement.stacks:
        findings = _codes((*arrangement.findings, *stack.findings))
        runs = _runs(stack, rules)
        used = [index for run in runs for index in run]
        unused = set(stack.aside) | {index for row in stack.grid for index in row} - set(used)
        outcomes.update((members[index][0].file, TAKEN) for index in used)
        for index in unused:
            fate = _aside(stack) if index in stack.aside else (Outcome.other, str(Kind.unwanted))
            outcomes.setdefault(members[index][0].file, fate)
        for run in runs:
            spacing_mm = _spacing(stack, along_time=rules.sequence == "frames")
            yield _draft([members[index] for index in run], blobs, spacing_mm, findings)


def _aside(stack: Stack) -> Fate:
    """What becomes of pictures that a stack does not use."""
    if Irregularity.ragged_times in {finding.code for finding in stack.findings}:
        return Outcome.quarantined, str(Reason.incomplete)
    return DUPLICATE


def _runs(stack: Stack, rules: Rules) -> list[tuple[int, ...]]:
    """The cases of a stack, each as indices in the order of its steps.

    slices: the volume of each moment. frames: the film of each place. A film is no volume and a volume no
    film; a single picture may stand for either.
    """
    moments, places = len(stack.grid), len(stack.grid[0])
    if rules.sequence == "slices":
        return list(stack.grid) if places > 1 or moments == 1 else []
    return list(zip(*stack.grid, strict=True)) if moments > 1 or places == 1 else []


def _spacing(stack: Stack, *, along_time: bool) -> tuple[float | None, float | None, float | None]:
    if stack.spacing_mm is None:
        return (None, None, None)
    between, rows, columns = stack.spacing_mm
    return (None if along_time or not between else between, rows, columns)


def _codes(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(finding.code.value) for finding in findings))


def _shape(image: StoredImage, blobs: Mapping[str, Blob]) -> tuple[int, int]:
    _, height, width = blobs[image.digest].shape
    return height, width


def _draft(
    members: Sequence[tuple[StoredImage, int]],
    blobs: Mapping[str, Blob],
    spacing_mm: tuple[float | None, float | None, float | None],
    findings: tuple[str, ...],
) -> Draft:
    first = members[0][0]
    displays: dict[Display, int] = {}
    pieces = tuple(
        Piece(image.digest, index, displays.setdefault(image.display, len(displays)))
        for image, index in members
    )
    content = Content(
        pieces=pieces,
        displays=tuple(displays),
        spacing_mm=spacing_mm,
        modality=first.instance.modality,
        scanner=first.instance.scanner,
        year=first.instance.year,
        sex=first.instance.sex,
        age=first.instance.age,
        findings=findings,
        sources=tuple(dict.fromkeys(image.instance.source for image, _ in members)),
    )
    frames: list[Frame] = [image.instance.frames[index] for image, index in members]
    planes = tuple(frame.plane for frame in frames if frame.plane is not None)
    # From the least of its objects, so that a slice that arrives later does not rename the case.
    name = name_of(first.instance.series, *min((i.instance.sop, str(index)) for i, index in members))
    return Draft(
        case=Case(name, first.instance.patient, "", None, content),
        study=first.instance.study,
        series=first.instance.series,
        sops=tuple(dict.fromkeys(image.instance.sop for image, _ in members)),
        space=first.instance.space,
        planes=planes if len(planes) == len(frames) else (),
        shape=_shape(first, blobs),
    )


def _named(
    drafts: Sequence[Draft], labels: Labels, rules: Rules, share: Callable[[str], float]
) -> tuple[list[Draft], dict[str, Any]]:
    """The drafts with their labels and splits, and counts of what was wrong with those."""
    found = [_labels_of(draft, labels) for draft in drafts]
    splits: dict[str, set[str]] = defaultdict(set)
    for draft, these in zip(drafts, found, strict=True):
        splits[draft.case.patient].update(label.split for label in these if label.split)
    named, notes, used = list[Draft](), Counter[str](), set[int]()
    for draft, these in zip(drafts, found, strict=True):
        values, patient = {label.value for label in these}, draft.case.patient
        used.update(label.line for label in these)
        torn = len(splits[patient]) > 1
        notes["cases with several labels"] += len(values) > 1
        notes["cases of patients in several splits"] += torn
        label = values.pop() if len(values) == 1 and not torn else None
        notes["cases without label"] += label is None
        drawn = "test" if share(patient) < rules.test_share else "train"
        split = next(iter(splits[patient])) if len(splits[patient]) == 1 else drawn
        named.append(replace(draft, case=replace(draft.case, label=label, split=split)))
    notes[CONTRADICTING] = sum(map(len, labels.conflicts))
    notes[EMPTY] = len(labels.unlabelled)
    notes["lines of labels without a case"] = len(labels.unused(used))
    return named, {key: count for key, count in notes.items() if count}


def _labels_of(draft: Draft, labels: Labels) -> list[Label]:
    keys = [(draft.case.patient, draft.study, draft.series, sop) for sop in draft.sops]
    return [label for label in (labels.of(*key) for key in keys) if label is not None]
