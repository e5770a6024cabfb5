"""What a process that serves for ever owes whoever started it: lines, readiness, a clean end."""

from deploy.daemons.pulse import Pulse
from deploy.daemons.stopping import stopping
from deploy.daemons.supervision import Standing, supervised

__all__ = ["Pulse", "Standing", "stopping", "supervised"]
