"""``consilium study propose``, ``start``, ``stop``, ``status``, ``results``: from contract to model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli import options
from deploy.cli.coordinator import DEFAULT_HOME, Home
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from server.journal import Journal, RunState

LOOK_S = 0.5
TELLING_S = 10.0
"""In which a site's daemon has told the coordinator what was decided a moment ago."""

STOP_EXAMPLE = "Example: consilium study stop lungs --home /srv/coordinator --by 'C. Coordinator'"
READMIT_EXAMPLE = "Example: consilium study readmit lungs alder --home /srv/coordinator --by 'C. Coordinator'"
PROPOSE_EXAMPLE = "Example: consilium study propose lungs.toml --home /srv/coordinator --days 90"

Name = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", help="Its name, or the beginning of its contract's digest.", show_default=False
    ),
]


def propose(
    study: options.StudyFile,
    home: Home = DEFAULT_HOME,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long its contract holds.")] = 90,
    seed: options.Seed = 0,
    passphrase_file: options.PassphraseFile = None,
    as_json: options.Json = False,
) -> None:
    """Draw up a study's contract and sign it; sites are told of it as soon as they are connected."""
    from common.chain import utc_now
    from common.contract import seal_contract
    from common.contract.drafting import draw_up
    from common.study import load_study
    from server.link.home import CoordinatorHome
    from server.proposals import Proposals

    loaded, now = load_study(study), utc_now()
    with CoordinatorHome.open(home.expanduser(), options.passphrase(passphrase_file)) as opened:
        contract = draw_up(
            loaded, federation=opened.federation, seed=seed, issued=now, expires=now + timedelta(days=days)
        )
        Proposals(opened.studies).keep(contract, seal_contract(contract, opened.signing_key, now))
        opened.audit.append("study.proposed", study=contract.name, contract=contract.digest)
    if as_json:
        print_json({"study": contract.name, "contract": contract.digest, "expires": contract.expires})
        return
    typer.echo(f"study {contract.name} is proposed: contract {contract.digest[:12]}")
    typer.echo(f"It holds until {contract.expires}.")
    typer.echo("Each site decides: `consilium site studies`, `consilium site approve`.")


def start(
    study: Name,
    home: Home = DEFAULT_HOME,
    sites: Annotated[int, typer.Option(min=0, help="Sites to wait for; 0 for the study's min_sites.")] = 0,
    wait_s: Annotated[float, typer.Option(min=1.0, help="How long to wait for them, in seconds.")] = 600.0,
    as_json: options.Json = False,
) -> None:
    """Have the coordinator's daemon run a study with the sites that approved it."""
    from common.errors import StudyUnapproved
    from server.proposals import Proposals, RunOrder

    proposals = Proposals(home.expanduser() / "studies")
    digest = proposals.find(study)
    needed = sites or proposals.contract(digest).resolved_study().federation.min_sites
    until = time.monotonic() + TELLING_S
    while (approved := _approved(proposals, digest)) < needed and time.monotonic() < until:
        time.sleep(LOOK_S)
    if approved < needed:  # it would end at once, and a contract has one run
        raise StudyUnapproved(
            f"{approved} of {needed} sites have approved {study}",
            hint="`consilium study status` says who has; start it when enough have, or with a lower --sites.",
        )
    proposals.order(digest, RunOrder(sites, wait_s))
    if as_json:
        print_json({"study": proposals.contract(digest).name, "contract": digest})
        return
    typer.echo("it begins as soon as the coordinator's daemon sees it: `consilium study status`")


def stop(
    study: Name,
    home: Home = DEFAULT_HOME,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who decides.", show_default="who is logged in")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Stop a study that runs, now; or take back one that was to start. What its rounds learnt is kept."""
    from getpass import getuser

    from server.proposals import Proposals

    proposals = Proposals(home.expanduser() / "studies")
    digest = proposals.find(study)
    runs, name = proposals.stop(digest, by or getuser()), proposals.contract(digest).name
    if as_json:
        print_json({"study": name, "contract": digest, "was_running": runs})
        return
    if runs:
        typer.echo("it stops as soon as the coordinator's daemon sees it: `consilium study status`")
    else:
        typer.echo(f"{name} will not start")


def readmit(
    study: Name,
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site's name.", show_default=False)],
    home: Home = DEFAULT_HOME,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who decides.", show_default="who is logged in")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Let a site that the gate suspended take part again, from the next round on."""
    from getpass import getuser

    from common.audit import AuditLog
    from server.link.home import AUDIT_FILE
    from server.proposals import Proposals

    digest, who = Proposals(home.expanduser() / "studies").find(study), by or getuser()
    with _journal(home) as journal:
        journal.readmit(digest, site, who)
    AuditLog(home.expanduser() / AUDIT_FILE).append("site.readmitted", site=site, contract=digest, by=who)
    if as_json:
        print_json({"study": study, "site": site, "by": who})
        return
    typer.echo(f"{site} takes part in {study} again from the next round on")


def status(home: Home = DEFAULT_HOME, as_json: options.Json = False) -> None:
    """List the studies: what the sites decided, and how far each has come."""
    from server.proposals import Proposals

    proposals = Proposals(home.expanduser() / "studies")
    with _journal(home) as journal:
        found = [_standing(proposals, digest, journal.state(digest)) for digest in proposals.digests()]
    if as_json:
        print_json({"studies": found})
        return
    if not found:
        typer.echo("no study was proposed; `consilium study propose STUDY.toml` does so")
    for each in found:
        typer.echo(f"{each['study']} ({each['contract'][:12]}): {each['state']}")
        for site, decision in sorted(each["decisions"].items()):
            typer.echo(f"  {site:<20} {decision}")
        for line in _round_lines(each["round"]):
            typer.echo(f"  {line}")
        if each["error"]:
            typer.echo(f"  {each['error']['code']}: {each['error'].get('hint', '')}")


def results(
    study: Name,
    home: Home = DEFAULT_HOME,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the study has ended.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show the scores of a study that has ended, and where its model and report lie."""
    from common.errors import StudyUnfinished
    from deploy.cli.progress import show_summary
    from server.proposals import Proposals
    from server.record import read_run

    proposals = Proposals(home.expanduser() / "studies")
    digest = proposals.find(study)
    folder = proposals.run_folder(digest)
    run = read_run(folder)
    while wait and (not proposals.has_run(digest) or run is None or "report" not in run["files"]):
        time.sleep(LOOK_S)
        run = read_run(folder)
    if run is None or run["final"] is None:
        raise StudyUnfinished(f"{study} has come to no results")
    if as_json:
        print_json({"out": str(folder), "final": run["final"], "files": run["files"]})
        return
    show_summary(run, folder)


def _approved(proposals: Any, digest: str) -> int:
    """How many sites have approved a contract, as far as they told."""
    return list(proposals.decisions(digest).values()).count("approved")


def _round_lines(course: dict[str, Any] | None) -> Iterator[str]:
    """The round that is under way, and who has not contributed to it, since when and why."""
    if course is None:
        return
    yield f"round {course['number']}: {len(course['contributed'])} of {len(course['asked'])} have contributed"
    for site in [*course["asked"], *sorted(set(course["missing"]) - set(course["asked"]))]:
        if site not in course["contributed"]:
            why = course["missing"].get(site)
            yield f"  {site:<18} " + (
                f"since {why['since']}: {why['reason']}" if why else "is asked, and at work"
            )
    for site, why in course["late"].items():
        yield f"  {site:<18} since {why['since']}: {why['reason']}"


def _journal(home: Path) -> Journal:
    """The coordinator's journal, for who only reads it.

    Raises:
        HomeMissing, HomeInvalid, DatabaseUnavailable: There is none that could be read.
    """
    from common.errors import HomeMissing
    from server.coordinator import journal_in
    from server.link.home import SETTINGS_FILE
    from server.link.settings import read_settings

    folder = home.expanduser()
    if not (folder / SETTINGS_FILE).is_file():
        raise HomeMissing(f"{folder} holds no {SETTINGS_FILE}")
    return journal_in(folder, read_settings(folder / SETTINGS_FILE))


def _standing(proposals: Any, digest: str, run_state: RunState | None) -> dict[str, Any]:
    from server.record import read_run

    contract, run = proposals.contract(digest), read_run(proposals.run_folder(digest))
    waits = any(digest == ordered for ordered, _ in proposals.ordered())
    state = "ordered" if waits else "proposed"
    if run is not None:
        state = f"{run['status']}, round {len(run['rounds'])} of {contract.rounds}"
    return {
        "study": contract.name,
        "contract": digest,
        "state": state,
        "decisions": proposals.decisions(digest),
        "error": run["error"] if run is not None else None,
        "round": None if run_state is None else _course(run_state),
    }


def _course(run: RunState) -> dict[str, Any] | None:
    if run.course is None or run.ended:
        return None
    missing = {site: {"reason": reason, "since": since} for site, (reason, since) in run.refused.items()}
    late = {site: {"reason": reason, "since": since} for site, (reason, since) in run.late.items()}
    course = {
        "number": run.course.number,
        "asked": list(run.course.asked),
        "missing": missing,
        "late": late,
    }
    return {**course, "contributed": list(run.contributed)}
