"""``consilium site studies``, ``approve``, ``reject``, ``withdraw``: what the hospital agrees to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import options
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from client.consent import Consents, Standing
    from common.contract import Contract
    from common.errors import ConsiliumError

app = typer.Typer(no_args_is_help=True, help="What studies ask of this hospital, and what it agrees to.")
APPROVE_EXAMPLE = 'Example: consilium site approve lungs --cohort chest --approver "Dr. A. Muster"'
_DIGITS = 12

Study = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", help="Its name, or the beginning of its contract's digest.", show_default=False
    ),
]
Who = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who decides.", show_default="who is logged in")
]


@dataclass(frozen=True, slots=True)
class Shown:
    """A contract as it is shown.

    Attributes:
        digest: Its digest.
        study: The study's name.
        standing: How it stands.
        contract: The contract, or why it cannot be read.
        changes: What changed since the one of this study that was approved before; None if none was.
    """

    digest: str
    study: str
    standing: Standing
    contract: Contract | ConsiliumError
    changes: tuple[str, ...] | None


def studies(home: options.Home = None, as_json: options.Json = False) -> None:
    """List the studies that were proposed: what each asks, how it stands, what changed since approval."""
    consents = _register(home)
    found = [_shown(consents, digest, study) for digest, study in consents.known().items()]
    if as_json:
        print_json({"studies": [_document(each) for each in found]})
        return
    if not found:
        typer.echo("no study has been proposed to this site")
    for each in found:
        typer.echo("\n".join(_lines(each)))


def approve(
    study: Study,
    cohort: Annotated[
        str, typer.Option(metavar="NAME", help="The cohort that the study gets.", show_default=False)
    ],
    approver: Annotated[
        str, typer.Option(metavar="NAME", help="Who approves; it is written down.", show_default=False)
    ],
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Approve exactly the contract that `consilium site studies` shows, for one cohort.

    An amendment is another contract and is approved anew. policy.toml says how many people must approve.
    """
    from client.cohorts.home import COHORT_NAME
    from client.consent import require_approvable
    from common.chain import utc_now

    if not COHORT_NAME.fullmatch(cohort):
        raise typer.BadParameter("letters, digits, dots, dashes and underscores", param_hint="--cohort")
    consents = _register(home)
    digest = consents.find_open(study, utc_now())
    require_approvable(consents, consents.contract(digest), cohort)
    standing = consents.approve(digest, cohort, approver, utc_now())
    _tell(consents, digest, standing, as_json)


def reject(study: Study, by: Who = None, home: options.Home = None, as_json: options.Json = False) -> None:
    """Turn a proposed study down; approvals that were given for it are void."""
    from common.chain import utc_now

    consents = _register(home)
    digest = consents.find_open(study, utc_now())
    _tell(consents, digest, consents.reject(digest, by or _login(), utc_now()), as_json)


def withdraw(study: Study, by: Who = None, home: options.Home = None, as_json: options.Json = False) -> None:
    """Withdraw from a study at once, also in the middle of a round: nothing more leaves for it.

    Given a name, every contract of that study is withdrawn, whatever was decided about it.
    """
    from common.chain import utc_now

    consents = _register(home)
    found = consents.find(study)
    agreed = [each for each in found if consents.state(each, utc_now()).status != "withdrawn"] or found
    done = {each: consents.withdraw(each, by or _login(), utc_now()) for each in agreed}
    if as_json:
        known = consents.known()
        print_json({"studies": [_short(each, known[each], standing) for each, standing in done.items()]})
        return
    for each, standing in done.items():
        _tell(consents, each, standing, as_json)


def _register(home: Path | None) -> Consents:
    from client.cohorts.home import open_home
    from client.consent import Consents

    return Consents(open_home(home))


def _login() -> str:
    from getpass import getuser

    return getuser()


def _shown(consents: Consents, digest: str, study: str) -> Shown:
    from common.chain import utc_now
    from common.contract import differences
    from common.errors import ContractInvalid

    standing = consents.state(digest, utc_now())
    try:
        contract = consents.contract(digest)
        before = consents.approved_before(contract) if standing.status == "proposed" else None
    except ContractInvalid as error:
        return Shown(digest, study, standing, error, None)
    return Shown(digest, study, standing, contract, None if before is None else differences(before, contract))


def _lines(shown: Shown) -> Iterator[str]:
    """A contract as a person reads it before deciding; its texts were written by the coordinator."""
    from common.errors import ConsiliumError

    yield f"{shown.study}  {_standing_words(shown.standing)}  contract {shown.digest[:_DIGITS]}"
    if isinstance(shown.contract, ConsiliumError):
        yield f"  cannot be read: {shown.contract.private}"
        return
    if shown.changes is not None:
        yield "  changed since the contract that was approved:"
        yield from (f"    {line}" for line in shown.changes)
    yield from (f"  {word:<10}{text}" for word, text in _terms(shown.contract))
    yield from (
        f"  {'leaves' if not number else '':<10}{each}" for number, each in enumerate(shown.contract.leaves)
    )


def _terms(contract: Contract) -> Iterator[tuple[str, str]]:
    from common.contract import code_digest

    needs, same = contract.requirements, contract.code_digest == code_digest()
    modality = f" of modality {json.dumps(list(needs.modality))}" if needs.modality else ""
    yield "learns", f"{needs.task}: {json.dumps(dict(needs.labels))}"
    yield (
        "needs",
        f"{needs.kind}{modality}; {needs.min_cases} training cases of {needs.min_patients} patients, "
        f"{needs.min_test_cases} test cases",
    )
    yield "runs", f"{contract.rounds} rounds, seed {contract.seed}, until {contract.expires}"
    yield "privacy", _privacy_words(contract)
    here = "as installed here" if same else "NOT the code that is installed here"
    yield "code", f"release {contract.release}, {contract.code_digest[:_DIGITS]}: {here}"


def _privacy_words(contract: Contract) -> str:
    private = contract.privacy
    if private is None or not private.at_sites:
        return "none at the hospital"
    amount = (
        f"noise multiplier {private.noise_multiplier:g}"
        if private.target_epsilon is None
        else f"epsilon {private.target_epsilon:g} for all rounds"
    )
    return f"{amount}, for each {private.unit}"


def _standing_words(standing: Standing) -> str:
    who = ", ".join(standing.approvers)
    if standing.status == "approved":
        return f"approved for cohort {standing.cohort} by {who}"
    if standing.status == "proposed" and standing.approvers:
        given = f"{len(standing.approvers)} of {standing.needed}"
        return f"proposed; {given} have approved it for cohort {standing.cohort}: {who}"
    return standing.status


def _document(shown: Shown) -> dict[str, Any]:
    from common.errors import ConsiliumError

    readable = not isinstance(shown.contract, ConsiliumError)
    return {
        **_short(shown.digest, shown.study, shown.standing),
        "contract": shown.contract.document if readable else None,  # type: ignore[union-attr]
        "leaves": [str(each) for each in shown.contract.leaves] if readable else [],  # type: ignore[union-attr]
        "changes": None if shown.changes is None else list(shown.changes),
    }


def _short(digest: str, study: str, standing: Standing) -> dict[str, Any]:
    return {
        "study": study,
        "digest": digest,
        "status": standing.status,
        "cohort": standing.cohort,
        "approvers": list(standing.approvers),
        "approvers_needed": standing.needed,
    }


def _tell(consents: Consents, digest: str, standing: Standing, as_json: bool) -> None:
    study = consents.known()[digest]
    if as_json:
        print_json(_short(digest, study, standing))
        return
    typer.echo(f"{study}  {_standing_words(standing)}  contract {digest[:_DIGITS]}")


app.command("studies")(studies)
app.command("approve", epilog=APPROVE_EXAMPLE)(approve)
app.command("reject")(reject)
app.command("withdraw")(withdraw)
