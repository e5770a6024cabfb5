"""Why a model says what it says: integrated gradients, occlusion, attention and gates, and checks of them.

Everything stays at the site: a page and overlays show patients' pictures.
"""

from client.explaining.explanation import Explanation, check_served, explain
from client.explaining.overlay import write_overlay
from client.explaining.page import render

__all__ = ["Explanation", "check_served", "explain", "render", "write_overlay"]
