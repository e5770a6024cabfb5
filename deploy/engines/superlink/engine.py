"""Flower's own deployment as an engine: stock SuperLink and SuperNodes, real processes, TLS."""

from __future__ import annotations

from collections.abc import Sequence

from client.site import Site
from common.errors import ConsiliumError, EngineFailed
from common.files import write_atomically
from common.study import to_toml
from deploy.engines.superlink.deployment import SiteProcess, SuperLinkDeployment
from server.record import read_run
from server.study_run import STUDY_FILE, RunPlan


class SuperLinkEngine:
    """One process tree a site and one for the coordinator, all on loopback."""

    name = "superlink"

    def __init__(self, port: int = 0) -> None:
        self._port = port

    def run(self, plan: RunPlan, sites: Sequence[Site], loads: Sequence[int]) -> None:
        """See :class:`deploy.engines.engine.Engine`."""
        study_file = plan.out / STUDY_FILE
        write_atomically(study_file, to_toml(plan.study))
        nodes = [SiteProcess(site.name, site.node_config()) for site in sites]
        deployment = SuperLinkDeployment(nodes, port=self._port)
        try:
            deployment.run(plan.run_config(study_file), log_dir=plan.out / "logs")
        except EngineFailed as failure:
            raise _told_by_coordinator(plan) or failure from None


def _told_by_coordinator(plan: RunPlan) -> ConsiliumError | None:
    """The error that the coordinator's process wrote down, which says more than that it ended."""
    told = (read_run(plan.out) or {}).get("error")
    if not told:
        return None
    error = ConsiliumError.of_code(told["code"], told["message"])
    error.hint = told["hint"]
    return error
