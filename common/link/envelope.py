"""Signed statements: what one side said to the other, so that both can prove it later.

A statement travels as canonical JSON and a signature over exactly those bytes. Invariants:

- What ``seal`` returns, ``opened`` accepts: both apply one set of rules.
- A statement has one spelling. Bytes that are not canonical are refused although the signature fits, so that
  a digest of the body names one content.
- Nothing is read of a body before its size and its signature are known to be right.
- A statement speaks for one kind, federation, sender and recipient. Taken to another place it is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from common.chain import canonical
from common.errors import ClockSkewed, EnvelopeRefused
from common.identity import PrivateKey, PublicKey, sign, verify
from common.identity.names import COORDINATOR
from common.link.seen import Seen

__all__ = [
    "COORDINATOR",
    "EVERYONE",
    "MAX_BODY_BYTES",
    "MAX_SKEW_MS",
    "Kind",
    "Sealed",
    "Seen",
    "Statement",
    "opened",
    "seal",
]

Kind = Literal["task", "reply", "acknowledgement", "contract", "consent"]

EVERYONE = "*"
"""The recipient of what is sealed once for all sites, as a contract is."""
MAX_BODY_BYTES = 2**20
MAX_SKEW_MS = 5 * 60 * 1000

# First in each body: nothing else that the same keys sign, as certificates and invitations, can pass for one.
_TAG, _VERSION = "consilium-envelope", 1
_SIGNATURE_BYTES = range(1, 257)
_PATTERNS = {
    "federation": re.compile(r"[a-z0-9-]{1,64}"),
    "sender": re.compile(r"[a-z0-9-]{1,64}"),
    "recipient": re.compile(r"[a-z0-9-]{1,64}|\*"),
    "id": re.compile(r"[0-9a-f]{32}"),
    "about": re.compile(r"[!-~]{0,128}"),
    "contract": re.compile(r"([0-9a-f]{64})?"),
}
_FIELDS = {_TAG, "kind", "issued", "content", *_PATTERNS}
_MAX_ISSUED = 2**53  # what every JSON reader takes for the same number


@dataclass(frozen=True, slots=True)
class Statement:
    """What one side says to the other.

    Attributes:
        kind: What sort of statement this is.
        federation: The federation that both belong to.
        sender: A site's name, or ``COORDINATOR``.
        recipient: Likewise, or ``EVERYONE``.
        id: 32 hexadecimal digits, drawn at random; the same statement twice is a replay.
        about: What it is about: the id of a task, the digest of a contract, or nothing.
        issued: When, in milliseconds since 1970, UTC, by the sender's clock.
        contract: Digest of the contract it belongs to, or nothing.
        content: JSON: keys are text, numbers are finite.
    """

    kind: Kind
    federation: str
    sender: str
    recipient: str
    id: str
    about: str
    issued: int
    contract: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A statement's bytes and who signed them.

    Attributes:
        body: Canonical JSON.
        signature: Over ``body``, by the sender's key.
    """

    body: bytes
    signature: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the body, in hexadecimal."""
        return hashlib.sha256(self.body).hexdigest()


def seal(statement: Statement, key: PrivateKey) -> Sealed:
    """The statement, signed.

    Raises:
        EnvelopeRefused: It would not be accepted: too large, not JSON, or with a field out of its form.
    """
    body = _body(statement)
    _check_size(body)
    _read(body)
    return Sealed(body, sign(key, body))


def opened(
    sealed: Sealed,
    public: PublicKey,
    *,
    kind: Kind,
    federation: str,
    sender: str,
    recipient: str,
    now_ms: int | None = None,
) -> Statement:
    """The statement, proved to be what was expected of this sender.

    Args:
        sealed: As it arrived.
        public: The key of ``sender``.
        kind: The kind that is expected here.
        federation: This federation.
        sender: Who is expected to speak.
        recipient: Who is spoken to.
        now_ms: The time; None where age does not matter, as for what is read back from a disk.

    Raises:
        EnvelopeRefused: It is not such a statement, or not signed by that key.
        ClockSkewed: It was issued more than five minutes before or after ``now_ms``.
    """
    _check_size(sealed.body)
    if len(sealed.signature) not in _SIGNATURE_BYTES or not verify(public, sealed.signature, sealed.body):
        raise EnvelopeRefused(f"what claims to be a {kind} of {sender} is not signed with their key")
    statement = _read(sealed.body)
    expected = {"kind": kind, "federation": federation, "sender": sender, "recipient": recipient}
    for name, value in expected.items():
        if getattr(statement, name) != value:
            raise EnvelopeRefused(f"{name} is {getattr(statement, name)}, not {value}")
    if now_ms is not None and abs(statement.issued - now_ms) > MAX_SKEW_MS:
        raise ClockSkewed(f"{kind} of {sender}: issued {(now_ms - statement.issued) / 1000:.0f} s ago")
    return statement


def _body(statement: Statement) -> bytes:
    document = {field.name: getattr(statement, field.name) for field in fields(statement)}
    try:
        return canonical({_TAG: _VERSION, **document, "content": dict(statement.content)})
    except (TypeError, ValueError, RecursionError) as error:
        raise EnvelopeRefused(f"a {statement.kind} that is not JSON: {error}") from None


def _check_size(body: bytes) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise EnvelopeRefused(f"a statement of {len(body)} bytes; at most {MAX_BODY_BYTES} are allowed")


def _read(body: bytes) -> Statement:
    """The statement in ``body``, each field in its form; who it is from and for is not looked at."""
    document = _document(body)
    if document.keys() != _FIELDS or _kinds(document) != (int, str, int, dict):
        raise EnvelopeRefused("a statement whose fields are not those of a statement")
    if document.pop(_TAG) != _VERSION or document["kind"] not in get_args(Kind):
        raise EnvelopeRefused("a statement of a version or kind that is not known here")
    for name, pattern in _PATTERNS.items():
        if type(document[name]) is not str or not pattern.fullmatch(document[name]):
            raise EnvelopeRefused(f"a statement whose {name} is not in its form")
    if not 0 <= document["issued"] < _MAX_ISSUED:
        raise EnvelopeRefused("a statement issued at no time")
    return Statement(**document)


def _kinds(document: Mapping[str, Any]) -> tuple[type, ...]:
    return tuple(type(document[name]) for name in (_TAG, "kind", "issued", "content"))


def _document(body: bytes) -> dict[str, Any]:
    """The JSON object that ``body`` spells canonically."""
    try:
        document = json.loads(body)
        # A lone surrogate is JSON, and text that nothing can write any more.
        spelled = canonical(document)
        if b"\\ud" in body:
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise EnvelopeRefused("a statement that cannot be read") from None
    if spelled != body or type(document) is not dict:
        raise EnvelopeRefused("a statement that is not spelled canonically")
    return document
