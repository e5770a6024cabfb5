"""What is to be fetched in one go: of what was found, only what is not in the inbox yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from client.pacs.index import Listed
from client.pacs.query import Found

_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Order:
    """A study, a series of it, or instances of a series; which one, the UIDs given tell."""

    study_uid: str
    series_uid: str = ""
    sop_uids: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """Query/retrieve level (0008,0052)."""
        return "IMAGE" if self.sop_uids else "SERIES" if self.series_uid else "STUDY"

    @property
    def keys(self) -> dict[str, str | list[str]]:
        """Unique keys by keyword."""
        keys: dict[str, str | list[str]] = {"StudyInstanceUID": self.study_uid}
        if self.series_uid:
            keys["SeriesInstanceUID"] = self.series_uid
        if self.sop_uids:
            keys["SOPInstanceUID"] = list(self.sop_uids)
        return keys


class Carrier(Protocol):
    """What brings an order into the inbox."""

    def fetch(self, order: Order) -> str:
        """Why not everything of the order came, or an empty text.

        Raises:
            PacsRefused: No order will ever be carried out.
            PacsIncomplete: The connection was lost.
        """
        ...


def orders(found: Found, listed: Sequence[Listed] | None, holds: Callable[[str], bool]) -> Iterator[Order]:
    """The fewest orders that bring what is missing and nothing else.

    Args:
        found: What is wanted.
        listed: Its instances; None if the archive cannot say.
        holds: Whether an instance with this UID is here.
    """
    if listed is None or not any(holds(one.sop_uid) for one in listed):
        if listed is None or listed:
            yield Order(found.study_uid, found.series_uid)
        return
    for series_uid, group in groupby(listed, key=lambda one: one.series_uid):
        instances = [one.sop_uid for one in group]
        missing = [uid for uid in instances if not holds(uid)]
        if len(missing) == len(instances):
            yield Order(found.study_uid, series_uid)
        else:
            for start in range(0, len(missing), _AT_ONCE):
                yield Order(found.study_uid, series_uid, tuple(missing[start : start + _AT_ONCE]))
