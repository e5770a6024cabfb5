"""Multipart bodies and the smallest Part 10 files."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from pynetdicom.dsutils import create_file_meta

from client.pacs.reception import file_head

BOUNDARY = b"5f2-b"


def head(uid: str) -> bytes:
    """What stands before the data set of a CT slice."""
    return file_head(
        create_file_meta(
            sop_class_uid=CTImageStorage, sop_instance_uid=UID(uid), transfer_syntax=ExplicitVRLittleEndian
        )
    )


def body(given: Iterable[bytes], preamble: bytes = b"") -> bytes:
    """A multipart/related body with these parts."""
    written = b"".join(
        b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in given
    )
    return preamble + written + b"--" + BOUNDARY + b"--\r\n"
