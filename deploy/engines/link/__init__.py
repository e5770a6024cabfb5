"""A federation on this machine, real in everything but distance: its link, its consent, its evidence."""

from deploy.engines.link.engine import LinkEngine

__all__ = ["LinkEngine"]
