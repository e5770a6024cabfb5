"""A column of JSON that notices when it is not what was written.

A database finds out by itself when its pages do not fit together, not when a digit in a text became another
one. So each value stands there beside its SHA-256: ``{"is": VALUE, "sha256": HEX}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from sqlalchemy import JSON, Dialect
from sqlalchemy.types import TypeDecorator

from common.errors import HomeInvalid

RESTORE = (
    "Put the journal back from a backup, or keep it elsewhere and start again without it: a study that was "
    "under way then needs a new contract."
)


class SealedJSON(TypeDecorator[Any]):
    """JSON whose reading raises HomeInvalid where it is not what was written; None stays None."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The value with its SHA-256."""
        return None if value is None else {"is": value, "sha256": _digest(value)}

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """What makes the value of what the database gives."""
        parsed = self.impl_instance.result_processor(dialect, coltype) or (lambda stored: stored)

        def opened(stored: Any) -> Any:
            try:
                sealed = parsed(stored)
            except ValueError:
                raise damaged() from None
            if sealed is None:
                return None
            if not isinstance(sealed, dict) or sealed.get("sha256") != _digest(sealed.get("is")):
                raise damaged()
            return sealed["is"]

        return opened


def damaged(why: str = "it holds what was not written") -> HomeInvalid:
    """The error for a journal that cannot be relied on."""
    return HomeInvalid(f"the journal is damaged: {why}", hint=RESTORE)


def _digest(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
