"""What every error is: a code, a sentence that may leave a site, a hint, and what stays private."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """What crosses the network of an error: a protocol value, not a crash."""

    code: str
    public: str
    hint: str

    def __str__(self) -> str:
        return f"{self.code}: {self.public}"


class ConsiliumError(Exception):
    """Root of the tree.

    Args:
        private: What happened, for the person at this machine. Defaults to the public sentence.
        hint: What to do next, where this occurrence knows better than its class. Must be as free of
            patient data and paths as ``public``.
    """

    code = "internal"
    public = "Consilium failed in a way it does not know."
    hint = "Please report this with the command you ran and the lines above."
    exit_code = 1

    def __init__(self, private: str = "", *, hint: str = "") -> None:
        super().__init__(private or self.public)
        self.private = private or self.public
        if hint:
            self.hint = hint

    @staticmethod
    def of_code(code: str, private: str = "") -> ConsiliumError:
        """An error of the class that has ``code``, or of the root if none has."""
        classes: list[type[ConsiliumError]] = [ConsiliumError]
        for known in classes:
            if vars(known).get("code") == code:  # its own, not one it inherits
                return known(private)
            classes.extend(known.__subclasses__())
        return ConsiliumError(private)

    def refusal(self) -> Refusal:
        """Code, public sentence and hint: all that may leave this machine."""
        return Refusal(self.code, self.public, self.hint)
