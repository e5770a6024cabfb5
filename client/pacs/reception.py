"""How objects that arrive over an association are written down while they arrive.

pynetdicom would collect a whole object in memory, or in the system's folder for temporary files, before it
asks anybody. Here the parts go into the inbox one by one, so that neither an object's size nor a claimed
length can fill the memory, and nothing identified lies outside the inbox.
"""

from __future__ import annotations

import errno
import logging
import queue
import socket
import time
from io import BytesIO
from typing import Any, cast

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from client.pacs.inbox import Inbox
from client.pacs.partial import Partial
from client.pacs.tally import Arrival

PDU_BYTES = 2**17
"""What peers are told that a part of a message may be long (PS3.8 D.1); DCMTK sends no longer ones."""
_MOST_PDU_BYTES = 2**22  # some peers send longer ones than they are told
_MOST_COMMAND_BYTES = 2**16
_MOST_ANSWER_BYTES = 2**24  # an identifier, such as the list of what could not be sent
_LOOK_S = 0.25
_QUICK = getattr(socket, "TCP_QUICKACK", None)  # Linux

# Status of C-STORE (PS3.4 table B.2-1, PS3.7 annex C)
_STATUS = {
    Arrival.new: 0x0000,
    Arrival.already: 0x0000,
    Arrival.too_large: 0xA700,
    Arrival.no_space: 0xA700,
    Arrival.unwritable: 0xA700,
}
_NO_DATA = 0xC000

# Private and future classes are stored like all others, in the transfer syntax in which they come. The flag
# is pynetdicom's own, for a whole process; nothing else in Consilium accepts associations.
_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False


def silence() -> None:
    """Keep the libraries' logs from naming what was asked or sent; they quote values and addresses."""
    for name in ("pynetdicom", "urllib3", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class BoundedSocket(AssociationSocket):
    """A socket that does not believe every length it is told, and is closed when it is done with."""

    def recv(self, nr_bytes: int) -> bytearray:
        """``nr_bytes`` from the network; OSError, which ends the association, if that is too many."""
        if nr_bytes > _MOST_PDU_BYTES:
            raise OSError(errno.EMSGSIZE, "a part of a message is too long")
        if _QUICK is not None and self.socket is not None:
            # Peers send a command, wait for its acknowledgement, and send the object: without this, each
            # object would take the 40 ms by which the system delays one. It must be said again every time.
            self.socket.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)
        return super().recv(nr_bytes)

    def _shutdown_socket(self) -> None:
        """Close the socket, also where shutting down fails because the peer is gone already."""
        connection = self.socket
        super()._shutdown_socket()
        if connection is not None:
            connection.close()


class Spool(BytesIO):
    """Takes a message's data set as it arrives: an object to store goes to the inbox, another stays here."""

    def __init__(self, message: DIMSEMessage, association: Association, inbox: Inbox | None) -> None:
        super().__init__()
        self.partial: Partial | None = None
        self._message = message
        self._association = association
        self._inbox = inbox

    def write(self, data: Any) -> int:
        """Add a part; OverflowError if an answer is longer than any answer can be."""
        if self._inbox is not None and isinstance(self._message, C_STORE_RQ):
            if self.partial is None:
                self.partial = self._inbox.partial()
                self.partial.write(self._head())
            self.partial.write(data)
            return len(data)
        if self.tell() + len(data) > _MOST_ANSWER_BYTES:
            raise OverflowError("an answer is too long")
        return super().write(data)

    def _head(self) -> bytes:
        command, context = self._message.command_set, self._message.context_id or 0
        contexts = {c.context_id: c for c in self._association.accepted_contexts}
        return file_head(
            create_file_meta(
                sop_class_uid=UID(str(command.AffectedSOPClassUID)),
                sop_instance_uid=UID(str(command.AffectedSOPInstanceUID)),
                transfer_syntax=contexts[context].transfer_syntax[0],
            )
        )


def file_head(meta: FileMetaDataset) -> bytes:
    """What stands before the data set in a Part 10 file (PS3.10 7.1)."""
    buffer = DicomBytesIO()
    buffer.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


class Reception(DIMSEServiceProvider):
    """The messages of one association: objects go into the inbox, and silence is borne only so long.

    Args:
        association: Whose messages.
        inbox: Where objects go, and whose arrivals over any association count as a sign of life.
        patience_s: After so long without a sign of life, what is waited for is given up.

    Attributes:
        was_aborted: Whether the peer has ended the association by an A-ABORT.
    """

    def __init__(self, association: Association, inbox: Inbox | None, patience_s: float) -> None:
        super().__init__(association)
        self._inbox = inbox
        self._patience_s = patience_s
        self._last_s = time.monotonic()
        self.was_aborted = False

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a part of a message; a message that is none ends the association."""
        self._last_s = time.monotonic()
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.data_set = Spool(self.message, self.assoc, self._inbox)
        try:
            super().receive_primitive(primitive)
            broken = self.message is not None and (
                self.message.encoded_command_set.tell() > _MOST_COMMAND_BYTES
            )
        except Exception:  # noqa: BLE001  bytes from the network, decoded by a library
            broken = True
        if broken:
            self.drop()
            self.dul.event_queue.put("Evt19")  # PS3.8 9.2: invalid PDU, so abort

    def get_msg(self, block: bool = False) -> Any:
        """The next message; (None, None) if there is none, or none came within the time."""
        if not block:
            # Who asks without waiting is the association's own thread, which serves requests. Where this site
            # is the one that asks, it must not run: it would now and then take an answer, and lose it.
            return super().get_msg(block=False) if self.assoc.is_acceptor else (None, None)
        self._last_s = time.monotonic()
        while True:
            try:
                return self.msg_queue.get(timeout=_LOOK_S)
            except queue.Empty:
                arrived_s = self._inbox.last_activity_s if self._inbox else 0.0
                if time.monotonic() - max(self._last_s, arrived_s) > self._patience_s:
                    return None, None

    def drop(self) -> None:
        """Delete what has arrived of an object whose rest will not come."""
        spool = self.message.data_set if self.message is not None else None
        if isinstance(spool, Spool) and spool.partial is not None:
            spool.partial.discard()


def handlers(inbox: Inbox | None, patience_s: float) -> list[evt.EventHandlerType]:
    """Event handlers that make an association write its objects into ``inbox``."""

    def opened(event: evt.Event) -> None:
        event.assoc.dimse = Reception(event.assoc, inbox, patience_s)
        connection = event.assoc.dul.socket
        if connection is not None and connection.socket is not None:
            connection.__class__ = BoundedSocket  # it was made before anybody could say of what
            # A question is two short messages; the second would wait for the first to be acknowledged.
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def closed(event: evt.Event) -> None:
        if isinstance(event.assoc.dimse, Reception):
            event.assoc.dimse.drop()

    def noted(event: evt.Event) -> None:
        if isinstance(event.pdu, A_ABORT_RQ) and isinstance(event.assoc.dimse, Reception):
            event.assoc.dimse.was_aborted = True

    def stored(event: evt.Event) -> int:
        request = cast(C_STORE, event.request)
        spool = request.DataSet
        if inbox is None or not isinstance(spool, Spool) or spool.partial is None:
            return _NO_DATA
        return _STATUS[inbox.keep(spool.partial, str(request.AffectedSOPInstanceUID))]

    return [
        (evt.EVT_CONN_OPEN, opened),
        (evt.EVT_PDU_RECV, noted),
        (evt.EVT_C_STORE, stored),
        (evt.EVT_CONN_CLOSE, closed),
    ]
