"""Who is there: node ids of the Grid, known by the site names that the nodes give themselves.

Invariant: a name belongs to one node at a time. A second node with a name that is present is left out
until the first one is gone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import MessageType
from flwr.serverapp import Grid

from common.errors import Refusal, TaskInvalid
from common.study import Study, to_canonical
from common.tasks import Describe, SiteDescription, read_description, refusing_site, task_content
from server.exchange import Reply, ask

POLL_S = 0.1
AT_ONCE = 500
"""Nodes that are asked to describe themselves at one time; each lot has the whole time to answer."""


@dataclass(slots=True)
class Roster:
    """The sites of a federation.

    Attributes:
        nodes: Node id of each site that is present, by name.
        descriptions: What each site ever present said of itself.
        refused: Why a node was left out, by site name (or ``node ID`` where it gave none).
    """

    nodes: dict[str, int] = field(default_factory=dict)
    descriptions: dict[str, SiteDescription] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def refresh(self, grid: Grid, study: Study, deadline_s: float) -> None:
        """See who is there now, and ask all others to describe themselves: also who was refused before."""
        online = set(grid.get_node_ids())
        self.nodes = {site: node for site, node in self.nodes.items() if node in online}
        self.refused = {}
        newcomers = sorted(online - set(self.nodes.values()))
        task = task_content(Describe(to_canonical(study)))
        for first in range(0, len(newcomers), AT_ONCE):
            asked = dict.fromkeys(newcomers[first : first + AT_ONCE], task)
            for reply in ask(grid, asked, MessageType.QUERY, "describe", deadline_s):
                self._enter(reply, study)

    def name(self, node_id: int) -> str:
        """The site's name of a node."""
        names = [site for site, node in self.nodes.items() if node == node_id]
        return names[0] if names else f"node {node_id}"

    def label_counts(self) -> list[int]:
        """Training cases of each class over all sites ever present."""
        return [
            sum(counts) for counts in zip(*(d.train_labels for d in self.descriptions.values()), strict=True)
        ]

    def _enter(self, reply: Reply, study: Study) -> None:
        if reply.refusal is not None:
            site = refusing_site(reply.content) if reply.content is not None else ""
            self.refused[site or f"node {reply.node_id}"] = reply.refusal
            return
        try:
            assert reply.content is not None  # noqa: S101  an answer has one
            head = study.study
            description = read_description(reply.content, len(head.classes), exclusive=head.one_class_a_case)
        except TaskInvalid as error:
            self.refused[f"node {reply.node_id}"] = error.refusal()
            return
        if description.site in self.nodes:
            twice = Refusal("site-twice", "Two nodes give the same site name.", "Stop one of the two.")
            self.refused[f"{description.site} (node {reply.node_id})"] = twice
            return
        self.nodes[description.site] = reply.node_id
        self.descriptions[description.site] = description
        self.refused.pop(description.site, None)


def gather(grid: Grid, study: Study, expected: int, timeout_s: float) -> Roster:
    """The roster once ``expected`` nodes are online or the time is over, whichever is first."""
    began = time.monotonic()
    while len(list(grid.get_node_ids())) < expected and time.monotonic() - began < timeout_s:
        time.sleep(POLL_S)
    roster = Roster()
    roster.refresh(grid, study, timeout_s)
    return roster


def reasons(refused: Mapping[str, Refusal]) -> dict[str, str]:
    """Refusals as a person reads them."""
    return {site: str(refusal) for site, refusal in sorted(refused.items())}
