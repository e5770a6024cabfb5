"""Files that systems and viewers lay beside DICOM, known by their names alone.

A name proves nothing about a picture, so it is asked for only once the content has been found not to be
DICOM. Pictures and documents (``.png``, ``.jpg``, ``.pdf``, ``.txt``) are not in the table: whoever put
them there may believe that they are taken in, and should hear that they are not.
"""

from __future__ import annotations

import re

NAMES = {
    "left behind by file managers": "thumbs.db ehthumbs.db desktop.ini .ds_store .localized .directory",
    "start a viewer from a disc": "autorun.inf autorun.ico",
    "of a medium or an archive itself": "lockfile version license licence copying manifest.mf",
}
"""Whole names, in lower case."""

PREFIXES = {
    "what to read first": "readme liesmich lisezmoi leggimi leeme license. licence.",
    "laid beside each file by macOS": "._",
}
"""Beginnings of names, in lower case."""

SUFFIXES = {
    "programs and their parts": (
        "exe dll ocx so dylib jar class msi cab sys drv bat cmd com sh ps1 vbs app apk"
    ),
    "settings and help": "ini inf cfg config properties manifest reg lnk url chm hlp lng",
    "fonts and symbols": "ttf otf woff woff2 ico cur icns svg gif",
    "pages": "xml xsl xslt dtd xsd html htm xhtml css js map",
    "left of a transfer or an editor": "tmp bak swp md5 sha1 sha256 log",
}
"""What follows the last dot of a name, in lower case."""

FOLDERS = {
    "laid there by systems": ("__macosx", "$recycle.bin", "system volume information", ".trashes"),
}
"""Folders that hold nothing else, in lower case."""


def _words(table: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for words in table.values() for word in words.split())


_NAMES, _PREFIXES, _SUFFIXES = frozenset(_words(NAMES)), _words(PREFIXES), frozenset(_words(SUFFIXES))
_FOLDERS = frozenset(folder for folders in FOLDERS.values() for folder in folders)


def companion(name: str) -> bool:
    """Whether a file of this name usually lies beside DICOM and is none.

    Args:
        name: A file's name, or its path inside a folder or an archive.
    """
    *folders, last = re.split(r"[/\\]", name.lower())
    _, dot, suffix = last.rpartition(".")
    if last in _NAMES or last.startswith(_PREFIXES) or (dot and suffix in _SUFFIXES):
        return True
    return not _FOLDERS.isdisjoint(folders)
