"""What coordinator and sites say to each other, as typed values and as Flower records.

    query      Describe   -> SiteDescription
    train      TrainTask  -> Contribution
    evaluate   EvaluateTask -> Evaluation

Any of the three may be answered with a Refusal instead. ``reading`` trusts no record.
"""

from common.tasks.reading import (
    read_about,
    read_contribution,
    read_description,
    read_evaluation,
    read_refusal,
    refusing_site,
    weights_of,
)
from common.tasks.values import Describe, EvaluateTask, Evaluation, SiteDescription, TrainTask
from common.tasks.writing import (
    ABOUT,
    ARRAYS,
    REFUSAL,
    contribution_content,
    description_content,
    evaluation_content,
    refusal_content,
    task_content,
    weights_record,
)

__all__ = [
    "ABOUT",
    "ARRAYS",
    "REFUSAL",
    "Describe",
    "EvaluateTask",
    "Evaluation",
    "SiteDescription",
    "TrainTask",
    "contribution_content",
    "description_content",
    "evaluation_content",
    "read_about",
    "read_contribution",
    "read_description",
    "read_evaluation",
    "read_refusal",
    "refusal_content",
    "refusing_site",
    "task_content",
    "weights_of",
    "weights_record",
]
