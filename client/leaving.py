"""The last thing before an update leaves: within the hospital's bounds, and as the study's codec writes it.

Invariant: the same round trained again from the same base gives the same bytes.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from client.policy import bounded_update
from client.residuals import Residuals, residuals_of
from client.site import Site
from common.codecs import carried, codec_of, encode
from common.study import Study
from common.tasks import TrainTask
from common.weights import Weights


def left_out_before(site: Site, task: TrainTask, study: Study) -> Weights:
    """What the study's codec left out of the site's last update before a task's round.

    Asked for before the round is trained: nothing is computed, and no privacy spent, for an update that could
    not leave.

    Raises:
        HomeInvalid: The codec leaves something out, and the site has no folder to keep it in, or what it kept
            there is damaged.
    """
    residuals = _residuals(site, task, study)
    return {} if residuals is None else residuals.before(task.round)


def leaving_update(
    site: Site, task: TrainTask, study: Study, delta: Weights, left_out: Weights
) -> dict[str, NDArray[Any]]:
    """The update as it leaves, under the names that its arrays travel under.

    What the last update left out is added first, so that the hospital's bound holds for the sum. What this
    one leaves out is kept for the next.

    Raises:
        DiskFull, OutputUnwritable: It cannot be kept.
    """
    encoded = encode(codec_of(study.federation), bounded_update(site, carried(delta, left_out)))
    residuals = _residuals(site, task, study)
    if residuals is not None and encoded.left_out is not None:
        residuals.keep(task.round, encoded.left_out)
    return encoded.arrays


def _residuals(site: Site, task: TrainTask, study: Study) -> Residuals | None:
    """Where what the study's codec leaves out is kept; None for a codec that leaves nothing out."""
    return residuals_of(site, task.study, task.seed) if codec_of(study.federation).feedback else None
