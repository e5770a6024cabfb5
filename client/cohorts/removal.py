"""Letting go of a cohort: its rows, its pixels, and a line in the audit log that it was there."""

from __future__ import annotations

import shutil
from contextlib import closing

from client.cohorts.catalogue import Catalogue
from client.cohorts.home import Home
from common.files import unwritable


def remove_cohort(home: Home, name: str) -> int:
    """How many cases a cohort had that is gone now.

    Raises:
        CohortUnknown: There is none of that name.
        HomeBusy: Another process is changing it.
        OutputUnwritable: Its pixels cannot be deleted; the cohort then stays.
    """
    with home.changing(name), closing(Catalogue(home.database)) as catalogue:
        cohort = catalogue.cohort(name)
        cases = len(catalogue.cases(cohort.id))
        home.audit("cohort.removed", cohort=name, cases=cases, fingerprint=cohort.fingerprint)
        folder = home.cohort_folder(name)
        try:
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise unwritable(folder, error) from None
        catalogue.remove(cohort.id)
    return cases
