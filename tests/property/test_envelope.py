"""An envelope says what was sealed, to whom it was sealed for, or nothing."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from common.chain import canonical
from common.errors import EnvelopeRefused
from common.identity.keys import PrivateKey, new_signing_key, new_tls_key, sign
from common.link.envelope import Sealed, Statement, opened, seal

KEYS: dict[str, PrivateKey] = {"ed25519": new_signing_key(), "p256": new_tls_key()}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=40)
HEX = st.text("0123456789abcdef", min_size=32, max_size=32)
STATEMENTS = st.builds(
    Statement,
    kind=st.sampled_from(("task", "reply", "acknowledgement", "contract", "consent")),
    federation=st.text("0123456789abcdef", min_size=12, max_size=12),
    sender=NAMES,
    recipient=NAMES | st.just("*"),
    id=HEX,
    about=HEX | st.just(""),
    issued=st.integers(0, 2**53 - 1),
    contract=st.builds(str.__add__, HEX, HEX) | st.just(""),
    content=st.dictionaries(TEXT, VALUES, max_size=4),
)
ANY_KEY = st.sampled_from(sorted(KEYS))


def read(sealed: Sealed, key: str, statement: Statement, **changes: str) -> Statement:
    places = ("kind", "federation", "sender", "recipient")
    expected: dict[str, Any] = {name: getattr(statement, name) for name in places}
    return opened(sealed, KEYS[key].public_key(), **{**expected, **changes})


def other_byte(data: bytes, draw: st.DataObject) -> bytes:
    # Signatures differ in length from run to run, what is drawn must not.
    place = draw.draw(st.integers(0, 2**20), "place") % len(data)
    byte = draw.draw(st.integers(1, 255), "flipped bits")
    return data[:place] + bytes([data[place] ^ byte]) + data[place + 1 :]


@given(STATEMENTS, ANY_KEY)
def test_opened_is_what_was_sealed(statement: Statement, key: str) -> None:
    sealed = seal(statement, KEYS[key])
    assert read(sealed, key, statement) == statement
    assert seal(statement, KEYS[key]).digest == sealed.digest


@given(STATEMENTS, ANY_KEY, st.data())
def test_any_byte_of_the_body(statement: Statement, key: str, draw: st.DataObject) -> None:
    sealed = seal(statement, KEYS[key])
    with pytest.raises(EnvelopeRefused):
        read(replace(sealed, body=other_byte(sealed.body, draw)), key, statement)


@given(STATEMENTS, ANY_KEY, st.data())
def test_any_byte_of_the_signature(statement: Statement, key: str, draw: st.DataObject) -> None:
    sealed = seal(statement, KEYS[key])
    with pytest.raises(EnvelopeRefused):
        read(replace(sealed, signature=other_byte(sealed.signature, draw)), key, statement)


@pytest.mark.parametrize("key", KEYS)
def test_every_byte_and_every_end(key: str) -> None:
    """Each of one envelope's bytes, and each shorter one, once: what the drawn cases only sample."""
    statement = Statement("task", "0" * 12, "coordinator", "north", "ab" * 16, "", 1, "", {})
    sealed = seal(statement, KEYS[key])
    body, signature = sealed.body, sealed.signature
    cases = [replace(sealed, body=body[:place]) for place in range(len(body))]
    cases += [replace(sealed, signature=signature[:place]) for place in range(len(signature))]
    cases += [replace(sealed, body=body + b"\0"), replace(sealed, signature=signature + b"\0")]
    for place in range(len(body)):
        cases.append(replace(sealed, body=body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]))
    for place in range(len(signature)):
        flipped = bytes([signature[place] ^ 1])
        cases.append(replace(sealed, signature=signature[:place] + flipped + signature[place + 1 :]))
    for case in cases:
        with pytest.raises(EnvelopeRefused):
            read(case, key, statement)


@given(STATEMENTS, STATEMENTS, ANY_KEY, st.sampled_from(("kind", "federation", "sender", "recipient")))
def test_any_other_place(statement: Statement, other: Statement, key: str, place: str) -> None:
    assume(getattr(statement, place) != getattr(other, place))
    with pytest.raises(EnvelopeRefused):
        read(seal(statement, KEYS[key]), key, statement, **{place: getattr(other, place)})


@given(STATEMENTS, STATEMENTS, ANY_KEY)
def test_signature_of_another_statement(statement: Statement, other: Statement, key: str) -> None:
    assume(statement != other)
    signature = seal(other, KEYS[key]).signature
    with pytest.raises(EnvelopeRefused):
        read(replace(seal(statement, KEYS[key]), signature=signature), key, statement)


@given(STATEMENTS, ANY_KEY, TEXT, VALUES)
def test_unknown_field_though_signed(statement: Statement, key: str, name: str, value: Any) -> None:
    document = json.loads(seal(statement, KEYS[key]).body)
    assume(name not in document)
    body = canonical({**document, name: value})
    with pytest.raises(EnvelopeRefused):
        read(Sealed(body, sign(KEYS[key], body)), key, statement)


@given(STATEMENTS, ANY_KEY, st.data())
def test_wrong_type_though_signed(statement: Statement, key: str, draw: st.DataObject) -> None:
    document = json.loads(seal(statement, KEYS[key]).body)
    name = draw.draw(st.sampled_from(sorted(document)), "field")
    value = draw.draw(VALUES.filter(lambda value: type(value) is not type(document[name])), "value")
    body = canonical({**document, name: value})
    with pytest.raises(EnvelopeRefused):
        read(Sealed(body, sign(KEYS[key], body)), key, statement)


@given(STATEMENTS, ANY_KEY, st.booleans(), st.sampled_from((None, 1, "\t")))
def test_other_spelling_though_signed(
    statement: Statement, key: str, order: bool, indent: int | str | None
) -> None:
    sealed = seal(statement, KEYS[key])
    body = json.dumps(json.loads(sealed.body), sort_keys=order, indent=indent).encode()
    assert body != sealed.body
    with pytest.raises(EnvelopeRefused):
        read(Sealed(body, sign(KEYS[key], body)), key, statement)


@given(st.binary(max_size=200), ANY_KEY)
@example(b"[" * 5000, "ed25519")
def test_any_bytes_though_signed(body: bytes, key: str) -> None:
    with pytest.raises(EnvelopeRefused):
        opened(
            Sealed(body, sign(KEYS[key], body)),
            KEYS[key].public_key(),
            kind="task",
            federation="0" * 12,
            sender="coordinator",
            recipient="north",
        )
