"""The course of a run, as the round engine writes it down and reads it again after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from common.tasks import Evaluation
from common.update import Contribution
from common.weights import Weights

Stage = Literal["train", "evaluate", "gate", "late"]
"""What a site gave nothing to; ``gate``: an answer that was not let in as it was read; ``late``: an update of
an earlier round that came too late, or did not come while it could still count."""


@dataclass(frozen=True, slots=True)
class Course:
    """A round that was begun and is not finished.

    Attributes:
        number: Absolute, from 1.
        base_digest: Of the model that is trained from.
        asked: Sites that are to train.
        deadline: When the round stops waiting for them, in seconds since 1970.
        model_digest: Of the model that was made; empty before.
    """

    number: int
    base_digest: str
    asked: tuple[str, ...]
    deadline: float
    model_digest: str = ""


class RunJournal(Protocol):
    """Written by one process; what a method returned from counts, what it raised in did not happen.

    Doing the same again changes nothing. Methods raise JournalTaken where another process has taken the run
    over, and MachineError where they cannot write.
    """

    def require_mine(self) -> None:
        """Nothing, unless another process has taken the run over: ask before files of the run are written."""
        ...

    def finished(self) -> list[dict[str, Any]]:
        """What was said of each finished round, the first one first."""
        ...

    def course(self) -> Course | None:
        """The round that was begun and is not finished."""
        ...

    def begin(self, course: Course) -> None:
        """A round begins."""
        ...

    def base(self, number: int) -> str:
        """Digest of the model that a round was begun from; empty if it was not begun."""
        ...

    def keep(self, contribution: Contribution, number: int | None = None) -> Contribution:
        """An update counts; what is returned is the same one, its arrays where the journal keeps them.

        Args:
            contribution: The update.
            number: In which round, if not in the one that it was trained for.
        """
        ...

    def has_update(self, site: str, trained_for: int) -> bool:
        """Whether an update that a site trained for a round was kept, then or in a later round."""
        ...

    def contributed(self, number: int) -> tuple[str, ...]:
        """The sites whose updates of a round are kept, in the order of their names."""
        ...

    def kept(self, number: int) -> dict[str, Contribution]:
        """The updates of a round by site, in the order of their names."""
        ...

    def refuse(self, number: int, stage: Stage, site: str, reason: str) -> None:
        """A site gave nothing that counts; a later word on the same site replaces this."""
        ...

    def refused(self, number: int, stage: Stage) -> dict[str, str]:
        """Why sites gave nothing that counts, by site."""
        ...

    def trained(self, number: int, model_digest: str, about: Mapping[str, Any], memory: Weights) -> None:
        """A round's model is made, and lies in its file.

        Args:
            number: The round.
            model_digest: The model's digest.
            about: What else is to be known of it, as JSON holds it.
            memory: What the strategy must remember.
        """
        ...

    def known(self) -> Mapping[str, Any]:
        """What :meth:`trained` was told of the last round that was; empty before."""
        ...

    def memory(self) -> Weights:
        """What the strategy had to remember after the last round that was trained; empty before."""
        ...

    def count(self, evaluation: Evaluation) -> None:
        """A site's counts are in."""
        ...

    def counted(self, number: int) -> Mapping[str, Evaluation]:
        """The counts of a round's model by site, in the order of their names."""
        ...

    def readmitted(self) -> list[tuple[int, str]]:
        """Sites that a person has let back in, the first one first, each with its number."""
        ...

    def finish(self, number: int, entry: Mapping[str, Any]) -> None:
        """A round is finished; its updates are let go of."""
        ...

    def end(self, status: str) -> None:
        """Nothing more will be done; ``status`` is how the run ended, as run.json has it."""
        ...
