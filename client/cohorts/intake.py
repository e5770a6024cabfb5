"""Taking an archive in: every file is looked at once, and ends as one of four outcomes.

Interrupted at any moment, the next run goes on: what is committed is known by its mark and stamp, and what
the pixel file holds beyond the last commit is cut away. Cases are made anew at the end of every intake from
all that is stored, so it does not matter in which order or in how many runs the files came.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from client.cohorts.assembly import CONTRADICTING, EMPTY, assemble
from client.cohorts.catalogue import Catalogue, CohortRow, SeenFile
from client.cohorts.home import Home
from client.cohorts.labels import Labels, read_labels
from client.cohorts.masking import put_masks
from client.cohorts.rules import Rules
from client.cohorts.shelf import Shelf
from client.cohorts.store import PixelStore, PixelWriter
from client.dicom.archive import Found, find
from client.dicom.examination import Examined, Orders, Passed, Refused, Taken, examine
from client.dicom.outcomes import Outcome, Quarantined, Reason
from client.dicom.workers import Limits, WorkerPool
from common.errors import CohortDiffers, CohortUnknown, NothingFound

UNPACKED_BYTES_PER_S = 1e7
"""What a slow machine inflates of an archive in a second, for the time that a member may take."""

NOT_DECODED = {Reason.crashed, Reason.hung, Reason.memory, Reason.undecodable}
AGAIN = {Reason.unreadable, Reason.crashed, Reason.hung, Reason.memory}
"""Reasons that may have lain with this machine and not with the file: each intake tries these anew."""

AS_MASK = ":mask"
"""Ends the stamp of a file that was looked at as a mask."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to take in.

    Attributes:
        name: Of the cohort.
        dicom: Folders, files, zip and tar archives.
        rules: What a case is.
        masks: Folders and archives with SEG and NIfTI masks.
        labels: Table of labels; None to keep those of an earlier intake.
    """

    name: str
    dicom: tuple[Path, ...]
    rules: Rules
    masks: tuple[Path, ...] = ()
    labels: Path | None = None


@dataclass(slots=True)
class Tally:
    """How far an intake has come: files found, known from before, done, and of those in quarantine."""

    found: int = 0
    known: int = 0
    done: int = 0
    quarantined: int = 0


Result = TypeVar("Result")
Progress = Callable[[Tally], None]


def take_in(home: Home, request: Request, progress: Progress = lambda _: None) -> CohortRow:
    """The cohort, with everything new in the request taken in.

    Raises:
        NothingFound: No file is there.
        LabelsInvalid: The table of labels cannot be read.
        CohortDiffers: It was begun with other rules.
        HomeBusy: Another process is at it.
        DiskFull, OutputUnwritable: The home cannot be written.
    """
    labels = read_labels(request.labels, home.pseudonyms) if request.labels else None
    found = found_below((*request.dicom, *request.masks))
    with home.changing(request.name), closing(Catalogue(home.database)) as catalogue:
        cohort = begin(catalogue, request.name, request.rules)
        home.audit(
            "cohort.intake-begun",
            cohort=cohort.name,
            files=len(found),
            labels=request.labels is not None,
            allow_burned_in=request.rules.allow_burned_in,
        )
        if labels is not None:
            catalogue.put_labels(cohort.id, labels.to_rows())
        intake = catalogue.begin_intake(cohort.id)
        writer = PixelWriter(home.cohort_folder(cohort.name), cohort.stored_bytes)
        with closing(Shelf(catalogue, cohort, intake, writer)) as shelf:
            _examine_all(home, request, catalogue, cohort, shelf, found, progress)
            _make_cases(home, catalogue, cohort, intake, shelf, labels)
        counts: Counter[str] = Counter()
        for outcome, _, _, count in catalogue.counts(cohort.id):
            counts[outcome] += count
        home.audit("cohort.intake-ended", cohort=cohort.name, intake=intake, **counts)
        return catalogue.cohort(cohort.name)


def begin(catalogue: Catalogue, name: str, rules: Rules) -> CohortRow:
    """The cohort of that name, new or as it was begun.

    Raises:
        CohortDiffers: It was begun with other rules.
    """
    try:
        cohort = catalogue.cohort(name)
    except CohortUnknown:
        return catalogue.create(name, rules)
    if cohort.rules == replace(rules, allow_burned_in=False):  # a person has looked since
        return catalogue.change_rules(cohort.name, rules)
    if cohort.rules != rules:
        before, now = cohort.rules.to_json(), rules.to_json()
        changes = [f"{key} was {before[key]}, is {now[key]}" for key in now if before[key] != now[key]]
        raise CohortDiffers(f"cohort {name!r}: {'; '.join(changes)}")
    return cohort


def found_below(roots: Sequence[Path]) -> list[Found]:
    """Every file below the roots.

    Raises:
        NothingFound: A root is not there, or there is no file.
    """
    for root in roots:
        if not root.exists():
            raise NothingFound(f"{root} does not exist")
    found = list(find(roots))
    if not found:
        raise NothingFound(f"no file under {', '.join(map(str, roots[:5]))}")
    return found


def pool_of(home: Home, work: Callable[[Found], Result], most: int) -> WorkerPool[Found, Result]:
    """Workers that apply ``work`` to files within the site's limits: one a core, and ``most`` at most."""
    return WorkerPool(
        work,
        min(os.cpu_count() or 1, most),
        Limits(home.policy.file_time_s, home.policy.file_memory_mib * 2**20),
        lambda item: item.before_bytes / UNPACKED_BYTES_PER_S,
    )


def _examine_all(
    home: Home,
    request: Request,
    catalogue: Catalogue,
    cohort: CohortRow,
    shelf: Shelf,
    found: Sequence[Found],
    progress: Progress,
) -> None:
    again = AGAIN | {Reason.burned_in} if request.rules.allow_burned_in else AGAIN
    names, orders, known = home.pseudonyms, _orders(home, request), catalogue.stamps(cohort.id, again)
    marked = {item: (names.mark(item.locator), _stamp(item, orders)) for item in found}
    once = {mark: item for item, (mark, _) in reversed(marked.items())}  # two links may lead to one folder
    marks = {
        item: (mark, stamp)
        for item, (mark, stamp) in marked.items()
        if once[mark] is item
        and known.get(mark) not in (stamp, stamp + AS_MASK)  # a mask stays one when --masks is left away
    }
    tally = Tally(found=len(found), known=len(found) - len(marks), done=len(found) - len(marks))
    progress(tally)
    new = [item for item in marks if not item.repeat]
    with pool_of(home, partial(examine, orders=orders), len(new)).running() as pool:
        try:
            for item in marks.keys() - set(new):
                shelf.put(SeenFile(*marks[item], Outcome.duplicate))
                tally.done += 1
            for item, result in pool.map(new):
                seen = _seen(*marks[item], result)
                shelf.put(seen, result if isinstance(result, Taken) else None)
                tally.done += 1
                tally.quarantined += seen.outcome is Outcome.quarantined
                progress(tally)
        finally:
            shelf.commit()  # an interruption keeps what was done


def _make_cases(
    home: Home,
    catalogue: Catalogue,
    cohort: CohortRow,
    intake: int,
    shelf: Shelf,
    labels: Labels | None,
) -> None:
    blobs, images = catalogue.blobs(cohort.id), catalogue.images(cohort.id)
    earlier = {case.name: case for case in catalogue.cases(cohort.id)}
    known = labels or Labels.of_rows(catalogue.labels(cohort.id))
    assembly = assemble(images, blobs, known, cohort.rules, home.pseudonyms.share)
    store = PixelStore(home.cohort_folder(cohort.name), blobs)
    assembly = put_masks(assembly, images, store, shelf.keep)
    shelf.commit()
    kept = {} if labels else {k: cohort.notes[k] for k in (CONTRADICTING, EMPTY) if k in cohort.notes}
    notes = {**assembly.notes, **kept}
    catalogue.settle(cohort.id, assembly.cases(earlier, intake), assembly.outcomes, notes)


def _orders(home: Home, request: Request) -> Orders:
    places = (path.resolve() for path in request.masks)
    return Orders(
        key=home.key,
        mask_places=tuple(f"{place}/" for place in places),
        modalities=request.rules.modalities,
        keep_derived=request.rules.keep_derived,
        allow_burned_in=request.rules.allow_burned_in,
    )


def _stamp(found: Found, orders: Orders) -> str:
    """What is another when the file has another content, or is to be looked at as a mask and was not."""
    return f"{found.size_bytes}:{found.modified_ns}{AS_MASK if orders.as_mask(found) else ''}"


def _seen(mark: str, stamp: str, result: Examined | Quarantined) -> SeenFile:
    match result:
        case Taken():
            return SeenFile(mark, stamp, Outcome.case, decoded=True)
        case Passed():
            return SeenFile(mark, stamp, Outcome.other, result.kind, result.decoded)
        case Refused():
            return SeenFile(mark, stamp, Outcome.quarantined, result.reason, result.decoded)
        case Quarantined():
            decoded = False if result.reason in NOT_DECODED else None
            return SeenFile(mark, stamp, Outcome.quarantined, result.reason, decoded)
