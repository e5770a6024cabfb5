"""Finding files and members of archives, and reading them with limits."""

from client.dicom.archive.companions import companion
from client.dicom.archive.finding import find, read_bytes
from client.dicom.archive.found import Found
from client.dicom.archive.open_archives import close_archives

__all__ = ["Found", "close_archives", "companion", "find", "read_bytes"]
