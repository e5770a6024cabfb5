"""What a data manager sees of a privacy ledger on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from client.ledger import Checked, Spending, StudySpending
from client.ledger.guarantee import delta_words, epsilon_words
from client.ledger.page import standing
from common.errors import ConsiliumError

_STYLES = {"within the budget": "green", "nearly spent": "yellow", "over the budget": "bold red"}


def show_spending(cohort: str, spent: Spending, checked: Checked, stops: Sequence[str]) -> None:
    """One ledger: what each study has spent, and all together."""
    console = _console()
    console.print(Text.assemble(f"ledger {cohort}: ", _sum(spent)))
    if spent.studies:
        console.print(_studies(spent))
    if checked.open:
        console.print(Text(f"  {checked.open:>6}  reserved and never settled; they count whole"))
    console.print(Text(f"  {checked.entries:>6}  entries; head {checked.head}"))
    for head in stops:
        words = f"a coordinator remembers an entry {head.partition(':')[0]} that is not there"
        console.print(Text.assemble(("stopped  ", "bold red"), words))


def show_overview(found: Mapping[str, Spending | ConsiliumError], strangers: Sequence[str]) -> None:
    """Every ledger in a line, and names in the policy that belong to nothing."""
    console = _console()
    if not found:
        console.print("no cohort has spent anything yet")
    else:
        table = _table("cohort", "epsilon", "budget", "delta", "studies", "standing")
        for cohort, spent in found.items():
            if isinstance(spent, ConsiliumError):
                table.add_row(cohort, "", "", "", "", Text(spent.code, style="bold red"))
                continue
            budget = f"{spent.budget.epsilon:g}" if spent.budget else "none"
            studies = len({(study.study, study.study_digest) for study in spent.studies})
            words = standing(spent)
            cells = epsilon_words(spent.epsilon), budget, f"{spent.delta:g}", str(studies)
            table.add_row(cohort, *cells, Text(words, style=_STYLES[words]))
        console.print(table)
    for name in strangers:
        words = f"policy.toml has [privacy.cohorts.{name}], and there is no cohort of that name"
        console.print(Text.assemble(("note  ", "bold yellow"), words))


def show_checked(cohort: str, checked: Checked) -> None:
    """What a ledger was compared with, and found to agree."""
    console = _console()
    console.print(Text.assemble(f"ledger {cohort}: ", ("whole", "bold green")))
    console.print(Text(f"  {checked.entries:>6}  entries, each with the one before it"))
    console.print(Text(f"          the last with {cohort}.head: {checked.head}"))
    if checked.told is not None:
        console.print(Text(f"  {checked.told:>6}  of them in the audit log, the same"))
    if checked.untold:
        console.print(Text("          a crash kept the last from the audit log; it is told with the next"))
    if checked.open:
        console.print(Text(f"  {checked.open:>6}  reserved and never settled; they count whole"))
    if checked.aside:
        console.print(Text(f"  {checked.aside:>6}  files that were set aside before"))


def _sum(spent: Spending) -> Text:
    words = standing(spent)
    budget = f" of {spent.budget.epsilon:g}" if spent.budget else ""
    told = f"epsilon {epsilon_words(spent.epsilon)}{budget} is spent, at delta {delta_words(spent.delta)}: "
    return Text.assemble(told, (words, _STYLES[words]))


def _studies(spent: Spending) -> Table:
    table = _table("study", "for", "unit", "rounds", "steps", "noise", "rate", "epsilon alone")
    for study in spent.studies:
        table.add_row(*_study(study))
    steps = sum(event.steps for event in spent.events)
    table.add_row("all together", "", "", "", str(steps), "", "", epsilon_words(spent.epsilon))
    return table


def _study(study: StudySpending) -> tuple[Text | str, ...]:
    return (
        Text(study.study or "added by a person"),
        study.purpose,
        study.unit,
        str(study.rounds),
        "\n".join(str(event.steps) for event in study.events),
        "\n".join(f"{event.noise_multiplier:g}" for event in study.events),
        "\n".join(f"{event.sample_rate:g}" for event in study.events),
        epsilon_words(study.epsilon),
    )


def _console() -> Console:
    return Console(highlight=False, markup=False, soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(Text(heading), justify="left" if index == 0 else "right")
    return table
