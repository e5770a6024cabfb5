"""Fetching what was found into the inbox, and being sure that all of it came.

What counts is the archive's own list of instances, compared with the files in the inbox at the end; what an
archive says of its success is only why something may be missing. What is in the inbox is not asked for again,
so an interrupted transfer goes on where it stopped when it is asked for once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from client.pacs.dimse import Getter, Mover
from client.pacs.inbox import Inbox
from client.pacs.index import Index, Listed
from client.pacs.order import Carrier, orders
from client.pacs.query import Found, list_instances, open_index
from client.pacs.settings import Archive, Receiver
from client.pacs.tally import Tally
from client.pacs.wado import WebFetcher
from common.errors import HomeInvalid, PacsIncomplete, PacsRefused, PacsUnreachable

Method = Literal["move", "get", "web"]


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a retrieval brought.

    Attributes:
        expected: How many instances there are; as far as is known.
        new: How many came.
        already: How many were in the inbox before.
        failed: How many did not come, or could not be kept.
    """

    expected: int
    new: int = 0
    already: int = 0
    failed: int = 0


Progress = Callable[[Retrieved], None]
_NOTHING_CAME: dict[Method, str] = {
    "move": "Ask the archive's administrator whether AE title, host and port of [receive] are known there.",
    "get": "Ask the archive's administrator whether this AE title may fetch, or try --method move.",
    "web": "Ask the archive's administrator whether this user may fetch by DICOMweb.",
}


def retrieve(
    archive: Archive,
    found: Sequence[Found],
    folder: Path,
    receive: Receiver | None = None,
    method: Method = "move",
    progress: Progress | None = None,
) -> Retrieved:
    """Fetch studies and series.

    Args:
        archive: Whom to ask.
        found: What to fetch.
        folder: The inbox.
        receive: Limits of the inbox and, for C-MOVE, how to listen; the defaults if None.
        method: C-MOVE, C-GET or WADO-RS.
        progress: Told how far it is, from whichever thread received an object.

    Raises:
        PacsUnreachable, PacsRefused: The archive does not answer as is needed.
        PacsIncomplete: Not everything came; what did is in the inbox.
        DiskFull, OutputUnwritable: The inbox could not keep everything.
        PortTaken: C-MOVE, and another program listens at the port of [receive].
        HomeInvalid: The archive does not have what the method needs, or a file of it cannot be used.
    """
    _check_method(archive, method)
    with Inbox(folder, receive or Receiver()) as inbox:
        wanted = _Wanted(found, _listed(archive, found, method), inbox)
        if progress is not None:
            inbox.progress = lambda tally: progress(wanted.so_far(tally))
            progress(wanted.so_far(inbox.tally))
        reasons = _fetch(archive, wanted, inbox, method)
        inbox.check_space()
        result = wanted.result(inbox.tally)
        if result.failed or (reasons.any and not wanted.is_listed):
            where = archive.where_web if method == "web" else archive.where
            raise _shortfall(where, method, inbox.tally, result, reasons)
        return result


class _Wanted:
    """What is to be in the inbox at the end.

    Args:
        found: What was asked for.
        listed: The instances of each; None where the archive cannot list them.
        inbox: Where they are to be.
    """

    def __init__(
        self, found: Sequence[Found], listed: Sequence[Sequence[Listed] | None], inbox: Inbox
    ) -> None:
        self._inbox = inbox
        self.pairs = list(zip(found, listed, strict=True))
        self.is_listed = all(some is not None for some in listed)
        self.sop_classes = {one.sop_class for some in listed for one in some or ()}
        self._uids = {one.sop_uid for some in listed for one in some or ()}
        self._before = {uid for uid in self._uids if inbox.holds(uid)}
        self._unlisted = sum(one.instances or 0 for one, some in self.pairs if some is None)

    def is_complete(self) -> bool:
        """Whether everything is known to be there."""
        return self.is_listed and all(self._inbox.holds(uid) for uid in self._uids)

    def so_far(self, tally: Tally) -> Retrieved:
        """How far it is by what arrived; quick, but objects that nobody asked for count too."""
        already = len(self._before) + tally.already
        expected = max(len(self._uids) + self._unlisted, tally.new + already)
        return Retrieved(expected, tally.new, already, tally.refused)

    def result(self, tally: Tally) -> Retrieved:
        """How it ended: by the files in the inbox, where the archive could list what belongs there."""
        if not self.is_listed:
            seen = self.so_far(tally)
            missing = seen.expected - seen.new - seen.already
            return Retrieved(seen.expected, seen.new, seen.already, max(seen.failed, missing))
        present = sum(self._inbox.holds(uid) for uid in self._uids)
        new = present - len(self._before)
        return Retrieved(len(self._uids), new, len(self._before), len(self._uids) - present)


def _listed(archive: Archive, found: Sequence[Found], method: Method) -> list[list[Listed] | None]:
    """The instances of each study or series; None where the archive refuses to list them."""
    with open_index(archive, web=method == "web") as index:
        return [_list(index, one) for one in found]


def _list(index: Index, found: Found) -> list[Listed] | None:
    try:
        return list(list_instances(index, found)) or None  # what was found cannot be empty
    except PacsRefused:
        return None


@dataclass(slots=True)
class _Reasons:
    """Why something did not come."""

    said: list[str] = field(default_factory=list)
    lost: str = ""

    @property
    def any(self) -> bool:
        return bool(self.lost or self.said)


def _fetch(archive: Archive, wanted: _Wanted, inbox: Inbox, method: Method) -> _Reasons:
    """Carry out all orders, as long as the connection holds."""
    reasons = _Reasons()
    todo = [order for found, listed in wanted.pairs for order in orders(found, listed, inbox.holds)]
    if not todo:
        return reasons
    try:
        with _carrier(archive, wanted, inbox, method) as carrier:
            for order in todo:
                reason = carrier.fetch(order)
                reasons.said += [reason] if reason else []
    except PacsIncomplete as broken:
        reasons.lost = broken.private
    except PacsUnreachable as broken:
        if not inbox.tally.new:
            raise
        reasons.lost = broken.private
    return reasons


def _carrier(
    archive: Archive, wanted: _Wanted, inbox: Inbox, method: Method
) -> AbstractContextManager[Carrier]:
    if method == "move":
        return Mover.open(archive, inbox, wanted.is_complete)
    if method == "get":
        return Getter.open(archive, inbox, wanted.sop_classes)
    return WebFetcher.open(archive, inbox)


def _shortfall(
    where: str, method: Method, tally: Tally, result: Retrieved, reasons: _Reasons
) -> PacsIncomplete | PacsRefused:
    """The coded error for what is missing: a refusal, if the archive sent nothing at all and said so."""
    lines = [
        f"{where}: {result.failed} of {result.expected} objects are missing "
        f"({result.new} new, {result.already} already here)."
    ]
    if tally.too_large:
        lines.append(f"{tally.too_large} are larger than [receive] max_object_bytes.")
    text = "\n".join([*lines, *dict.fromkeys(reasons.said), *([reasons.lost] if reasons.lost else [])])
    if reasons.said and not reasons.lost and tally == Tally():
        return PacsRefused(text, hint=_NOTHING_CAME[method])
    return PacsIncomplete(text)


def _check_method(archive: Archive, method: Method) -> None:
    if method == "web" and archive.url is None:
        raise HomeInvalid("The archive has no url in site.toml, which --method web needs.")
    if method != "web" and not archive.speaks_dimse:
        raise HomeInvalid(
            f"The archive has no host, port and ae_title in site.toml, which --method {method} needs.",
            hint="Use --method web, or add them to the archive in site.toml.",
        )
