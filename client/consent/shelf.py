"""The files of the contracts that a site received, each called by its digest."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

from common.chain import canonical
from common.contract import Contract, contract_of
from common.errors import ContractInvalid
from common.files import unwritable, write_atomically
from common.link.envelope import Sealed

_DIGEST = re.compile(r"[0-9a-f]{64}")


class ContractShelf:
    """The files in one folder.

    Args:
        folder: Where; made by :meth:`make`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> None:
        """Have the folder, for its owner alone.

        Raises:
            DiskFull, OutputUnwritable: It cannot be made.
        """
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise unwritable(self._folder, error) from None

    def keep(self, contract: Contract, sealed: Sealed) -> None:
        """Write a contract, and the envelope that proves who signed it.

        Raises:
            DiskFull, OutputUnwritable: They cannot be written.
        """
        path = self._path(contract.digest)
        parts = {"body": sealed.body, "signature": sealed.signature}
        envelope = {name: base64.b64encode(part).decode() for name, part in parts.items()}
        write_atomically(path.with_suffix(".sealed"), canonical(envelope), 0o600)
        write_atomically(path, contract.canonical(), 0o600)

    def read(self, digest: str) -> Contract:
        """The contract of a digest.

        Raises:
            ContractInvalid: It is not the one that was received, or this release cannot read it.
        """
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ContractInvalid(f"{path}: {error.strerror or error}") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise ContractInvalid(f"{path} is not what was received")
        return _parsed(content)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):  # it could lead out of the folder
            raise ContractInvalid("not the digest of a contract")
        return self._folder / f"{digest}.json"


@lru_cache(maxsize=16)
def _parsed(content: bytes) -> Contract:
    return contract_of(json.loads(content))
