"""``consilium site enrol``, ``status``, ``check``: the site's part in a federation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import options
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
    from client.link import enrol as enrolled_with
    from common.chain import utc_now
    from common.errors import TrustError
    from common.identity import anchor_of, read_invitation

    opened, now = open_home(home), utc_now()
    passphrase = options.passphrase(passphrase_file)
    try:
        read = read_invitation(invitation, now)
        identity = enrolled_with(opened.folder / "link", read, now, proxy=proxy, passphrase=passphrase)
    except TrustError as error:
        opened.audit("enrolment.refused", code=error.code)
        raise
    authority = anchor_of(identity.authority)
    opened.audit(
        "site.enrolled",
        site=identity.name,
        serial=identity.identity.serial,
        fingerprint=identity.identity.fingerprint,
        federation=identity.federation,
        authority=authority.fingerprint,
    )
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
    typer.echo(f"authority   {' '.join(digits[at : at + 4] for at in range(0, len(digits), 4))}")
    typer.echo("Compare these digits with the coordinator's by telephone. Nothing runs until you approve it.")


def check(home: options.Home = None, as_json: options.Json = False) -> None:
    """Look at each step of the way to the coordinator, and say what to do about the one that fails."""
    from client.cohorts.home import open_home
    from client.link import SiteIdentity, Target, probe
    from common.chain import utc_now

    now = utc_now()
    identity = SiteIdentity.read(open_home(home).folder / "link", now)
    findings = probe(Target.of(identity), now)
    if as_json:
        rows = [(each.step, each.ok, each.said, each.code, each.remedy) for each in findings]
        keys = ("step", "ok", "said", "code", "remedy")
        print_json({"findings": [dict(zip(keys, row, strict=True)) for row in rows]})
    else:
        for each in findings:
            typer.echo(f"{'ok  ' if each.ok else 'FAIL'} {each.step:<12} {each.said}")
            if not each.ok:
                typer.echo(f"     {each.code}: {each.remedy}")
    failed = [each.error for each in findings if each.error is not None]
    if failed:
        raise typer.Exit(failed[0].exit_code)


def status(home: options.Home = None, as_json: options.Json = False) -> None:
    """Say how the site stands: enrolled, connected, what was approved, what it is at."""
    from dataclasses import asdict

    from client.cohorts.home import open_home
    from client.consent import Consents
    from client.daemon import SiteStatus
    from common.chain import utc_now

    opened, now = open_home(home), utc_now()
    found = SiteStatus.read(opened.folder)
    consents = Consents(opened)
    states = {digest: (name, consents.state(digest, now)) for digest, name in consents.known().items()}
    enrolled = (opened.folder / "link" / "certificate.pem").exists()
    if as_json:
        studies = [{"study": name, "contract": d, "state": s.status} for d, (name, s) in states.items()]
        print_json({"enrolled": enrolled, **asdict(found), "studies": studies})
        return
    typer.echo(f"enrolled    {'yes' if enrolled else 'no: `consilium site enrol --invitation FILE`'}")
    typer.echo(f"daemon      {f'process {found.process}' if found.running else 'does not run'}")
    typer.echo(f"link        {found.link}{f' ({found.problem}: {found.hint})' if found.problem else ''}")
    for digest, (name, standing) in states.items():
        typer.echo(f"study       {name} ({digest[:12]}): {standing.status}")
    typer.echo(f"at work     {found.task or 'nothing'}")


def start(
    home: options.Home = None,
    device: options.Device = "auto",
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Run the site's daemon: connected to the coordinator, it answers tasks that the hospital approved."""
    from client.cohorts.home import open_home
    from client.daemon import SiteDaemon
    from deploy.cli.daemons import stopping

    daemon = SiteDaemon(open_home(home), device=device, passphrase=options.passphrase(passphrase_file))
    with stopping("consilium.site") as stop:
        daemon.run(stop)
