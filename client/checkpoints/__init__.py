"""What outlives a task at a site: how far its training is, and a finished answer until it was handed over.

``checkpoint`` brings torch along and is imported where there is training; nothing else here does.
"""

from client.checkpoints.folder import PLAIN, Finished, TaskFolder, study_folder, task_folder
from client.checkpoints.interruption import INTERRUPTION, Interrupted
from client.checkpoints.progress import PROGRESS
from client.checkpoints.tidying import tidy

__all__ = [
    "INTERRUPTION",
    "PLAIN",
    "PROGRESS",
    "Finished",
    "Interrupted",
    "TaskFolder",
    "study_folder",
    "task_folder",
    "tidy",
]
