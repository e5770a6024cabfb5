"""What a signed statement is on the wire, and everything that is refused in its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.errors import ClockSkewed, EnvelopeRefused
from common.identity.keys import PrivateKey, new_signing_key, new_tls_key, sign
from common.link.envelope import EVERYONE, MAX_BODY_BYTES, MAX_SKEW_MS, Sealed, Statement, opened, seal

NOW = 1_800_000_000_000
MINUTE = 60_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
EXPECTED: dict[str, Any] = {
    "kind": "reply",
    "federation": "0123456789ab",
    "sender": "north",
    "recipient": "coordinator",
}
STATEMENT = Statement(
    **EXPECTED,
    id="ab" * 16,
    about="task-1",
    issued=NOW,
    contract="cd" * 32,
    content={"loss": 0.5, "n": [1, None]},
)
BODY = (
    '{"about":"task-1","consilium-envelope":1,"content":{"loss":0.5,"n":[1,null]},"contract":"'
    + "cd" * 32
    + '",'
    '"federation":"0123456789ab","id":"' + "ab" * 16 + '","issued":1800000000000,"kind":"reply",'
    '"recipient":"coordinator","sender":"north"}'
).encode()


def signed(body: bytes, key: PrivateKey = KEY) -> Sealed:
    return Sealed(body, sign(key, body))


def spelled(**changes: Any) -> bytes:
    document = {**json.loads(BODY), **changes}
    kept = {name: value for name, value in document.items() if value is not ...}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


def read(sealed: Sealed, key: PrivateKey = KEY, **changes: Any) -> Statement:
    return opened(sealed, key.public_key(), **{**EXPECTED, **changes})


def test_known_bytes() -> None:
    """The wire format: other releases read exactly this."""
    sealed = seal(STATEMENT, KEY)
    assert sealed.body == BODY
    assert sealed.signature == KEY.sign(BODY)
    assert sealed.digest == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("key", [KEY, new_tls_key()], ids=["ed25519", "p256"])
def test_opened_is_what_was_sealed(key: PrivateKey) -> None:
    assert read(seal(STATEMENT, key), key) == STATEMENT


def test_sealed_for_everyone() -> None:
    sealed = seal(replace(STATEMENT, recipient=EVERYONE), KEY)
    assert read(sealed, recipient=EVERYONE).recipient == EVERYONE
    with pytest.raises(EnvelopeRefused, match="recipient"):
        read(sealed)


@pytest.mark.parametrize(
    "other",
    [{"kind": "task"}, {"federation": "0" * 12}, {"sender": "south"}, {"recipient": "north"}],
    ids=lambda other: next(iter(other)),
)
def test_statement_elsewhere(other: Mapping[str, Any]) -> None:
    with pytest.raises(EnvelopeRefused, match=next(iter(other))):
        read(seal(STATEMENT, KEY), **other)


def test_signed_by_another() -> None:
    with pytest.raises(EnvelopeRefused, match="not signed"):
        read(seal(STATEMENT, new_signing_key()))
    with pytest.raises(EnvelopeRefused, match="not signed"):
        read(seal(STATEMENT, KEY), new_tls_key())


@pytest.mark.parametrize(
    "signature", [b"", b"x", b"x" * 64, b"x" * 100_000], ids=["none", "1", "64", "100000"]
)
def test_no_signature(signature: bytes) -> None:
    with pytest.raises(EnvelopeRefused, match="not signed"):
        read(Sealed(BODY, signature))


@pytest.mark.parametrize(
    "body",
    [
        BODY + b" ",
        BODY.replace(b":", b": ", 1),
        b'{"about":"task-1","about":"task-1",' + BODY[len(b'{"about":"task-1",') :],
        BODY.replace(
            b'"kind":"reply","recipient":"coordinator"', b'"recipient":"coordinator","kind":"reply"'
        ),
        BODY.replace(b"0.5", b"0.50"),
        BODY.replace(b"0.5", b"5e-1"),
        BODY.replace(b"task-1", b"task-\\u0031"),
        BODY.replace(b"1,null", b"-0,null"),
    ],
    ids=["blank", "blank-within", "key-twice", "other-order", "0.50", "5e-1", "escaped", "minus-zero"],
)
def test_other_spellings(body: bytes) -> None:
    with pytest.raises(EnvelopeRefused, match="canonically"):
        read(signed(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        BODY.replace(b"0.5", b"NaN"),
        BODY.replace(b"0.5", b"1e999"),
        BODY.replace(b"0.5", b"1" * 5000),
        BODY.replace(b"0.5", b'"\\ud800"'),
    ],
    ids=["nothing", "half", "no-text", "deep", "nan", "infinite", "many-digits", "surrogate"],
)
def test_no_json(body: bytes) -> None:
    with pytest.raises(EnvelopeRefused, match="cannot be read"):
        read(signed(body))


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"a"', b"true", b"{}"], ids=bytes.decode)
def test_other_json(body: bytes) -> None:
    with pytest.raises(EnvelopeRefused):
        read(signed(body))


@pytest.mark.parametrize(
    "changes",
    [
        *({name: ...} for name in json.loads(BODY)),
        *({name: None} for name in json.loads(BODY)),
        *({name: 1.0} for name in json.loads(BODY)),
        *({name: ["reply"]} for name in json.loads(BODY)),
        {"extra": 1},
        {"consilium-envelope": 2},
        {"consilium-envelope": True},
        {"kind": "order"},
        {"sender": ""},
        {"sender": "North"},
        {"sender": "north\n"},
        {"sender": "*"},
        {"recipient": "**"},
        {"id": "ab" * 15},
        {"id": "AB" * 16},
        {"about": "a b"},
        {"about": "a" * 129},
        {"contract": "cd" * 31},
        {"issued": True},
        {"issued": -1},
        {"issued": 2**53},
        {"issued": str(NOW)},
    ],
    ids=lambda changes: "-".join(str(part) for pair in changes.items() for part in pair)[:40],
)
def test_fields_out_of_their_form(changes: Mapping[str, Any]) -> None:
    body = spelled(**changes)
    assert body != BODY
    with pytest.raises(EnvelopeRefused):
        read(signed(body))


def test_the_largest_statement() -> None:
    room = MAX_BODY_BYTES - len(seal(replace(STATEMENT, content={"t": ""}), KEY).body)
    largest = replace(STATEMENT, content={"t": "x" * room})
    assert read(seal(largest, KEY)) == largest
    over = spelled(content={"t": "x" * (room + 1)})
    assert len(over) == MAX_BODY_BYTES + 1
    with pytest.raises(EnvelopeRefused, match="at most"):
        read(signed(over))
    with pytest.raises(EnvelopeRefused, match="at most"):
        seal(replace(STATEMENT, content={"t": "x" * (room + 1)}), KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {"content": {"loss": float("nan")}},
        {"content": {"weights": b"bytes"}},
        {"content": {"name": "\ud800"}},
        {"sender": "North"},
        {"id": ""},
        {"issued": 1.5},
        {"about": "two words"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_sealed(changes: Mapping[str, Any]) -> None:
    with pytest.raises(EnvelopeRefused):
        seal(replace(STATEMENT, **changes), KEY)


def test_age() -> None:
    sealed = seal(STATEMENT, KEY)
    for now_ms in (NOW - MAX_SKEW_MS, NOW, NOW + MAX_SKEW_MS, None):
        assert read(sealed, now_ms=now_ms) == STATEMENT
    for now_ms in (NOW - MAX_SKEW_MS - 1, NOW + MAX_SKEW_MS + 1, NOW + 24 * 60 * MINUTE):
        with pytest.raises(ClockSkewed):
            read(sealed, now_ms=now_ms)
