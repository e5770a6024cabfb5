"""The contract of a study: everything that a hospital agrees to, as bytes that one digest names.

Invariants:

- The bytes are a function of the content alone: canonical JSON, keys in order, one spelling for each value.
- What a person reads of a contract (rounds, requirements, privacy, what leaves) is derived from the study
  that will run. A contract that says something else of its study than the study does is refused.
- A contract that was read was signed by the coordinator, for this federation.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from common import __version__
from common.chain import canonical
from common.contract.leaving import Leaving, leavings_of
from common.errors import ContractExpired, ContractInvalid, EnvelopeRefused, StudyError
from common.identity.keys import PrivateKey, PublicKey
from common.link.envelope import COORDINATOR, EVERYONE, Sealed, Statement, opened, seal
from common.study import Privacy, Study, from_canonical, to_canonical

VERSION = 1
"""Of the form of contracts."""
TASKS = ("query", "train", "evaluate")
"""What a site may be asked, as Flower's message types."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PATTERNS = {
    "federation": re.compile(r"[a-z0-9-]{1,64}"),
    "release": re.compile(r"[0-9A-Za-z.+!-]{1,40}"),  # it is shown on a terminal
    "code_digest": _DIGEST,
    "model_digest": _DIGEST,
}


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a site's data must be to take part; fields as in the study's sections."""

    task: str
    labels: tuple[tuple[str, str], ...]
    kind: str
    modality: tuple[str, ...]
    min_cases: int
    min_patients: int
    min_test_cases: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the arguments of a task may be.

    Attributes:
        rounds: The last round; the first is 1.
        proximal_mu: Exactly this weight of FedProx's term.
        base_loss: Whether the base model's loss is asked for.
        class_weights: How many class weights there are; 0 for none.
    """

    rounds: int
    proximal_mu: float
    base_loss: bool
    class_weights: int


@dataclass(frozen=True, slots=True)
class Contract:
    """What a hospital agrees to.

    Attributes:
        version: Of this form.
        federation: The federation that it belongs to.
        release: The release of Consilium that it was drawn up with.
        study: Canonical text of the study.
        name: The study's name.
        code_digest: Of the code that touches data (:func:`common.contract.code.code_digest`).
        model_digest: Of the form of the model's arrays (:func:`common.contract.model.model_digest`).
        requirements: What a site's data must be.
        rounds: Of the study.
        seed: Decides every random choice that is not private noise.
        privacy: The study's ``[privacy]``.
        leaves: What leaves a site, how often, under which noise.
        tasks: What a site may be asked.
        bounds: What the arguments of a task may be.
        issued: When it was drawn up, in UTC, ISO 8601, whole seconds.
        expires: From when on it holds no more.
    """

    version: int
    federation: str
    release: str
    study: str
    name: str
    code_digest: str
    model_digest: str
    requirements: Requirements
    rounds: int
    seed: int
    privacy: Privacy | None
    leaves: tuple[Leaving, ...]
    tasks: tuple[str, ...]
    bounds: Bounds
    issued: str
    expires: str

    @classmethod
    def of_study(
        cls,
        study: Study,
        *,
        federation: str,
        seed: int,
        code_digest: str,
        model_digest: str,
        issued: datetime,
        expires: datetime,
        release: str = __version__,
    ) -> Contract:
        """The contract of a study; all that can be derived from the study is."""
        return cls(
            version=VERSION,
            federation=federation,
            release=release,
            study=to_canonical(study),
            name=study.study.name,
            code_digest=code_digest,
            model_digest=model_digest,
            requirements=_requirements(study),
            rounds=study.federation.rounds,
            seed=seed,
            privacy=study.privacy,
            leaves=leavings_of(study),
            tasks=TASKS,
            bounds=_bounds(study),
            issued=_spelled(issued),
            expires=_spelled(expires),
        )

    @property
    def document(self) -> dict[str, Any]:
        """The contract as JSON has it."""
        derived: dict[str, Any] = {"requirements": asdict(self.requirements), "bounds": asdict(self.bounds)}
        privacy = self.privacy.model_dump(mode="json") if self.privacy is not None else None
        derived |= {"privacy": privacy, "leaves": [asdict(each) for each in self.leaves]}
        return {each.name: derived.get(each.name, getattr(self, each.name)) for each in fields(self)}

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, in hex: what an approval is for."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def canonical(self) -> bytes:
        """The contract's one spelling."""
        return canonical(self.document)

    def resolved_study(self) -> Study:
        """The study that will run."""
        return from_canonical(self.study)

    def expired(self, now: datetime) -> bool:
        """Whether it holds no more."""
        return now >= datetime.fromisoformat(self.expires)


def contract_of(document: Mapping[str, Any]) -> Contract:
    """The contract that a document spells.

    Raises:
        ContractInvalid: It spells none, or says something of its study that the study does not.
    """
    given = {name: str(document.get(name)) for name in _PATTERNS}
    for name, pattern in _PATTERNS.items():
        if not pattern.fullmatch(given[name]):
            raise ContractInvalid(f"a contract whose {name} is not in its form")
    seed = document.get("seed")
    if type(seed) is not int or seed < 0:
        raise ContractInvalid("a contract without a seed")
    try:
        issued, expires = (datetime.fromisoformat(str(document.get(key))) for key in ("issued", "expires"))
        if issued >= expires:
            raise ContractInvalid("a contract that expires before it begins")
        study = from_canonical(str(document.get("study")))
        contract = Contract.of_study(study, seed=seed, issued=issued, expires=expires, **given)
        differing = _differing(contract.document, document)
    except StudyError as error:
        raise ContractInvalid(f"its study cannot be read by this release: {error.private}") from None
    except (ValueError, TypeError, OverflowError):
        raise ContractInvalid("a contract that expires at no time, or is not JSON") from None
    if differing:
        raise ContractInvalid(f"not what follows from its study in this release: {', '.join(differing)}")
    return contract


def seal_contract(contract: Contract, key: PrivateKey, now: datetime) -> Sealed:
    """The contract signed by the coordinator, for all sites.

    Raises:
        EnvelopeRefused: It is too large to be sent.
    """
    statement = Statement(
        kind="contract",
        federation=contract.federation,
        sender=COORDINATOR,
        recipient=EVERYONE,
        id=uuid.uuid4().hex,
        about=contract.digest,
        issued=int(now.timestamp() * 1000),
        contract=contract.digest,
        content=contract.document,
    )
    return seal(statement, key)


def read_contract(sealed: Sealed, coordinator_key: PublicKey, federation: str, now: datetime) -> Contract:
    """The contract that the coordinator of a federation signed.

    Args:
        sealed: As it arrived.
        coordinator_key: The key that the site's invitation named.
        federation: This federation.
        now: The time, with a time zone.

    Raises:
        ContractInvalid: It is none, of another federation, changed, or not signed with that key.
        ContractExpired: It holds no more.
    """
    try:
        statement = opened(
            sealed,
            coordinator_key,
            kind="contract",
            federation=federation,
            sender=COORDINATOR,
            recipient=EVERYONE,
        )
    except EnvelopeRefused as error:
        raise ContractInvalid(error.private) from None
    contract = contract_of(statement.content)
    if contract.federation != federation or {statement.about, statement.contract} != {contract.digest}:
        raise ContractInvalid("a contract in the envelope of another")
    if contract.expired(now):
        raise ContractExpired(f"the contract of {contract.name} expired on {contract.expires}")
    return contract


def _differing(expected: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Keys whose values are not spelled alike."""
    return sorted(
        key
        for key in expected.keys() | given.keys()
        if key not in expected
        or key not in given
        or canonical({"": expected[key]}) != canonical({"": given[key]})
    )


def _spelled(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _requirements(study: Study) -> Requirements:
    data = study.data
    return Requirements(
        task=study.study.task,
        labels=tuple(study.study.labels.items()),
        kind=study.sequence.kind,
        modality=data.modality,
        min_cases=data.min_cases,
        min_patients=data.min_patients,
        min_test_cases=data.min_test_cases,
    )


def _bounds(study: Study) -> Bounds:
    strategy = study.federation.strategy
    return Bounds(
        rounds=study.federation.rounds,
        proximal_mu=strategy.proximal_mu if strategy.name == "fedprox" else 0.0,
        base_loss=strategy.name == "qfedavg",
        class_weights=len(study.study.classes) if study.training.class_weights == "balanced" else 0,
    )
