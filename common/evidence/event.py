"""What a fact of an audit log can be, and one row of the table of events."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from common.evidence.entry import Fact, Facts, Head

MOST_CHARACTERS = 1000
_DIGEST = re.compile("[0-9a-f]{64}")


class Kind(StrEnum):
    """What a fact can be."""

    text = "text"
    whole = "count"
    number = "number"
    flag = "flag"
    digest = "digest"
    head = "head"


_HOLDS: dict[Kind, Callable[[Fact], bool]] = {
    Kind.text: lambda fact: isinstance(fact, str) and len(fact) <= MOST_CHARACTERS,
    Kind.whole: lambda fact: type(fact) is int and fact >= 0,
    Kind.number: lambda fact: type(fact) in (int, float) and math.isfinite(fact),  # type: ignore[arg-type]
    Kind.flag: lambda fact: isinstance(fact, bool),
    Kind.digest: lambda fact: isinstance(fact, str) and bool(_DIGEST.fullmatch(fact)),
    Kind.head: lambda fact: isinstance(fact, str) and Head.of(fact) is not None,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the table.

    Attributes:
        what: What happened, in words.
        facts: Facts that it has.
        optional: Facts that it may have; these may also be None.
        others: What all further facts are; None where there are none.
    """

    what: str
    facts: Mapping[str, Kind] = field(default_factory=dict)
    optional: Mapping[str, Kind] = field(default_factory=dict)
    others: Kind | None = None

    def objection(self, facts: Facts) -> str | None:
        """What is wrong with an entry's facts; None if nothing is."""
        missing = sorted(self.facts.keys() - facts.keys())
        if missing:
            return f"lacks {', '.join(missing)}"
        for name, fact in facts.items():
            kind = self.facts.get(name) or self.optional.get(name) or self.others
            if kind is None:
                return f"has no fact {name}"
            if not (_HOLDS[kind](fact) or (fact is None and name in self.optional)):
                return f"{name} is no {kind}"
        return None
