"""An association that this site asks an archive for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from client.pacs.inbox import Inbox
from client.pacs.reception import PDU_BYTES, Reception, handlers, silence
from client.pacs.settings import Archive
from client.pacs.tls import client_context
from common.errors import PacsRefused, PacsUnreachable

LOST = -1
"""Stands for the status of an answer that did not come."""


@contextmanager
def association(
    archive: Archive,
    contexts: Sequence[PresentationContext],
    inbox: Inbox | None = None,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """An established association in which the first of ``contexts`` was accepted.

    Args:
        archive: Whom to ask.
        contexts: What for.
        inbox: Where objects go that arrive over it, and whose arrivals count as a sign of life.
        roles: Where this site would store what the archive sends (C-GET; PS3.7 D.3.3.4).

    Raises:
        PacsUnreachable: Nobody answers there, or not in TLS as asked.
        PacsRefused: The archive does not want this AE title, or does not offer what is asked for.
    """
    asked = _ask(archive, contexts, inbox, roles)
    try:
        _check(archive, asked, str(contexts[0].abstract_syntax))
        yield asked
        asked.release()
    finally:
        if not asked.is_released:
            asked.abort()


def _ask(
    archive: Archive,
    contexts: Sequence[PresentationContext],
    inbox: Inbox | None,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
) -> Association:
    """An association as it came out, established or not."""
    silence()
    entity = AE(ae_title=archive.calling_ae_title)
    entity.connection_timeout = entity.acse_timeout = archive.network_timeout_s
    entity.dimse_timeout = entity.network_timeout = None  # Reception has the patience
    entity.maximum_pdu_size = PDU_BYTES
    tls = archive.tls
    tls_args = (client_context(tls), tls.server_name or archive.host or "") if tls else None
    with warnings.catch_warnings():
        # pynetdicom leaves the socket of a connection that failed to be closed by the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return entity.associate(
                archive.host or "",
                archive.port or 0,
                contexts=list(contexts),
                ae_title=archive.ae_title or "",
                max_pdu=PDU_BYTES,
                ext_neg=list(roles),
                evt_handlers=handlers(inbox, archive.response_timeout_s),
                tls_args=tls_args,
            )
        except OSError:  # the name is not known
            raise PacsUnreachable(f"{archive.where}: no such host.") from None


def status_of(answer: Dataset) -> int:
    """The status (0000,0900) of an answer, or ``LOST``."""
    return int(answer.Status) if "Status" in answer else LOST


def lost(archive: Archive, asked: Association, step: str) -> PacsRefused | PacsUnreachable:
    """The coded error for an answer that did not come."""
    if isinstance(asked.dimse, Reception) and asked.dimse.was_aborted:
        return PacsRefused(f"{archive.where}: the archive broke off the association during {step}.")
    return PacsUnreachable(f"{archive.where}: the association was lost during {step}.")


def _check(archive: Archive, asked: Association, service: str) -> None:
    if asked.is_rejected:
        reason = getattr(asked.acceptor.primitive, "reason_str", "no reason given")
        raise PacsRefused(
            f"{archive.where}: {archive.ae_title} rejected {archive.calling_ae_title} "
            f"({reason[:1].lower()}{reason[1:]})."
        )
    accepted = {str(context.abstract_syntax) for context in asked.accepted_contexts}
    if asked.acceptor.primitive is None:
        how = "over TLS" if archive.tls else "without TLS"
        raise PacsUnreachable(f"{archive.where}: no DICOM association {how}.")
    if not asked.is_established or service not in accepted:
        raise PacsRefused(f"{archive.where}: {archive.ae_title} does not offer what was asked ({service}).")
