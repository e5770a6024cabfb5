"""``consilium site``: what a hospital's data manager does."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli import cohort, consent, deidentify, enrolment, ledger, options, pacs
from deploy.cli.screen import print_json

app = typer.Typer(no_args_is_help=True, help="A hospital's own data: its home, cohorts and archives.")
INIT_EXAMPLE = "Example: consilium site init --home /srv/consilium --name alder"


def init(
    home: options.Home = None,
    name: Annotated[str, typer.Option(help="The site's name in federations.")] = "site",
    as_json: options.Json = False,
) -> None:
    """Make the site's home: settings, policy, the key of its pseudonyms, an empty database."""
    from pydantic import TypeAdapter, ValidationError

    from client.cohorts.home import KEY_FILE, create_home
    from client.cohorts.settings import SiteName

    try:
        TypeAdapter(SiteName).validate_python(name)
    except ValidationError:
        raise typer.BadParameter(
            "letters, digits, dots, dashes and underscores; 64 at most", param_hint="--name"
        ) from None
    made = create_home(home, name)
    if as_json:
        print_json({"home": str(made.folder), "site": name})
        return
    typer.echo(f"site {name!r} in {made.folder}")
    typer.echo(f"Keep a copy of {made.folder / KEY_FILE} in the hospital's safe: without it")
    typer.echo("nobody can say which patient a pseudonym stands for, and no later picture gets the same one.")


app.command("init", epilog=INIT_EXAMPLE)(init)
app.add_typer(cohort.app, name="cohort")
app.add_typer(ledger.app, name="ledger")
app.command("enrol", epilog=enrolment.ENROL_EXAMPLE)(enrolment.enrol)
app.command("start")(enrolment.start)
app.command("status")(enrolment.status)
app.command("check")(enrolment.check)
app.add_typer(consent.app)  # studies, approve, reject, withdraw
app.command("receive", epilog=pacs.RECEIVE_EXAMPLE)(pacs.receive)
app.command("query", epilog=pacs.QUERY_EXAMPLE)(pacs.query)
app.command("retrieve", epilog=pacs.RETRIEVE_EXAMPLE)(pacs.retrieve)
app.command("deidentify", epilog=deidentify.EXAMPLE)(deidentify.deidentify)
