"""A table as people export it: CSV in UTF-8 with or without a mark, by comma, semicolon or tab, or gzipped.

Nothing that stands in a table is ever quoted in a message, its first line included: a table without a header
has a patient there.
"""

from __future__ import annotations

import csv
import gzip
import io
import stat
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from client.dicom.archive.capped import Capped
from common.errors import DataError

DELIMITERS = ",;\t"
MAX_HEADER = 2**20
MAX_BYTES = 2**31
"""Largest table, after it has been inflated."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table that is open.

    Attributes:
        name: Of its file.
        columns: Names of the columns, without blanks around them.
        delimiter: What stands between values.
        rows: Values of each row; a blank line gives none.
    """

    name: str
    columns: tuple[str, ...]
    delimiter: str
    rows: Any  # csv.reader's type has no public name

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """Each row that is not blank, with the line of the file on which it begins."""
        line = self.rows.line_num
        for row in self.rows:
            if row:
                yield line + 2, row  # the header, and counting from one
            line = self.rows.line_num


def plain(column: str) -> str:
    """How spellings of a column are compared: ``Patient ID`` and ``patient_id`` are ``patientid``."""
    return "".join(letter for letter in column.lower() if letter.isalnum())


@contextmanager
def open_sheet(
    path: Path, known: Collection[str], invalid: type[DataError], limit_bytes: int = MAX_BYTES
) -> Iterator[Sheet]:
    """The table at ``path``.

    Args:
        path: A CSV file, gzipped or not.
        known: Columns that are looked for, as :func:`plain` writes them; they tell the delimiter.
        invalid: What is raised at a table that cannot be read, here or later while its rows are.
        limit_bytes: Most bytes that may be in it, or come out of it.
    """
    try:
        with _text(path, invalid, limit_bytes) as text:
            header = text.readline(MAX_HEADER)
            delimiter = max(DELIMITERS, key=lambda mark: _likeness(header, mark, known))
            columns = tuple(column.strip() for column in _fields(header, delimiter))
            yield Sheet(path.name, columns, delimiter, csv.reader(text, delimiter=delimiter, strict=True))
    except UnicodeDecodeError:
        raise invalid(f"{path.name} is not in UTF-8") from None
    except csv.Error:
        raise invalid(
            f"{path.name} is no CSV: a quotation mark is out of place, or a value is huge"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise invalid(f"{path.name} cannot be read: {type(error).__name__}") from None


@contextmanager
def _text(path: Path, invalid: type[DataError], limit_bytes: int) -> Iterator[io.TextIOWrapper]:
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
        raise invalid(f"{path.name} is not a file")
    with path.open("rb") as file:
        stream: IO[bytes] = file
        if file.peek(2)[:2] == b"\x1f\x8b":
            stream = cast(IO[bytes], gzip.GzipFile(fileobj=file))
        capped = Capped(
            stream, limit_bytes, lambda: invalid(f"{path.name} has more than {limit_bytes} bytes")
        )
        buffered = io.BufferedReader(capped, 2**20)
        with io.TextIOWrapper(buffered, encoding="utf-8-sig", newline="") as text:
            yield text


def _fields(header: str, delimiter: str) -> list[str]:
    return next(csv.reader(chain([header]), delimiter=delimiter), [])


def _likeness(header: str, delimiter: str, known: Collection[str]) -> tuple[int, int]:
    """How many known columns a delimiter gives, then how many columns."""
    fields = _fields(header, delimiter)
    return sum(plain(field) in known for field in fields), len(fields)
