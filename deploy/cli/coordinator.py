"""``consilium coordinator``: a federation's coordinator, and who takes part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli import options
from deploy.cli.findings import Unready, show_check, show_readiness
from deploy.cli.screen import print_json

if TYPE_CHECKING:
    from server.link.home import CoordinatorHome

app = typer.Typer(no_args_is_help=True, help="A federation's coordinator: its identity and its sites.")
INIT_EXAMPLE = "Example: consilium coordinator init --home /srv/coordinator --address fed.example.org:443"
INVITE_EXAMPLE = "Example: consilium coordinator invite alder --home /srv/coordinator --out alder.invitation"
VARIABLE = "CONSILIUM_COORDINATOR"

Home = Annotated[Path, typer.Option("--home", metavar="DIR", help="The coordinator's home.", envvar=VARIABLE)]
_START = "Start it: `consilium coordinator start`, under systemd `systemctl start consilium-coordinator`."
_KILLED = (
    "It ended without a word: killed, or the power failed. The system's log may say why; start it again."
)
DEFAULT_HOME = Path("~/.consilium-coordinator")
SiteName = Annotated[str, typer.Argument(metavar="SITE", help="The site's name.", show_default=False)]


def init(
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where sites reach it.", show_default=False)
    ],
    home: Home = DEFAULT_HOME,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where it waits for them.")
    ] = "127.0.0.1:8443",
    passphrase_file: options.PassphraseFile = None,
    as_json: options.Json = False,
) -> None:
    """Make the coordinator's home: the federation's authority, its own keys, an empty list of sites."""
    from server.link.home import CoordinatorHome

    with CoordinatorHome.create(
        home.expanduser(), address, listen, options.passphrase(passphrase_file)
    ) as made:
        told = {
            "home": str(made.folder),
            "federation": made.federation,
            "address": made.settings.address,
            "listen": made.settings.listen,
            "authority": made.authority.fingerprint,
        }
    if as_json:
        print_json(told)
        return
    typer.echo(f"coordinator of federation {told['federation']} in {told['home']}")
    typer.echo(f"authority   {_grouped(told['authority'])}")
    typer.echo("Read these digits to a site's people when they enrol: they see the same ones.")
    typer.echo(f"Keep a copy of {made.folder / 'authority'} in a safe: who has it can name sites.")


def invite(
    site: SiteName,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the invitation is written.", show_default=False)
    ],
    home: Home = DEFAULT_HOME,
    hours: Annotated[float, typer.Option(min=0.1, max=720.0, help="How long it is good for.")] = 72.0,
    passphrase_file: options.PassphraseFile = None,
    as_json: options.Json = False,
) -> None:
    """Invite a site: one file, for one use, to be sent on a way that you trust."""
    from common.errors import OutputExists
    from common.identity import is_site_name, write_invitation

    if not is_site_name(site):
        raise typer.BadParameter("1 to 40 of a-z, 0-9 and -, the first and last no -", param_hint="SITE")
    if out.exists():
        raise OutputExists(f"{out} is there already", hint="Choose another --out.")
    with _open(home, passphrase_file) as opened:
        invitation = opened.enrolment.invite(site, hours)
    write_invitation(out, invitation)
    if as_json:
        print_json({"site": site, "invitation": str(out), "expires": invitation.expires})
        return
    typer.echo(f"invitation for {site} in {out}, good for one use until {invitation.expires}")
    typer.echo("Whoever has the file first can enrol as that site: send it encrypted, or hand it over.")


def sites(
    home: Home = DEFAULT_HOME, passphrase_file: options.PassphraseFile = None, as_json: options.Json = False
) -> None:
    """List the sites: enrolled, revoked, and those invited that have not enrolled."""
    with _open(home, passphrase_file) as opened:
        members = opened.store.members
        known = members.sites()
        waiting = [each for each in members.invitations() if not each.used_at]
    rows = [
        {
            "site": each.name,
            "state": "revoked" if each.revoked_at else "enrolled",
            "since": str(each.revoked_at or each.enrolled),
            "until": str(each.expires),
        }
        for each in known
    ]
    rows += [
        {"site": each.site, "state": "invited", "since": "", "until": str(each.expires)} for each in waiting
    ]
    if as_json:
        print_json({"sites": rows})
        return
    if not rows:
        typer.echo("no site has been invited; `consilium coordinator invite SITE --out FILE` does so")
    for row in rows:
        typer.echo(f"{row['site']:<24} {row['state']:<9} until {row['until']}")


def revoke(
    site: SiteName,
    home: Home = DEFAULT_HOME,
    passphrase_file: options.PassphraseFile = None,
    as_json: options.Json = False,
) -> None:
    """End a site's part in the federation: its certificates are worth nothing from now on."""
    with _open(home, passphrase_file) as opened:
        was = opened.enrolment.revoke(site)
    if as_json:
        print_json({"site": site, "revoked": True, "was_enrolled": was})
        return
    typer.echo(f"{site} is revoked" if was else f"{site} was revoked already")


def start(home: Home = DEFAULT_HOME, passphrase_file: options.PassphraseFile = None) -> None:
    """Run the coordinator's daemon: it serves the sites and runs the studies that were started."""
    from deploy.daemons import stopping
    from server.coordinator import Coordinator
    from server.status import CoordinatorStatus

    with (
        _open(home, passphrase_file) as opened,
        stopping("consilium.coordinator", lambda: CoordinatorStatus.read(opened.folder)) as stop,
    ):
        Coordinator(opened).run(stop)


def check(
    home: Home = DEFAULT_HOME, passphrase_file: options.PassphraseFile = None, as_json: options.Json = False
) -> None:
    """Look at everything that can keep the coordinator from its work, and say what to do about it.

    Warnings do not fail; the exit status is that of the first failure.
    """
    from server.checks import CoordinatorCheck

    asked = CoordinatorCheck(home.expanduser().absolute(), options.passphrase(passphrase_file))
    show_check(asked.sections(), as_json)


def status(
    home: Home = DEFAULT_HOME,
    ready: Annotated[bool, typer.Option("--ready", help="Only say whether it listens for sites.")] = False,
    as_json: options.Json = False,
) -> None:
    """Say how the coordinator stands: whether it runs, who is connected, which studies run."""
    from dataclasses import asdict

    from server.status import CoordinatorStatus

    folder = home.expanduser().absolute()
    found = CoordinatorStatus.read(folder)
    stopped = Unready("daemon-died" if found.died else "daemon-stopped", _KILLED if found.died else _START)
    if ready:
        show_readiness(None if found.up else stopped, as_json)
    elif as_json:
        print_json({"ready": found.up, **asdict(found)})
    elif not found.running:
        typer.echo(f"daemon      does not run ({stopped.code}: {stopped.hint})")
    else:
        typer.echo(f"daemon      process {found.process}, release {found.release}, since {found.since}")
        typer.echo(f"port        {found.port}")
        typer.echo(f"connected   {', '.join(found.sites) or 'no site'}")
        typer.echo(f"running     {', '.join(found.studies) or 'no study'}")


def _open(home: Path, passphrase_file: Path | None) -> CoordinatorHome:
    from server.link.home import CoordinatorHome

    return CoordinatorHome.open(home.expanduser(), options.passphrase(passphrase_file))


def _grouped(digits: str) -> str:
    """Digits in groups, as people read them to each other."""
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


app.command("init", epilog=INIT_EXAMPLE)(init)
app.command("invite", epilog=INVITE_EXAMPLE)(invite)
app.command("start")(start)
app.command("status")(status)
app.command("check")(check)
app.command("sites")(sites)
app.command("revoke")(revoke)
