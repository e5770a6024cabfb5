"""The hospital's daemon: it runs what the hospital agreed to, and nothing else."""

from client.daemon.daemon import SiteDaemon
from client.daemon.status import STATUS_FILE, SiteStatus

__all__ = ["STATUS_FILE", "SiteDaemon", "SiteStatus"]
