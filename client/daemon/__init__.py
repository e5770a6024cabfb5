"""The hospital's daemon: it runs what the hospital agreed to, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from client.daemon.status import STATUS_FILE, SiteStatus

if TYPE_CHECKING:
    from client.daemon.daemon import SiteDaemon

__all__ = ["STATUS_FILE", "SiteDaemon", "SiteStatus"]


def __getattr__(name: str) -> Any:
    """The daemon's class, imported when asked for: who asks how the site stands need not wait for torch.

    Raises:
        AttributeError: There is nothing of that name.
    """
    if name != "SiteDaemon":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from client.daemon.daemon import SiteDaemon

    return SiteDaemon
