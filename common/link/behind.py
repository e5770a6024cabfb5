"""Work that goes on behind its caller, one step at a time.

A step waits for the one before it, so at most one is under way: where weights arrive, a piece is hashed and
written while the next one comes, and no more than these two are held.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


class Behind(Generic[Given, Made]):
    """Does one thing again and again in a thread of its own; the block ends when the last step has.

    Args:
        step: What is done.
    """

    def __init__(self, step: Callable[Given, Made]) -> None:
        self._step = step
        self._thread = ThreadPoolExecutor(1, "behind")
        self._last: Future[Made] | None = None

    def __enter__(self) -> Behind[Given, Made]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()

    def go_on(self, *given: Given.args, **named: Given.kwargs) -> None:
        """Begin a step; what the one before it raised is raised here, and nothing is begun."""
        self.result()
        self._last = self._thread.submit(self._step, *given, **named)

    def result(self) -> Made | None:
        """What the last step returned or raised, once it has ended; None where there was none."""
        return None if self._last is None else self._last.result()
