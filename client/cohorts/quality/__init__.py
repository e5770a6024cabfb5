"""The quality of a cohort: its numbers, a page for the hospital, and counts for the coordinator.

Values in, values out: nothing here reads a file, opens a database or touches the network. The page shows
pictures and pseudonyms and stays in the hospital; :func:`summary` holds counts only and may leave it.
"""

from client.cohorts.quality.assessment import Quality, assess
from client.cohorts.quality.facts import CaseFacts, FileCounts
from client.cohorts.quality.page import render
from client.cohorts.quality.picture import CasePicture, picture_of
from client.cohorts.quality.reference import Reference
from client.cohorts.quality.summary import summary

__all__ = [
    "CaseFacts", "CasePicture", "FileCounts", "Quality", "Reference",
    "assess", "picture_of", "render", "summary",
]  # fmt: skip
