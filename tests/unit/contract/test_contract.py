"""The contract: its bytes are fixed, it says what its study says, and nobody else can sign it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.chain import canonical
from common.contract import Contract, code_digest, contract_of, model_digest, read_contract, seal_contract
from common.contract.drafting import draw_up
from common.errors import ContractExpired, ContractInvalid
from common.link.envelope import Sealed, opened, seal
from common.models import initial_weights
from common.study import to_canonical
from common.tasks import weights_record
from tests.unit.contract.drafts import FEDERATION, KEY, NOW, contract_with, sealed, study_with

PUBLIC = KEY.public_key()
PRIVATE = {"privacy": {"target_epsilon": 4.0, "evaluation_epsilon": 1.0}}


def resealed(signed: Contract, /, **changes: Any) -> Sealed:
    """An envelope of the coordinator's whose statement says something else than its contract."""
    statement = opened(
        sealed(signed), PUBLIC, kind="contract", federation=FEDERATION, sender="coordinator", recipient="*"
    )
    return seal(replace(statement, **changes), KEY)


def read(given: Sealed) -> Contract:
    return read_contract(given, PUBLIC, FEDERATION, NOW)


def test_what_was_signed_is_read() -> None:
    for study in (study_with(), study_with(**PRIVATE), study_with(federation={"strategy": "qfedavg"})):
        contract = contract_with(study)
        assert read(sealed(contract)) == contract
        assert contract_of(json.loads(contract.canonical())) == contract
        assert contract.resolved_study() == study


def test_the_form_is_that_of_the_first_release() -> None:
    contract = contract_with()
    document = json.loads(contract.canonical())
    assert sorted(document) == [
        *("bounds", "code_digest", "expires", "federation", "issued", "leaves", "model_digest", "name"),
        *("privacy", "release", "requirements", "rounds", "seed", "study", "tasks", "version"),
    ]
    assert document["version"] == 1 and document["issued"] == "2026-03-02T12:00:00+00:00"
    assert document["bounds"] == {"rounds": 3, "proximal_mu": 0.0, "base_loss": False, "class_weights": 0}
    spelled = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    assert spelled == contract.canonical() and contract.digest == hashlib.sha256(spelled).hexdigest()


def test_a_contract_says_what_a_hospital_must_know() -> None:
    document = contract_with(study_with(**PRIVATE)).document
    assert document["rounds"] == 3 and document["seed"] == 7 and document["privacy"]["target_epsilon"] == 4.0
    assert document["requirements"]["labels"] == (("0", "normal"), ("1", "lesion"))
    assert document["requirements"]["kind"] == "rows"
    leaves = {each["what"]: each for each in document["leaves"]}
    assert leaves["update"]["noise"] == "noise for epsilon 4 over all rounds, for each patient"
    assert leaves["confusion"]["noise"] == "noise for epsilon 1 over all tests"
    assert "loss" not in leaves and "spending" in leaves


def test_signatures_differ_and_the_digest_does_not() -> None:
    contract = contract_with()
    first, second = sealed(contract), seal_contract(contract, KEY, NOW + timedelta(seconds=1))
    assert first.digest != second.digest and read(first).digest == read(second).digest


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("rounds", 2),
        ("name", "other"),
        ("leaves", []),
        ("tasks", ["query"]),
        ("privacy", {}),
        ("version", 2),
        ("version", True),
        ("seed", True),
        ("seed", -1),
        ("seed", 7.0),
        ("seed", "7"),
        ("study", "{}"),
        ("study", "["),
        ("study", None),
        ("code_digest", "x"),
        ("model_digest", None),
        ("federation", "ANOTHER"),
        ("release", "0.1\x1b[2J"),
        ("issued", "yesterday"),
        ("issued", "2026-03-02T12:00:00"),
        ("issued", "2026-03-02T13:00:00+01:00"),
        ("expires", "2026-03-02T12:00:00+00:00"),
        ("expires", 5),
        ("bounds", {"rounds": 3, "proximal_mu": 0, "base_loss": False, "class_weights": 0}),
        ("surplus", 1),
    ],
)
def test_a_contract_that_does_not_fit_its_study_is_refused(change: str, value: object) -> None:
    document = {**json.loads(contract_with().canonical()), change: value}
    with pytest.raises(ContractInvalid):
        contract_of(document)
    with pytest.raises(ContractInvalid):
        read(resealed(contract_with(), content=document))


@pytest.mark.parametrize("field", list(json.loads(contract_with().canonical())))
def test_a_contract_that_lacks_something_is_refused(field: str) -> None:
    document = json.loads(contract_with().canonical())
    del document[field]
    with pytest.raises(ContractInvalid):
        contract_of(document)


def test_a_study_that_is_not_in_its_one_spelling_is_refused() -> None:
    document = json.loads(contract_with().canonical())
    for text in (
        document["study"] + " ",
        document["study"].replace('"seed"', '"seed" ').replace(":", ": ", 1),
    ):
        with pytest.raises(ContractInvalid):
            contract_of({**document, "study": text})


@pytest.mark.parametrize(
    "forge",
    [
        lambda contract: sealed(contract, Ed25519PrivateKey.from_private_bytes(bytes(32))),
        lambda contract: sealed(contract_with(federation="ffffffffffff")),
        lambda contract: resealed(contract, kind="task"),
        lambda contract: resealed(contract, sender="alder"),
        lambda contract: resealed(contract, recipient="alder"),
        lambda contract: resealed(contract, about="0" * 64),
        lambda contract: resealed(contract, contract="0" * 64),
        lambda contract: resealed(contract, content=contract_with(federation="ffffffffffff").document),
        lambda contract: resealed(contract, content={}),
        lambda contract: Sealed(sealed(contract).body, b""),
    ],
)
def test_nobody_else_can_have_signed_it(forge: Callable[[Contract], Sealed]) -> None:
    with pytest.raises(ContractInvalid):
        read(forge(contract_with()))


def test_an_envelope_of_another_contract_is_refused() -> None:
    other = contract_with(seed=8)
    with pytest.raises(ContractInvalid, match="envelope of another"):
        read(resealed(contract_with(), content=json.loads(canonical(other.document))))


def test_it_ends_to_the_second() -> None:
    contract = contract_with()
    end = NOW + timedelta(days=30)
    assert not contract.expired(end - timedelta(seconds=1)) and contract.expired(end)
    with pytest.raises(ContractExpired):
        read_contract(sealed(contract), PUBLIC, FEDERATION, end)


def test_the_model_is_its_form() -> None:
    study = study_with()
    weights = initial_weights(study, 0)
    assert (
        model_digest(weights)
        == model_digest(initial_weights(study, 1))
        == model_digest(weights_record(weights))
    )
    assert model_digest(weights) == model_digest(dict(reversed(weights.items())))
    assert model_digest(weights) != model_digest(initial_weights(study_with(model={"hidden": 3}), 0))
    assert model_digest(weights) != model_digest({name: a.astype("float64") for name, a in weights.items()})


def test_the_coordinator_draws_it_up_with_what_is_installed() -> None:
    study = study_with()
    contract = draw_up(study, federation=FEDERATION, seed=7, issued=NOW, expires=NOW + timedelta(days=30))
    assert contract == contract_with(study, code_digest=code_digest())


def test_a_statement_holds_a_contract_of_the_largest_study() -> None:
    labels = {str(number): "x" * 200 for number in range(500)} | {"a": "y"}
    contract = contract_with(study_with(study={"name": "n" * 64, "labels": labels}), model_digest="0" * 64)
    assert read(sealed(contract)).study == to_canonical(contract.resolved_study())
