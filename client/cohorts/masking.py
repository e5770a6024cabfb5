"""Which mask belongs to which case, and the mask on the case's own grid.

A mask is matched by what it says it was drawn on, or what its file is named after; else by its place, if
that fits the pictures of one series only. One that fits none, or several, is nobody's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohorts.assembly import Assembly, Draft, Fate
from client.cohorts.catalogue import StoredImage
from client.cohorts.store import PixelStore
from client.dicom.masks import Mask, MaskElsewhere, matches, place
from client.dicom.outcomes import Kind, Outcome

ORPHAN: Fate = (Outcome.other, Kind.segmentation)
USED: Fate = (Outcome.case, "")


@dataclass(slots=True)
class _Laid:
    """The masks that were laid on one case so far, as one."""

    labels: NDArray[np.uint8]
    contradict: bool = False


def put_masks(
    assembly: Assembly,
    images: Sequence[StoredImage],
    store: PixelStore,
    keep: Callable[[NDArray[Any]], str],
) -> Assembly:
    """The assembly with its masks.

    Args:
        assembly: The cases.
        images: Every stored object; those that are masks are used.
        store: Their arrays.
        keep: Stores an array and gives its digest.
    """
    outcomes, laid = dict(assembly.outcomes), dict[str, _Laid]()
    masks = [image for image in images if image.instance.mask]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for image in masks:
        # The same file under another patient's name is another mask: empty ones are alike.
        identity = (image.instance.sop, image.instance.referenced)
        if identity in seen:
            outcomes[image.file] = (Outcome.duplicate, "")
            continue
        seen.add(identity)
        used = _lay(image, assembly.drafts, store, laid)
        outcomes[image.file] = USED if used else ORPHAN
    notes = Counter(assembly.notes)
    notes["masks without a case"] = sum(outcomes[image.file] == ORPHAN for image in masks)
    notes["cases with masks that contradict each other"] = sum(each.contradict for each in laid.values())
    if masks:
        notes["cases without mask"] = len(assembly.drafts) - len(laid)
    drafts = tuple(_with_mask(draft, laid.get(draft.case.name), keep) for draft in assembly.drafts)
    return Assembly(drafts, outcomes, {key: count for key, count in notes.items() if count})


def _lay(image: StoredImage, drafts: Sequence[Draft], store: PixelStore, laid: dict[str, _Laid]) -> bool:
    """Whether the mask belongs to any case; it is then laid on each."""
    mask = _mask(image, store)
    used = False
    for draft in _owners(mask, drafts):
        try:
            labels = place(mask, draft.planes, draft.shape)
        except MaskElsewhere:
            continue
        used = True
        before = laid.get(draft.case.name)
        if before is None:
            laid[draft.case.name] = _Laid(labels)
        else:
            both = (before.labels > 0) & (labels > 0) & (before.labels != labels)
            before.contradict |= bool(both.any())
            before.labels = np.maximum(before.labels, labels)
    return used


def _mask(image: StoredImage, store: PixelStore) -> Mask:
    facts = image.instance
    planes = tuple(frame.plane for frame in facts.frames if frame.plane is not None)
    named = frozenset(facts.referenced)
    return Mask(planes, store.array(image.digest), facts.space or None, named, facts.apart_mm)


def _owners(mask: Mask, drafts: Sequence[Draft]) -> list[Draft]:
    """The cases that a mask was drawn on: those it names, else all those in one series at its place."""
    placed = [draft for draft in drafts if draft.planes]
    named = [draft for draft in placed if not mask.referenced.isdisjoint(_names(draft))]
    if drawn_on := [draft for draft in named if _score(mask, draft)]:
        return drawn_on
    scores = [(_score(mask, draft), draft) for draft in placed]
    best = max((score for score, _ in scores), default=0.0)
    at_place = [draft for score, draft in scores if score > 0 and score == best]
    return at_place if len({draft.series for draft in at_place}) == 1 else []


def _score(mask: Mask, draft: Draft) -> float:
    return matches(mask, draft.planes, _names(draft), draft.space or None)


def _names(draft: Draft) -> tuple[str, ...]:
    return (*draft.sops, draft.series, draft.study, draft.case.patient)


def _with_mask(draft: Draft, laid: _Laid | None, keep: Callable[[NDArray[Any]], str]) -> Draft:
    if laid is None or laid.contradict:
        return draft
    content = replace(draft.case.content, mask=keep(laid.labels))
    return replace(draft, case=replace(draft.case, content=content))
