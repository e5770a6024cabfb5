"""One study over the link, from its first round to its last, with what the audit log tells of it."""

from __future__ import annotations

from common.audit import AuditLog
from common.contract import Contract
from common.errors import ConsiliumError, StudyStopped
from server.link.grid import LinkGrid
from server.record import RunRecord, read_run
from server.study_run import RunPlan, run_study

ENDED = "study-ended"
"""Why a task is called off that nobody waits for any more."""


def conduct(grid: LinkGrid, audit: AuditLog, contract: Contract, plan: RunPlan) -> RunRecord:
    """Run a study and leave nothing under way at the sites, in whatever way it ends.

    Args:
        grid: For the contract; :meth:`server.link.grid.LinkGrid.stop` ends the study early.
        audit: The coordinator's log.
        contract: What the sites agreed to.
        plan: The same study, and where its results go.

    Raises:
        ConsiliumError: The study could not be finished; run.json says why.
    """
    about = {"study": contract.name, "contract": contract.digest}
    audit.append("study.started", **about, rounds=contract.rounds)
    ended: dict[str, str] = {"code": ConsiliumError.code}
    try:
        record = run_study(grid, plan)
        ended = {"digest": (record.final or {})["model_digest"]}
        return record
    except ConsiliumError as error:
        ended = {"code": error.code}
        raise
    except KeyboardInterrupt:
        ended = {"code": StudyStopped.code}
        raise
    finally:
        grid.cancel(ended.get("code", ENDED))
        done = len((read_run(plan.out) or {"rounds": []})["rounds"])
        audit.append("study.ended", **about, rounds=done, **ended)
