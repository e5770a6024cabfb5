"""Fetching by WADO-RS (PS3.18 10.4): the parts of the answer are written down as they come."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info

from client.pacs.dicomweb import web_errors, web_session
from client.pacs.inbox import Inbox
from client.pacs.multipart import Broken, boundary_of, parts
from client.pacs.order import Order
from client.pacs.partial import Partial
from client.pacs.settings import Archive
from common.errors import PacsIncomplete, PacsUnreachable

if TYPE_CHECKING:
    from requests import Response, Session

# Every object in the transfer syntax in which it is stored (PS3.18 8.7.3.5.2).
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_DICOM = "application/dicom"
_CHUNK = 2**16
_NO_RIGHT = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class WebFetcher:
    """WADO-RS over one session."""

    def __init__(self, archive: Archive, session: Session, inbox: Inbox) -> None:
        self._archive = archive
        self._session = session
        self._inbox = inbox

    @classmethod
    @contextmanager
    def open(cls, archive: Archive, inbox: Inbox) -> Iterator[WebFetcher]:
        """A carrier."""
        with web_session(archive) as session:
            yield cls(archive, session, inbox)

    def fetch(self, order: Order) -> str:
        """See :class:`client.pacs.order.Carrier`; instances come one by one, as there is no list of them."""
        reasons = [self._fetch(address) for address in _addresses(self._archive.url or "", order)]
        return next((reason for reason in reasons if reason), "")

    def _fetch(self, address: str) -> str:
        with web_errors(self._archive, "a transfer"):
            response = self._get(address)
            if response.status_code in _NO_RIGHT:
                response.raise_for_status()
        with response:
            if response.status_code != HTTPStatus.OK:
                return f"WADO-RS was answered with HTTP status {response.status_code}"
            try:
                with web_errors(self._archive, "a transfer"):
                    return self._keep_parts(response)
            except (Broken, PacsUnreachable):
                where = self._archive.where_web
                raise PacsIncomplete(f"{where}: the answer to a transfer broke off.") from None

    def _get(self, address: str) -> Response:
        return self._session.get(
            address,
            headers={"Accept": _ACCEPT, "Accept-Encoding": "identity"},
            stream=True,
            timeout=(self._archive.network_timeout_s, self._archive.response_timeout_s),
        )

    def _keep_parts(self, response: Response) -> str:
        content_type = response.headers.get("Content-Type", "")
        chunks: Iterable[bytes] = response.iter_content(_CHUNK)
        if content_type.partition(";")[0].strip().lower() == _DICOM:
            return self._keep(chunks)
        reasons = [self._keep(part) for part in parts(chunks, boundary_of(content_type))]
        return next((reason for reason in reasons if reason), "")

    def _keep(self, pieces: Iterable[bytes]) -> str:
        partial = self._inbox.partial()
        try:
            for piece in pieces:
                partial.write(piece)
            sop_uid = "" if partial.trouble else _sop_uid(partial)
        except BaseException:
            partial.discard()
            raise
        if not sop_uid and partial.trouble is None:
            partial.discard()
            return "a part was no DICOM file"
        self._inbox.keep(partial, sop_uid)
        return ""


def _addresses(url: str, order: Order) -> Iterator[str]:
    address = f"{url.rstrip('/')}/studies/{quote(order.study_uid)}"
    if order.series_uid:
        address += f"/series/{quote(order.series_uid)}"
    if not order.sop_uids:
        yield address
    yield from (f"{address}/instances/{quote(uid)}" for uid in order.sop_uids)


def _sop_uid(partial: Partial) -> str:
    """Media storage SOP instance UID (0002,0003) of what has arrived; empty if that is no Part 10 file."""
    try:
        partial.sync()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            meta = read_file_meta_info(partial.path)
        return str(meta.MediaStorageSOPInstanceUID) if "TransferSyntaxUID" in meta else ""
    except (InvalidDicomError, OSError, ValueError, AttributeError, EOFError, KeyError, struct.error):
        return ""
