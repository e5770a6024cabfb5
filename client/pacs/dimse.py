"""Fetching by C-MOVE and by C-GET (PS3.4 C.4.2 and C.4.3), in the Study Root model.

C-MOVE has the archive open associations to this site's receiver; C-GET brings everything over the one that
this site has opened, for which the classes and transfer syntaxes must be named beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom.association import Association
from pynetdicom.presentation import (
    PresentationContext,
    StoragePresentationContexts,
    build_context,
    build_role,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from client.pacs.association import LOST, association, status_of
from client.pacs.finding import identifier
from client.pacs.inbox import Inbox
from client.pacs.order import Order
from client.pacs.receiver import Listener
from client.pacs.settings import Archive
from common.errors import PacsIncomplete, PacsRefused

_NO_DESTINATION = 0xA801  # move destination unknown
_NOT_OFFERED = 0x0122  # SOP class not supported
_NOT_ALLOWED = 0x0124
_MOST_CONTEXTS = 127  # odd numbers up to 255 (PS3.8 9.3.2.2), less the one for C-GET itself
_LOOK_S = 0.05
Syntaxes = list[str | UID]
_NATIVE: Syntaxes = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
_OTHERS: Syntaxes = [syntax for syntax in AllTransferSyntaxes if syntax not in _NATIVE]
_USUAL: Syntaxes = [
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
]
_STORED = [UID(str(context.abstract_syntax)) for context in StoragePresentationContexts]
_IMAGE_CLASSES = [str(uid) for uid in _STORED if "Image Storage" in uid.name]


class Mover:
    """C-MOVE to this site's own receiver, which listens as long as this does."""

    def __init__(self, archive: Archive, asked: Association, inbox: Inbox) -> None:
        self._archive = archive
        self._association = asked
        self._title = inbox.limits.ae_title

    @classmethod
    @contextmanager
    def open(cls, archive: Archive, inbox: Inbox, is_complete: Callable[[], bool]) -> Iterator[Mover]:
        """A carrier; at the end it waits a little for what is still on its way.

        Args:
            archive: Whom to ask.
            inbox: Where everything goes; its limits say how to listen.
            is_complete: Whether nothing more is to come.
        """
        titles = (archive.ae_title or "",)
        with Listener(inbox.limits, inbox, also_allowed=titles) as listener:
            contexts = [build_context(StudyRootQueryRetrieveInformationModelMove)]
            with association(archive, contexts, inbox) as asked:
                yield cls(archive, asked, inbox)
            last_s = time.monotonic() + archive.network_timeout_s
            while listener.active and not is_complete() and time.monotonic() < last_s:
                time.sleep(_LOOK_S)

    def fetch(self, order: Order) -> str:
        """See :class:`client.pacs.order.Carrier`."""
        _check_alive(self._archive, self._association)
        question = identifier(order.level, order.keys)
        model = StudyRootQueryRetrieveInformationModelMove
        code = _final(self._association.send_c_move(question, self._title, model))
        if code == _NO_DESTINATION:
            raise PacsRefused(
                f"{self._archive.where}: the archive does not know {self._title}, this site's receiver.",
                hint="Ask its administrator to add AE title, host and port of [receive] in site.toml.",
            )
        return _outcome(self._archive, "C-MOVE", code)


class Getter:
    """C-GET over one association."""

    def __init__(self, archive: Archive, asked: Association) -> None:
        self._archive = archive
        self._association = asked

    @classmethod
    @contextmanager
    def open(cls, archive: Archive, inbox: Inbox, sop_classes: Iterable[str]) -> Iterator[Getter]:
        """A carrier.

        Args:
            archive: Whom to ask.
            inbox: Where everything goes.
            sop_classes: What may come (0008,0016); if that is not known, the usual ones are offered.
        """
        contexts = storage_contexts(sop_classes)
        roles = [build_role(uid, scp_role=True) for uid in {str(c.abstract_syntax) for c in contexts}]
        service = build_context(StudyRootQueryRetrieveInformationModelGet)
        with association(archive, [service, *contexts], inbox, roles) as asked:
            yield cls(archive, asked)

    def fetch(self, order: Order) -> str:
        """See :class:`client.pacs.order.Carrier`."""
        _check_alive(self._archive, self._association)
        question = identifier(order.level, order.keys)
        model = StudyRootQueryRetrieveInformationModelGet
        return _outcome(self._archive, "C-GET", _final(self._association.send_c_get(question, model)))


def storage_contexts(sop_classes: Iterable[str]) -> list[PresentationContext]:
    """Presentation contexts in which an archive may send objects as it stores them.

    An archive accepts one transfer syntax a context (PS3.8 9.3.2.2). So each class gets a context for its
    native syntaxes and one for each other syntax, as far as they fit in an association; else one for each
    usual syntax and one for all rare ones, else one for all that are not native.
    """
    classes = sorted({uid for uid in sop_classes if uid}) or _IMAGE_CLASSES
    rare: Syntaxes = [syntax for syntax in _OTHERS if syntax not in _USUAL]
    choices: list[list[Syntaxes]] = [
        [_NATIVE, *_singly(_OTHERS)],
        [_NATIVE, *_singly(_USUAL), rare],
        [_NATIVE, _OTHERS],
    ]
    groups = next((some for some in choices if len(some) * len(classes) <= _MOST_CONTEXTS), [_NATIVE])
    return [build_context(uid, group) for uid in classes for group in groups][:_MOST_CONTEXTS]


def _singly(syntaxes: Syntaxes) -> list[Syntaxes]:
    return [[syntax] for syntax in syntaxes]


def _check_alive(archive: Archive, asked: Association) -> None:
    if not asked.is_established:
        raise PacsIncomplete(f"{archive.where}: the association was lost.")


def _final(answers: Iterable[tuple[Dataset, Dataset | None]]) -> int:
    code = LOST
    for status, _ in answers:
        code = status_of(status)
    return code


def _outcome(archive: Archive, service: str, code: int) -> str:
    if code == LOST:
        raise PacsIncomplete(f"{archive.where}: the association was lost during {service}.")
    if code in (_NOT_OFFERED, _NOT_ALLOWED):
        raise PacsRefused(f"{archive.where}: {service} was refused with status 0x{code:04X}.")
    return "" if code == 0 else f"{service} ended with status 0x{code:04X}"
