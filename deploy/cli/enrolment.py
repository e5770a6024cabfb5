"""``consilium site enrol``, ``status``, ``check``: the site's part in a federation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import options, standing
from deploy.cli.findings import show_check, show_readiness
from deploy.cli.screen import print_json

ENROL_EXAMPLE = "Example: consilium site enrol --invitation alder.invitation"

Proxy = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The hospital's HTTP proxy, as http://proxy:3128.", show_default=False),
]


def enrol(
    invitation: Annotated[
        Path, typer.Option(metavar="FILE", help="What the coordinator sent.", show_default=False)
    ],
    home: options.Home = None,
    proxy: Proxy = None,
    passphrase_file: options.PassphraseFile = None,
    as_json: options.Json = False,
) -> None:
    """Take part in a federation: the site's key is made here and never leaves."""
    from client.cohorts.home import open_home
    from client.daemon.joining import join
    from common.chain import utc_now
    from common.errors import TrustError
    from common.identity import anchor_of, read_invitation

    opened, now = open_home(home), utc_now()
    passphrase = options.passphrase(passphrase_file)
    try:
        read = read_invitation(invitation, now)
        identity = join(opened, read, now, proxy=proxy, passphrase=passphrase)
    except TrustError as error:
        opened.audit("enrolment.refused", code=error.code)
        raise
    authority = anchor_of(identity.authority)
    told = {
        "site": identity.name,
        "federation": identity.federation,
        "coordinator": identity.address,
        "authority": authority.fingerprint,
        "until": identity.identity.not_after.isoformat(timespec="seconds"),
    }
    if as_json:
        print_json(told)
        return
    digits = authority.fingerprint
    typer.echo(f"site {identity.name} is enrolled in federation {identity.federation}")
    if identity.name != opened.settings.name:
        typer.echo(f"note: this home calls itself {opened.settings.name}; is the invitation another site's?")
    typer.echo(f"authority   {' '.join(digits[at : at + 4] for at in range(0, len(digits), 4))}")
    typer.echo("Compare these digits with the coordinator's by telephone. Nothing runs until you approve it.")


def check(
    home: options.Home = None,
    device: options.Device = "auto",
    passphrase_file: options.PassphraseFile = None,
    as_json: options.Json = False,
) -> None:
    """Look at everything that can keep the site from training, and say what to do about what is wrong.

    Warnings do not fail; the exit status is that of the first failure. A connected daemon is not disturbed.
    """
    from client.checks import SiteCheck

    asked = SiteCheck(home, device, options.passphrase(passphrase_file))
    show_check(asked.sections(), as_json)


def status(
    home: options.Home = None,
    ready: Annotated[
        bool, typer.Option("--ready", help="Only say whether it is ready: the daemon runs and is connected.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Say how the site stands: enrolled, connected, its data ready, what was approved, what it is at."""
    from client.cohorts.home import open_home
    from client.daemon import SiteStatus

    opened = open_home(home)
    if ready:
        show_readiness(standing.unready(SiteStatus.read(opened.folder)), as_json)
        return
    found = standing.standing_of(opened)
    if as_json:
        print_json(standing.document(found))
        return
    for what, how in standing.lines(found):
        typer.echo(f"{what:<11} {how}")


def start(
    home: options.Home = None,
    device: options.Device = "auto",
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Run the site's daemon: connected to the coordinator, it answers tasks that the hospital approved."""
    from client.cohorts.home import open_home
    from client.daemon import SiteDaemon, SiteStatus
    from deploy.daemons import stopping

    opened = open_home(home)
    daemon = SiteDaemon(opened, device=device, passphrase=options.passphrase(passphrase_file))
    with stopping("consilium.site", lambda: SiteStatus.read(opened.folder)) as stop:
        daemon.run(stop)
