"""Why a model says what it says: integrated gradients, occlusion, attention and gates, and checks of them.

Everything stays at the site: a page and overlays show patients' pictures. A new task is one function and one
entry in the table of :mod:`client.explaining.question`.
"""

from client.explaining.explanation import Explanation, explain
from client.explaining.overlay import write_overlay
from client.explaining.page import render
from client.explaining.question import Wanted, check_served
from client.explaining.writing import document_of, write_files

__all__ = [
    "Explanation",
    "Wanted",
    "check_served",
    "document_of",
    "explain",
    "render",
    "write_files",
    "write_overlay",
]
