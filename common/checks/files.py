"""Whether others can get at files that are nobody else's."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from common.checks.finding import Advice, Finding
from common.identity.keys import key_of
from common.identity.vault import Folder, read_secret

_OTHERS = 0o077
_ENCRYPTED = b"ENCRYPTED"
_CLOSE = "Run `chmod 700` on each folder named; pictures, cases and logs lie there."


def secrets(paths: Iterable[Path]) -> Finding:
    """Whether every file of these is closed to others, as are their folders.

    Raises:
        KeyUnsafe, KeyUnreadable: One is not, or is not there.
    """
    count = sum(1 for path in paths if read_secret(path, Folder.CLOSED) is not None)
    return Finding("keys", f"{count} {'file' if count == 1 else 'files'} that only this user can open")


def opened(path: Path, passphrase: bytes | None) -> str:
    """What became of opening a key: whether it is open to whoever has the file, or has a passphrase.

    Raises:
        KeyUnsafe, KeyUnreadable: Others can open the file, or the passphrase is not its own.
    """
    content = read_secret(path, Folder.CLOSED)
    encrypted = _ENCRYPTED in content
    if not encrypted or passphrase is not None:
        key_of(content, passphrase if encrypted else None)
    return "encrypted" if encrypted else "not encrypted"


def folders(home: Path) -> Finding:
    """Whether others are kept out of a home and what lies in it."""
    within = [home, *sorted(path for path in home.iterdir() if path.is_dir())]
    wide = [path for path in within if stat.S_IMODE(path.stat().st_mode) & _OTHERS]
    # Who cannot enter the home cannot enter what is in it.
    if home not in wide:
        return Finding("folders", f"nobody but this user can enter {home}")
    said = f"others may enter {', '.join(str(path) for path in wide)}"
    return Finding("folders", said, advice=Advice("home-open", _CLOSE))
