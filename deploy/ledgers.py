"""Where the sites of a run on this machine keep their privacy ledgers, and whose noise is seeded.

A simulation never spends what a hospital has: it copies the hospital's ledger beside the run and goes on in
the copy, so it refuses what the hospital would refuse. Its noise is seeded, so its model is not private.
A local federation trains as hospitals do: secret noise, and cohorts pay from their own ledgers.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from client.site import Site
from common.chain import HEAD_SUFFIX, Chain
from common.errors import BudgetUnused, LedgerBroken
from common.files import unwritable
from common.private.plan import target_delta
from common.seeds import derive_seed
from common.study import Privacy, Study

FOLDER = "ledgers"


def check_budgets(budgets: Mapping[str, float], virtual: Collection[str], study: Study) -> None:
    """Let budgets pass that somebody will keep to.

    Args:
        budgets: Epsilon by site, with "" for the others.
        virtual: Sites without a cohort, whose budget stands nowhere else.
        study: What is run.

    Raises:
        BudgetUnused: One is for no virtual hospital, or the study does not train privately.
    """
    private = study.privacy is not None and study.privacy.at_sites
    for name in sorted(budgets):
        if not private or not virtual or (name and name not in virtual):
            raise BudgetUnused(
                f"--budget {name or 'EPSILON'}: no virtual hospital of this study would keep to it"
            )


def with_ledgers(
    sites: Sequence[Site], units: Sequence[int], study: Study, out: Path, budgets: Mapping[str, float]
) -> list[Site]:
    """The sites, each with a ledger; those whose cohort has its own keep to that.

    Args:
        sites: The sites of a run.
        units: Training patients (or images, as the study's unit is) of each.
        study: What is run.
        out: The run's folder.
        budgets: What virtual hospitals may spend by name, with "" for the others; without, there is no limit.
    """
    if study.privacy is None:
        return list(sites)
    return [
        site if site.cohort else _virtual(site, count, study.privacy, out, budgets)
        for site, count in zip(sites, units, strict=True)
    ]


def _virtual(site: Site, units: int, privacy: Privacy, out: Path, budgets: Mapping[str, float]) -> Site:
    return replace(
        site,
        ledger=str(_file(out, site)),
        budget_epsilon=budgets.get(site.name, budgets.get("", 0.0)),
        budget_delta=target_delta(privacy, units),
    )


def rehearsing(sites: Sequence[Site], study: Study, out: Path, seed: int) -> list[Site]:
    """The sites with seeded noise and, where they have cohorts, a copy of their ledgers beside the run.

    Raises:
        HomeMissing, HomeInvalid: A cohort's home is not one.
        LedgerBroken, LedgerRolledBack, AuditBroken: Its ledger is not what was written.
        DiskFull, OutputUnwritable: The copy cannot be written.
    """
    if study.privacy is None:
        return list(sites)
    return [replace(_with_copy(site, out), noise_seed=derive_seed(seed, "noise") % 2**31) for site in sites]


def _with_copy(site: Site, out: Path) -> Site:
    if not site.cohort:
        return site
    from client.cohorts.home import open_home  # a federation of manifests has no database to wait for

    own = open_home(Path(site.home)).ledger(site.cohort)
    own.verify()  # the copy has no audit log beside it that would know better
    copy = _file(out, site)
    try:
        with Chain(own.path, LedgerBroken).reading():  # nobody writes between the two files
            for suffix in (copy.suffix, HEAD_SUFFIX):
                if own.path.with_suffix(suffix).exists():
                    shutil.copyfile(own.path.with_suffix(suffix), copy.with_suffix(suffix))
    except OSError as error:
        raise unwritable(copy, error) from None
    limit = own.budget
    assert limit is not None  # noqa: S101  a home's policy always has one
    return replace(site, ledger=str(copy), budget_epsilon=limit.epsilon, budget_delta=limit.delta)


def _file(out: Path, site: Site) -> Path:
    folder = out / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
    return folder / f"{site.name}.jsonl"
