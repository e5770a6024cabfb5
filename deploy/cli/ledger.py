"""``consilium site ledger``: what private training has spent of a cohort, and what if a ledger is hurt."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import options
from deploy.cli.cohort import Name
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from client.cohorts.home import Home
    from client.ledger import Ledger, Outcome, Spending
    from client.ledger.certificate import Holder
    from common.errors import ConsiliumError
    from common.private.event import Event

app = typer.Typer(no_args_is_help=True, help="Privacy that was spent of each cohort, and what is left.")
CERTIFICATE_EXAMPLE = "Example: consilium site ledger certificate chest --out certificates/2026-03"
ACCEPT_EXAMPLE = (
    'Example: consilium site ledger accept chest --reason "disk replaced, Monday\'s copy put back"'
)


def _checked(name: str | None) -> str | None:
    """A name that may be that of a file."""
    from client.cohorts.home import COHORT_NAME

    if name is not None and not COHORT_NAME.fullmatch(name):
        raise typer.BadParameter("letters, digits, dots, dashes and underscores; 64 at most")
    return name


OneOrAll = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="The cohort's name; without it all.", show_default=False, callback=_checked
    ),
]
BY_HAND = "Spending that stands in no file"


def show(name: OneOrAll = None, home: options.Home = None, as_json: options.Json = False) -> None:
    """Say what every study has spent of a cohort, and what all together have."""
    from client.cohorts.home import open_home
    from deploy.cli.spending import show_overview, show_spending

    site = open_home(home)
    if name is None:
        found = {each: _spent(site.ledger(each)) for each in site.ledgers()}
        strangers = _strangers(site)
        if as_json:
            ledgers = [_summary(each, spent) for each, spent in found.items()]
            print_json({"ledgers": ledgers, "unknown_in_policy": strangers})
        else:
            show_overview(found, strangers)
        return
    ledger = _ledger(site, name)
    book, checked = ledger.examine()
    spent = ledger.add_up(book)
    if as_json:
        print_json(
            {**_summary(name, spent), **_detail(spent), "ledger": asdict(checked), "stops": book.stops}
        )
    else:
        show_spending(name, spent, checked, book.stops)


def verify(name: OneOrAll = None, home: options.Home = None, as_json: options.Json = False) -> None:
    """Compare ledgers with their heads and with the audit log; exit with 6 if one is not what was written."""
    from client.cohorts.home import open_home
    from common.errors import LedgerBroken, LedgerRolledBack
    from deploy.cli.spending import show_checked

    site = open_home(home)
    names = site.ledgers() if name is None else (name,)
    whole, trouble = {}, None
    for each in names:
        try:
            whole[each] = _ledger(site, each).verify()
        except (LedgerBroken, LedgerRolledBack) as error:
            trouble = trouble or error
            continue
        if not as_json:
            show_checked(each, whole[each])
    if trouble is not None:
        raise trouble
    if as_json:
        print_json({"ledgers": [{"cohort": each, **asdict(checked)} for each, checked in whole.items()]})
    elif not names:
        typer.echo("no cohort has spent anything yet")


def certificate(
    name: Name,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for certificate.html and .json.", show_default=False)
    ],
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Write what a data protection officer files: the guarantee, what it rests on, what it leaves open."""
    from client.cohorts.home import open_home
    from client.ledger.certificate import certify
    from client.ledger.filing import file_certificate
    from client.ledger.guarantee import delta_words, epsilon_words
    from common.chain import utc_now

    site = open_home(home)
    ledger = _ledger(site, name)
    made = certify(ledger, _holder(site, name), utc_now().isoformat(timespec="seconds"))
    filed = file_certificate(made, out)
    site.audit("certificate.issued", cohort=name, head=made.checked.head, sha256=filed.sha256)
    if as_json:
        print_json({"page": str(filed.page), "document": str(filed.document), "sha256": filed.sha256})
        return
    spent = made.spending
    typer.echo(f"epsilon {epsilon_words(spent.epsilon)} at delta {delta_words(spent.delta)}")
    typer.echo(f"page      {filed.page}")
    typer.echo(f"document  {filed.document}  (SHA-256 {filed.sha256}, also in the audit log)")


def accept(
    name: Name,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, in a sentence; name no patient.", show_default=False)
    ],
    by: Annotated[
        str | None,
        typer.Option(metavar="WHO", help="Who decides.", show_default="who is logged in"),
    ] = None,
    noise_multiplier: Annotated[
        float | None,
        typer.Option(help="Its noise multiplier.", show_default=False, rich_help_panel=BY_HAND),
    ] = None,
    sample_rate: Annotated[
        float | None, typer.Option(help="Its sample rate.", show_default=False, rich_help_panel=BY_HAND)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="How many steps.", show_default=False, rich_help_panel=BY_HAND)
    ] = None,
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Let a ledger go on that is not what was written: a person decides, and that is written down.

    The old file is kept beside the new one. All spending that can still be found counts whole.
    """
    from getpass import getuser

    from client.cohorts.home import open_home
    from client.ledger import Decision

    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    added = _added(noise_multiplier, sample_rate, steps)
    site = open_home(home)
    ledger = _ledger(site, name)
    if not added and _is_whole(ledger):
        raise typer.BadParameter(f"the ledger of {name!r} is whole: there is nothing to accept")
    outcome = ledger.accept(Decision(by or getuser(), reason.strip(), added))
    _tell(name, outcome, ledger.spent(), as_json)


def _tell(name: str, outcome: Outcome, spent: Spending, as_json: bool) -> None:
    from client.ledger.guarantee import epsilon_words

    if as_json:
        aside = [str(path) for path in outcome.aside]
        print_json({**asdict(outcome), "aside": aside, **_summary(name, spent)})
        return
    for path in outcome.aside:
        typer.echo(f"kept      {path}")
    typer.echo(f"{outcome.counted:>8}  reservations taken over or added; they count whole")
    if outcome.lost:
        words = "lines were changed or lost and no log has them: add what they spent by hand"
        typer.echo(f"{outcome.lost:>8}  {words}")
    budget = f" of {spent.budget.epsilon:g}" if spent.budget else ""
    typer.echo(f"epsilon {epsilon_words(spent.epsilon)}{budget} is spent; head {outcome.head}")


def _ledger(site: Home, name: str) -> Ledger:
    """A cohort's ledger; that of a cohort that was removed, too.

    Raises:
        CohortUnknown: There is neither a cohort nor a ledger of that name.
    """
    from client.cohorts.cohort import find_cohort

    if name not in site.ledgers():
        find_cohort(site, name)
    return site.ledger(name)


def _holder(site: Home, name: str) -> Holder:
    from contextlib import closing

    from client.cohorts.catalogue import Catalogue
    from client.ledger.certificate import Holder
    from common.errors import CohortUnknown

    with closing(Catalogue(site.database)) as catalogue:
        try:
            cohort = catalogue.cohort(name)
        except CohortUnknown:
            return Holder(site.settings.name, name)
        patients = {case.patient for case in catalogue.cases(cohort.id)}
        return Holder(site.settings.name, name, cohort.fingerprint, len(patients))


def _strangers(site: Home) -> list[str]:
    """Names in the policy for which there is neither a cohort nor a ledger: perhaps misspelt."""
    from contextlib import closing

    from client.cohorts.catalogue import Catalogue

    with closing(Catalogue(site.database)) as catalogue:
        known = {cohort.name for cohort in catalogue.cohorts()}
    return sorted(site.policy.privacy.cohorts.keys() - known - set(site.ledgers()))


def _spent(ledger: Ledger) -> Spending | ConsiliumError:
    """What a ledger adds up to, or why nobody can say."""
    from common.errors import LedgerBroken, LedgerRolledBack

    try:
        return ledger.spent()
    except (LedgerBroken, LedgerRolledBack) as error:
        return error


def _is_whole(ledger: Ledger) -> bool:
    from common.errors import LedgerBroken, LedgerRolledBack

    try:
        ledger.verify()
    except (LedgerBroken, LedgerRolledBack):
        return False
    return True


def _added(noise_multiplier: float | None, sample_rate: float | None, steps: int | None) -> tuple[Event, ...]:
    from common.private.event import Event

    given = (noise_multiplier, sample_rate, steps)
    if given == (None, None, None):
        return ()
    if noise_multiplier is None or sample_rate is None or steps is None:
        raise typer.BadParameter("give --noise-multiplier, --sample-rate and --steps together")
    if not (noise_multiplier > 0 and 0 < sample_rate <= 1 and steps > 0):
        raise typer.BadParameter("noise and steps must be above 0, the rate above 0 and at most 1")
    return (Event(noise_multiplier, sample_rate, steps),)


def _summary(name: str, spent: Spending | ConsiliumError) -> dict[str, Any]:
    from client.ledger.certificate import finite
    from common.errors import ConsiliumError

    if isinstance(spent, ConsiliumError):
        return {"cohort": name, "trouble": {"code": spent.code, "message": spent.private, "hint": spent.hint}}
    return {
        "cohort": name,
        "trouble": None,
        "epsilon": finite(spent.epsilon),
        "delta": spent.delta,
        "budget": asdict(spent.budget) if spent.budget else None,
        "left": finite(spent.left),
    }


def _detail(spent: Spending) -> dict[str, Any]:
    from client.ledger.certificate import study_document

    return {"studies": [study_document(study) for study in spent.studies]}


app.command("show")(show)
app.command("verify")(verify)
app.command("certificate", epilog=CERTIFICATE_EXAMPLE)(certificate)
app.command("accept", epilog=ACCEPT_EXAMPLE)(accept)
