"""The digest of the code that touches data, trains, and decides what leaves; a hospital agrees to it.

A patch in that code is an amendment, which hospitals approve again. Consoles, commands, reports and the
network are outside: what they carry was decided inside, and is signed. Every module of ``common`` and
``client`` is on one side or the other, by the longest entry below that names it or a folder around it. What
the inside imports is inside, but for the network that it hands signed envelopes to.

The packages are hashed as they lie on the disk, so a wheel and an editable installation of the same sources
have the same digest. Neither names the libraries that are used; ``constraints.txt`` does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

import common

PACKAGES = ("client", "common")
TOUCHES_DATA: tuple[str, ...] = (
    "client/__init__.py",
    "client/ages.py",
    "client/app.py",
    "client/augmentation/",
    "client/breakdown.py",
    "client/cases.py",
    "client/checkpoints/",
    "client/cohorts/",
    "client/consent/",
    "client/daemon/",
    "client/devices.py",
    "client/dicom/",
    "client/executor/",
    "client/folds.py",
    "client/images/",
    "client/leaving.py",
    "client/ledger/",
    "client/manifest.py",
    "client/moments.py",
    "client/pacs/__init__.py",
    "client/pacs/settings.py",
    "client/policy.py",
    "client/private_round.py",
    "client/private_training.py",
    "client/records.py",
    "client/residuals.py",
    "client/sampling.py",
    "client/schedule.py",
    "client/site.py",
    "client/sources/",
    "client/subgroups.py",
    "client/tensors.py",
    "client/trainer.py",
    "client/workbench.py",
    "common/allocation.py",
    "common/audit.py",
    "common/board.py",
    "common/chain.py",
    "common/codecs/",
    "common/contract/",
    "common/database.py",
    "common/errors/",
    "common/evidence/",
    "common/files.py",
    "common/flower.py",
    "common/identity/__init__.py",
    "common/identity/keys.py",
    "common/identity/vault.py",
    "common/learning/",
    "common/link/__init__.py",
    "common/link/blob_folder.py",
    "common/link/blobs.py",
    "common/link/envelope.py",
    "common/link/records.py",
    "common/link/running.py",
    "common/link/seen.py",
    "common/mapped.py",
    "common/metrics/",
    "common/migrating.py",
    "common/models/",
    "common/private/",
    "common/seeds.py",
    "common/sequences/",
    "common/study/",
    "common/tasks/",
    "common/update.py",
    "common/weights.py",
)
OUTSIDE: tuple[str, ...] = (
    "client/checks/",
    "client/cohorts/export.py",
    "client/cohorts/inspection.py",
    "client/cohorts/overview.py",
    "client/cohorts/quality/",
    "client/explaining/",
    "client/exporting/",
    "client/ledger/certificate.py",
    "client/ledger/filing.py",
    "client/ledger/guarantee.py",
    "client/ledger/page.py",
    "client/ledger/sections.py",
    "client/link/",
    "client/pacs/",
    "client/predicting/",
    "common/__init__.py",  # the release's number, and nothing else
    "common/balance.py",
    "common/checks/",
    "common/identity/",
    "common/link/",
    "common/page/",
)
_SUFFIXES = (".py", ".csv", ".txt", ".toml")
"""Of modules, and of the tables that some of them read."""

_Stamp = tuple[str, int, int]


@cache
def code_digest() -> str:
    """The digest of the code that this process began with, in hex."""
    return digest_below(_root())


def installed_digest() -> str:
    """The digest of the code that is on the disk now: another one, if it was upgraded meanwhile."""
    root = _root()
    return _digest_of(root, tuple(_stamp(root, name) for name in names_below(root)))


def digest_below(root: Path) -> str:
    """The digest of the code in a folder that holds the packages: SHA-256 over names, sizes and bytes."""
    sha = hashlib.sha256()
    for name in names_below(root):
        content = (root / name).read_bytes()
        sha.update(f"{name}\0{len(content)}\0".encode())
        sha.update(content)
    return sha.hexdigest()


def names_below(root: Path) -> list[str]:
    """The files that the digest is taken of, as paths below ``root`` with slashes, sorted."""
    return sorted(name for package in PACKAGES for name in _below(f"{root}{os.sep}{package}", package))


@lru_cache(maxsize=1024)
def touches_data(name: str) -> bool:
    """Whether a file, such as ``client/app.py``, is one of those that the digest is taken of.

    One that no entry names is: better one amendment too many than a module that nobody approved.
    """
    return len(_longest(name, TOUCHES_DATA)) >= len(_longest(name, OUTSIDE))


def _longest(name: str, entries: Sequence[str]) -> str:
    """The longest entry that is the file or a folder around it; "" for none."""
    around = (entry for entry in entries if entry == name or (entry[-1] == "/" and name.startswith(entry)))
    return max(around, key=len, default="")


def _below(folder: str, name: str) -> Iterator[str]:
    # Asked at every task, so by names: a tree of Path objects takes five times as long.
    with os.scandir(folder) as found:
        for each in found:
            inner = f"{name}/{each.name}"
            if each.is_dir():
                yield from _below(each.path, inner)
            elif each.name.endswith(_SUFFIXES) and touches_data(inner):
                yield inner


def _root() -> Path:
    return Path(common.__path__[0]).parent


def _stamp(root: Path, name: str) -> _Stamp:
    status = os.stat(f"{root}{os.sep}{name}")  # noqa: PTH116  as above
    return name, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _digest_of(root: Path, stamps: tuple[_Stamp, ...]) -> str:
    return digest_below(root)
