"""Everything that can keep a site from training, looked at one by one: ``consilium site check``."""

from client.checks.site import SiteCheck

__all__ = ["SiteCheck"]
