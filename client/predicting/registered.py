"""Cases of a cohort that the site has registered, named by their pseudonyms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from client.cohorts.case import Case
from client.cohorts.cohort import Cohort, open_cohort
from client.cohorts.home import open_home
from client.predicting.answer import Refused
from client.predicting.case import Given
from client.predicting.contract import check_modality, check_pictures
from client.predicting.layout import Layout
from client.predicting.recorded import record_given
from client.tensors import Pictures, picture_steps
from common.errors import DataError
from common.study import Steps, Study


def cohort_cases(
    home: Path | None, name: str, study: Study, split: str | None = None
) -> Iterator[Given | Refused]:
    """The cases of a cohort, whether they have labels or not.

    Args:
        home: The site's home; None for the usual one.
        name: Of the cohort.
        study: What the model was trained for.
        split: train, val or test; None for all.

    Raises:
        CohortUnknown, HomeMissing: It cannot be opened.
    """
    cohort = open_cohort(open_home(home), name)
    for case in cohort.cases:
        if split is None or case.split == split:
            try:
                cohort.verify([case])
                yield _given(cohort, case, study)
            except DataError as error:
                yield Refused.of(case.name, error)


def _given(cohort: Cohort, case: Case, study: Study) -> Given:
    if isinstance(study.sequence, Steps):
        return record_given(case.name, *cohort.record(case), cohort.row.rules.variables, study)
    content = case.content
    check_modality(study, content.modality)
    frames, display = cohort.pictures(case)
    between, rows, columns = content.spacing_mm
    spacing_mm = None if rows is None or columns is None else (between, rows, columns)
    pictures = Pictures(frames, display, spacing_mm, case.name)
    check_pictures(study, pictures.shape, content.spacing_mm)
    steps = picture_steps(pictures, study, torch.device("cpu"))
    return Given(case.name, steps, layout=Layout.of(pictures.shape, study, content.spacing_mm))
