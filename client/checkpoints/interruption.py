"""How training is asked to stop: it writes down how far it is, and ends.

A signal comes at any moment and to the whole process, so there is one such request in a process.
"""

from __future__ import annotations


class Interrupted(BaseException):
    """Training stopped because it was asked to, and its checkpoint is on the disk.

    No :class:`Exception`, for it is neither a defect nor an answer: nothing may be made of it but the end of
    the process, as with KeyboardInterrupt.
    """


class Interruption:
    """Whether training was asked to stop; a signal handler may ask."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        """Have training stop after the step that it is at."""
        self.asked = True


INTERRUPTION = Interruption()
"""This process's."""
