"""``consilium site receive``, ``query`` and ``retrieve``: from the hospital's archive into a plain folder.

Nothing of a patient is shown but what was found: dates, modalities and descriptions of studies and series.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.errors import ConsiliumError, HomeInvalid
from deploy.cli import options
from deploy.cli.screen import interruptible, print_json

if TYPE_CHECKING:
    from client.cohorts.home import Home
    from client.pacs.query import Found
    from client.pacs.retrieval import Retrieved
    from client.pacs.settings import Archive
    from client.pacs.tally import Tally

RECEIVE_EXAMPLE = "Example: consilium site receive --inbox inbox --for-s 3600"
QUERY_EXAMPLE = "Example: consilium site query pacs --match Modality=CT --match StudyDate=20200101-20201231"
RETRIEVE_EXAMPLE = (
    "Example: consilium site retrieve pacs --match StudyDate=20200101-20200131 --level series "
    "--match Modality=CT --inbox inbox"
)
_MOST_LINES = 50

HomeFolder = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="The site's home; CONSILIUM_HOME too.", show_default=False),
]
InboxFolder = Annotated[
    Path | None,
    typer.Option("--inbox", metavar="DIR", help="Where files go; the home's inbox unless said otherwise."),
]
ArchiveName = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help="Name under [archives] in site.toml.", show_default=False)
]
Match = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Only what matches, as Modality=CT or StudyDate=20200101-20201231; if repeated, all must hold.",
        show_default=False,
    ),
]
Limit = Annotated[int, typer.Option(min=1, help="More than so many are refused.")]


class Level(StrEnum):
    """What is found."""

    study = "study"
    series = "series"


class Method(StrEnum):
    """How it is fetched."""

    move = "move"
    get = "get"
    web = "web"


LevelOption = Annotated[Level, typer.Option(help="What to find: whole studies, or single series.")]


def receive(
    home: HomeFolder = None,
    inbox: InboxFolder = None,
    for_s: Annotated[
        float | None,
        typer.Option(min=0.1, help="Stop after so many seconds; else with Ctrl-C.", show_default=False),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Listen for pictures that archives and scanners send (DICOM C-STORE)."""
    from client.pacs.inbox import Inbox
    from client.pacs.receiver import Listener
    from client.pacs.settings import Receiver

    site = _open(home)
    settings = site.settings.receive or Receiver()
    with _counting(as_json, _received) as show, Inbox(inbox or site.inbox, settings, show) as box:
        with Listener(settings, box) as listener:
            allowed = ", ".join(settings.allowed_ae_titles) or "nobody (allowed_ae_titles is empty)"
            _say(as_json, f"{settings.ae_title} listens at {settings.host}:{listener.port} for {allowed}")
            _wait(for_s)
        tally = box.tally
    site.audit("pacs.received", new=tally.new, already=tally.already, refused=tally.refused)
    if as_json:
        print_json({"inbox": str(box.folder), **asdict(tally)})
    else:
        typer.echo(f"{_received(tally)}; they are in {box.folder}")


def query(
    archive: ArchiveName,
    match: Match = None,
    level: LevelOption = Level.study,
    limit: Limit = 1000,
    web: Annotated[bool, typer.Option("--web", help="Ask by DICOMweb although DICOM is configured.")] = False,
    home: HomeFolder = None,
    as_json: options.Json = False,
) -> None:
    """Show what an archive holds."""
    from client.pacs.query import find

    conditions = _conditions(match)
    site = _open(home)
    with interruptible():
        found = find(_archive(site, archive), conditions, level.value, limit, web=web)
    site.audit("pacs.queried", archive=archive, found=len(found))
    if as_json:
        print_json({"archive": archive, "level": level.value, "found": [asdict(one) for one in found]})
    else:
        _show(found)


def retrieve(
    archive: ArchiveName,
    match: Match = None,
    level: LevelOption = Level.study,
    limit: Limit = 100,
    method: Annotated[
        Method, typer.Option(help="move: it sends to our receiver; get: over our connection; web: DICOMweb.")
    ] = Method.move,
    home: HomeFolder = None,
    inbox: InboxFolder = None,
    as_json: options.Json = False,
) -> None:
    """Fetch pictures from an archive into a folder; what is there already is not fetched again."""
    from client.pacs.query import find
    from client.pacs.retrieval import retrieve as fetch

    conditions = _conditions(match)
    site = _open(home)
    asked, folder = _archive(site, archive), inbox or site.inbox
    with (
        interruptible("what has arrived is kept; run it again for the rest"),
        _counting(as_json, _retrieved) as show,
    ):
        found = find(asked, conditions, level.value, limit, web=method is Method.web)
        with _audited(site, "pacs.interrupted", archive=archive, method=method.value):
            result = fetch(asked, found, folder, site.settings.receive, method.value, show)
    counts = asdict(result)
    site.audit("pacs.retrieved", archive=archive, method=method.value, **counts)
    if as_json:
        print_json({"archive": archive, "inbox": str(folder), "found": len(found), **counts})
    else:
        typer.echo(f"{_retrieved(result)}; they are in {folder}")


def _open(home: Path | None) -> Home:
    from client.cohorts.home import open_home

    return open_home(home)


def _archive(site: Home, name: str) -> Archive:
    known = site.settings.archives
    if name not in known:
        raise HomeInvalid(
            f"site.toml has no archive {name!r}; it has: {', '.join(sorted(known)) or 'none'}.",
            hint="Add it to site.toml under [archives.NAME], or choose one that is there.",
        )
    return known[name]


@contextmanager
def _audited(site: Home, event: str, **facts: str) -> Iterator[None]:
    """Note in the audit log that the block ended in an error; pictures may have come before it."""
    try:
        yield
    except ConsiliumError as error:
        site.audit(event, code=error.code, **facts)
        raise


def _conditions(texts: list[str] | None) -> dict[str, str]:
    """The keys to search by; what cannot be asked is a usage error that quotes no value."""
    from client.pacs.query import check_keys

    pairs = [text.partition("=") for text in texts or ()]
    if any(not key or not equals for key, equals, _ in pairs):
        raise typer.BadParameter("KEY=VALUE is needed", param_hint="--match")
    conditions = {key.strip(): value.strip() for key, _, value in pairs}
    if len(conditions) < len(pairs):
        raise typer.BadParameter("a key can be given once", param_hint="--match")
    try:
        check_keys(conditions)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--match") from None
    return conditions


def _wait(for_s: float | None) -> None:
    """Return after the time, on Ctrl-C or on SIGTERM: for a receiver these are the usual ends."""
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        stop.wait(for_s)
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        typer.echo(text, err=True)


def _received(tally: Tally) -> str:
    refused = f", {tally.refused} refused" if tally.refused else ""
    return f"{tally.new} received, {tally.already} here already{refused}"


def _retrieved(result: Retrieved) -> str:
    failed = f", {result.failed} failed" if result.failed else ""
    return f"{result.new} new, {result.already} here already{failed}, of {result.expected}"


@contextmanager
def _counting(quiet: bool, text: Callable[[Any], str]) -> Iterator[Callable[[Any], None]]:
    """Show counts on stderr until the block ends; yields what is told them."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    hidden = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("asking", total=None)
        yield lambda counts: bar.update(task, description=text(counts))


def _show(found: list[Found]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("date", "modality", "objects", "description", "UID"):
        table.add_column(heading, overflow="fold")
    for one in found[:_MOST_LINES]:
        count = "?" if one.instances is None else str(one.instances)
        uid = one.series_uid or one.study_uid
        cells = (one.date, one.modality.replace("\\", " "), count, one.description, uid)
        table.add_row(*map(Text, cells))  # Text lets no control characters through to the terminal
    console = Console(highlight=False, markup=False)
    console.print(table)
    if len(found) > _MOST_LINES:
        console.print(f"and {len(found) - _MOST_LINES} more; --json prints all")
    console.print(f"{len(found)} found")
