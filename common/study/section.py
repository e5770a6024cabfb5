"""What all tables of a study file have in common.

A key that is not named in its table is refused. Units are in the names.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Section(BaseModel):
    """A table of the study file: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def with_default(table: Any, key: str, value: str) -> Any:
    """A table whose member of a union is not named is the default one's."""
    return {key: value, **table} if isinstance(table, dict) else table
