"""A finished model put to use at a site: files in, probabilities out, with how sure they are.

Nothing here sends anything. What is written names a case by the file's name that was given and, for DICOM, by
its SOP Instance UIDs; nothing else of a header is kept. A new task is one module, and one entry in ``TASKS``.
"""

from client.predicting.answer import Answer, Refused
from client.predicting.case import Given
from client.predicting.model import TrainedModel, open_model
from client.predicting.predicting import Predicted, predicted
from client.predicting.reading import read_inputs
from client.predicting.registered import cohort_cases

__all__ = [
    "Answer",
    "Given",
    "Predicted",
    "Refused",
    "TrainedModel",
    "cohort_cases",
    "open_model",
    "predicted",
    "read_inputs",
]
