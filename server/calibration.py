"""The calibration of a study's model, fitted to what sites count of their validation cases.

Neither test cases nor training cases have a part in the fit: of test cases its figures would be too good, and
on training cases a model is surer than it may be. Where no site has validation cases there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.metrics import EvaluationSums, before_and_after, fitted


def calibration_of(
    validated: Mapping[str, EvaluationSums], tested: Mapping[str, EvaluationSums]
) -> dict[str, Any] | None:
    """A calibration as run.json carries it; None where validation cases ask for none.

    Args:
        validated: Each site's counts of validation cases: what is fitted to.
        tested: Each site's counts of test cases: what ``tested`` says of, as is and calibrated.
    """
    if not validated:
        return None
    total = _total(validated)
    found = fitted(total)
    if found is None:
        return None
    return {
        **found.to_json(),
        "split": "val",
        "n": total.n,
        "sites": sorted(validated),
        "tested": before_and_after(_total(tested), found) if tested else None,
    }


def _total(counts: Mapping[str, EvaluationSums]) -> EvaluationSums:
    first, *_ = counts
    return type(counts[first]).total(counts[site] for site in sorted(counts))
