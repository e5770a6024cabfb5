"""Where the sites of a run on this machine keep what must outlive a task; gone when the run has ended.

Nothing here touches a hospital's own home: a study that is rehearsed on a cohort leaves nothing in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from client.site import Site
from common.codecs import codec_of
from common.study import Study

FOLDER = ".state"


@contextmanager
def with_states(
    sites: Sequence[Site], study: Study, out: Path, *, lasting: bool = True
) -> Iterator[list[Site]]:
    """The sites, each with a folder of its own in the run's if the study has something to carry over there.

    Args:
        sites: The sites of a run.
        study: What is run.
        out: The run's folder.
        lasting: Whether one process answers for a site in all rounds; what optimisers keep then needs no
            disk.
    """
    kept = study.training.optimizer_state == "kept" and not lasting
    if not kept and not codec_of(study.federation).feedback:
        yield list(sites)
        return
    try:
        yield [replace(site, state=str(out.resolve() / FOLDER / site.name)) for site in sites]
    finally:
        shutil.rmtree(out / FOLDER, ignore_errors=True)
