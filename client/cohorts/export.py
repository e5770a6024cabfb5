"""A folder of de-identified DICOM, for those who need files and not tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from client.cohorts.home import Home
from client.cohorts.intake import Tally, found_below, pool_of
from client.dicom.cleaning import Cleaned, clean
from client.dicom.outcomes import Reason
from common.errors import OutputExists
from common.files import unwritable, write_atomically


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of the files: written, copies of one already written, and those left out, by reason."""

    seen: int
    written: int
    copies: int
    left_out: Counter[str] = field(default_factory=Counter)
    names: tuple[tuple[str, str], ...] = ()


def export(
    home: Home,
    roots: Sequence[Path],
    out: Path,
    *,
    allow_burned_in: bool = False,
    progress: Callable[[Tally], None] = lambda _: None,
) -> Exported:
    """Write the pictures below ``roots`` into ``out`` without anything that names a person.

    Raises:
        NothingFound: There is no file.
        OutputExists: ``out`` holds something already.
        DiskFull, OutputUnwritable: It cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExists(f"{out} already holds something", hint="Choose another --out.")
    found = found_below(roots)
    new = [item for item in found if not item.repeat]
    written, copies, left_out, names = 0, len(found) - len(new), Counter[str](), []
    tally = Tally(found=len(found), done=copies)
    home.audit("dicom.deidentifying", seen=len(found), allow_burned_in=allow_burned_in)
    work = partial(clean, key=home.key, allow_burned_in=allow_burned_in)
    try:
        with pool_of(home, work, len(new)).running() as pool:
            for item, result in pool.map(new):
                why = _write(out / result.name, result.data) if isinstance(result, Cleaned) else result.reason
                if isinstance(why, Reason):
                    left_out[why.value] += 1
                    names.append((item.name, why.value))
                    tally.quarantined += 1
                else:
                    written, copies = written + (why == "written"), copies + (why == "copy")
                tally.done += 1
                progress(tally)
    finally:
        home.audit("dicom.deidentified", seen=len(found), done=tally.done, written=written)
    return Exported(len(found), written, copies, left_out, tuple(names))


def _write(path: Path, data: bytes) -> Literal["written", "copy", Reason.conflict]:
    """What became of a clean file; its instance may have been found before."""
    try:
        if path.exists():
            return "copy" if path.read_bytes() == data else Reason.conflict
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None
    write_atomically(path, data)
    return "written"
