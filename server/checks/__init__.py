"""All that can keep a coordinator from its work, looked at one by one: ``consilium coordinator check``."""

from server.checks.coordinator import CoordinatorCheck

__all__ = ["CoordinatorCheck"]
