"""One study over the link, from its first round to its last, with what the audit log tells of it."""

from __future__ import annotations

from common.audit import AuditLog
from common.contract import Contract
from common.errors import ConsiliumError, StudyStopped
from common.files import file_sha256
from server.journal import RunJournal, is_final
from server.link.grid import LinkGrid
from server.record import RunRecord, read_run
from server.study_run import MODEL_FILE, RunPlan, run_study

ENDED = "study-ended"
"""Why a task is called off that nobody waits for any more."""


def conduct(
    grid: LinkGrid, audit: AuditLog, contract: Contract, plan: RunPlan, journal: RunJournal
) -> RunRecord:
    """Run a study. If it ends for good, nothing is left under way at the sites.

    Args:
        grid: For the contract; :meth:`server.link.grid.LinkGrid.stop` ends the study early.
        audit: The coordinator's log.
        contract: What the sites agreed to.
        plan: The same study, and where its results go.
        journal: The run's; if it was begun before, it goes on.

    Raises:
        ConsiliumError: The study could not be finished; run.json says why.
    """
    about = {"study": contract.name, "contract": contract.digest}
    audit.append("study.started", **about, rounds=contract.rounds)
    ended: dict[str, str] = {"code": ConsiliumError.code}
    is_over = True
    try:
        record = run_study(grid, plan, journal)
        sha256 = file_sha256(plan.out / MODEL_FILE)
        ended = {"digest": (record.final or {})["model_digest"], "sha256": sha256}
        return record
    except ConsiliumError as error:
        ended, is_over = {"code": error.code}, is_final(error)
        raise
    except KeyboardInterrupt:
        ended = {"code": StudyStopped.code}
        raise
    finally:
        if is_over:
            grid.cancel(ended.get("code", ENDED))
        done = len((read_run(plan.out) or {"rounds": []})["rounds"])
        audit.append("study.ended", **about, rounds=done, **ended)
