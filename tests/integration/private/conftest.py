"""What the engine of private training is compared with."""

from tests.unit.conftest import ask_app, hospitals, make_study, pytest_runtest_setup, site_of
from tests.unit.private.conftest import expected, found

__all__ = ["ask_app", "expected", "found", "hospitals", "make_study", "pytest_runtest_setup", "site_of"]
