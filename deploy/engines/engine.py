"""The seam between a run and what carries its messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from client.site import Site
from server.study_run import RunPlan

EVIDENCE = "evidence"
"""Folder of a run where an engine keeps the audit logs of all sides; `consilium audit verify` reads them."""


class Engine(Protocol):
    """Runs one plan with some sites on this machine and leaves nothing running."""

    @property
    def name(self) -> str:
        """As the user chooses it, and as run.json names it."""
        ...

    def run(self, plan: RunPlan, sites: Sequence[Site], loads: Sequence[int]) -> None:
        """Run the plan to its end.

        Args:
            plan: What to run; its folder exists.
            sites: Who takes part.
            loads: Training cases of each site.

        Raises:
            ConsiliumError: The run failed; its run.json is written.
        """
        ...


def build_engine(name: str, port: int = 0) -> Engine:
    """The engine of that name; ``port`` is where its coordinator listens, if it does, 0 for a free one."""
    # Imported when chosen: each brings a part of Flower that the others do not need.
    match name:
        case "inprocess":
            from deploy.engines.inprocess import InProcessEngine

            return InProcessEngine()
        case "ray":
            from deploy.engines.ray import RayEngine

            return RayEngine()
        case "link":
            from deploy.engines.link import LinkEngine

            return LinkEngine(port)
        case "superlink":
            from deploy.engines.superlink import SuperLinkEngine

            return SuperLinkEngine(port=port)
        case _:
            raise ValueError(name)
