"""Cases to train on, and a full disk."""

from tests.unit.checkpoints.conftest import cases, full_disk, model_of
from tests.unit.conftest import hospitals, make_study, site_of

__all__ = ["cases", "full_disk", "hospitals", "make_study", "model_of", "site_of"]
