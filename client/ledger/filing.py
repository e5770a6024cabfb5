"""A certificate on the disk: a page for people, a document for machines, and the digest that joins them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from client.ledger.certificate import Certificate
from client.ledger.page import render
from common.errors import OutputExists
from common.files import unwritable, write_atomically

PAGE, DOCUMENT = "certificate.html", "certificate.json"


@dataclass(frozen=True, slots=True)
class Filed:
    """Where a certificate was written.

    Attributes:
        page: The HTML page.
        document: The JSON document.
        sha256: Digest of the document; the page names it, and the audit log should.
    """

    page: Path
    document: Path
    sha256: str


def file_certificate(certificate: Certificate, folder: Path) -> Filed:
    """Where the certificate was written. What was filed before is never written over.

    Raises:
        OutputExists: The folder holds a certificate.
        DiskFull, OutputUnwritable: It cannot be written.
    """
    filed = (folder / PAGE, folder / DOCUMENT)
    if any(path.exists() for path in filed):
        raise OutputExists(f"{folder} already holds a certificate", hint="Choose another --out.")
    text = json.dumps(certificate.to_dict(), indent=1, allow_nan=False) + "\n"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    write_atomically(filed[1], text, 0o600)
    write_atomically(filed[0], render(certificate, sha256), 0o600)
    return Filed(*filed, sha256)
