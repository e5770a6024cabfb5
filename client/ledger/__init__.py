"""A cohort's privacy ledger: what private training has ever spent, and what the budget still allows.

The ledger outlives rounds, studies, processes, versions, and the cohort's pixels. What a data protection
officer files of it is the certificate (:mod:`client.ledger.certificate`).
"""

from client.ledger.acceptance import Decision, Outcome
from client.ledger.budget import Accounting, Budget
from client.ledger.ledger import SUFFIX, Checked, Ledger
from client.ledger.spending import Spending, StudySpending
from client.ledger.task import Purpose, Reservation, Task, Unit
from common.chain import HEAD_SUFFIX

__all__ = [
    "HEAD_SUFFIX", "SUFFIX",
    "Accounting", "Budget", "Checked", "Decision", "Ledger", "Outcome", "Purpose", "Reservation", "Spending",
    "StudySpending", "Task", "Unit",
]  # fmt: skip
