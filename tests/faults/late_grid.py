"""A Grid in memory whose answers come when they are told to, and whose messages outlive whoever sent them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flwr.app import Message

from client.site import Site
from tests.unit.conftest import Fault, FaultyGrid

Late = Mapping[tuple[str, int], int]
"""By site and round of a task to train: the round that must have begun before the answer is there."""


class ForgetfulLateGrid(FaultyGrid):
    """As Flower's own: what was sent is known to its sender alone, and cannot be taken back.

    Attributes:
        late: Whose answers come late.
        slow: How often a site's answers are looked for in vain before they are there.
        trained: Each task to train that was sent, by site and round.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        late: Late,
        slow: Mapping[str, int] | None = None,
        faults: Mapping[str, Fault] | None = None,
    ) -> None:
        super().__init__(sites, faults)
        self.late, self.slow = dict(late), dict(slow or {})
        self.trained: list[tuple[str, int]] = []
        self._groups: dict[str, tuple[str, str, int]] = {}  # group, site and node of each message

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """All that is there, in the order it was asked for."""
        return [self._inbox.pop(each)[1] for each in message_ids if self._there(each)]

    def _there(self, message_id: str) -> bool:
        if message_id not in self._inbox:
            return False
        group, site, _ = self._groups[message_id]
        if group.startswith("train-") and self.slow.get(site, 0) > 0:
            self.slow[site] -= 1
            return False
        begun = max((number for _, number in self.trained), default=0)
        return begun >= self.late.get((site, _round(group)), 0)

    def _push(self, message: Message) -> str:
        about, site = message.metadata, self.sites[message.metadata.dst_node_id].name
        message_id = super()._push(message)
        self._groups[message_id] = about.group_id, site, about.dst_node_id
        if about.message_type == "train":
            self.trained.append((site, _round(about.group_id)))
        return message_id


class LateGrid(ForgetfulLateGrid):
    """As the link's: a message is known until it was used, and can be taken back.

    Attributes:
        taken_back: Site and round of each task that was, and the reason.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.taken_back: list[tuple[str, int, str]] = []

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """What is there, and stays there until it was used."""
        return [self._inbox[each][1] for each in message_ids if self._there(each)]

    def sent_before(self, group: str) -> Mapping[str, int]:
        """Messages of a group that are not used."""
        known = {each: about for each, about in self._groups.items() if each in self._inbox}
        return {each: node for each, (of, _, node) in known.items() if of == group}

    def used(self, message_ids: Sequence[str]) -> None:
        """Let go of answers."""
        for each in message_ids:
            self._inbox.pop(each, None)

    def give_up(self, message_ids: Sequence[str], reason: str) -> None:
        """Take messages back."""
        for each in message_ids:
            if self._inbox.pop(each, None) is not None:
                group, site, _ = self._groups[each]
                self.taken_back.append((site, _round(group), reason))


def _round(group: str) -> int:
    """The round of a group of tasks to train; 0 of others."""
    return int(group.removeprefix("train-").partition(".")[0]) if group.startswith("train-") else 0
