"""The small hospitals of the unit tests, for whole rounds and whole studies of them."""

from tests.unit.conftest import (
    ask_app,
    faults,
    federation,
    grid_of,
    hospitals,
    make_study,
    pytest_runtest_setup,
    secret,
    site_of,
    text_of,
    write_pictures,
)

__all__ = [
    "ask_app",
    "faults",
    "federation",
    "grid_of",
    "hospitals",
    "make_study",
    "pytest_runtest_setup",
    "secret",
    "site_of",
    "text_of",
    "write_pictures",
]
