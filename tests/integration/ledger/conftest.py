"""A site's ledger, and what is spent from it."""

from tests.unit.conftest import hospitals, make_study, site_of
from tests.unit.ledger.conftest import _no_waiting_for_the_disk, bench, home, task

__all__ = ["_no_waiting_for_the_disk", "bench", "home", "hospitals", "make_study", "site_of", "task"]
