"""What the hospital agreed to, and whether a task is part of it. Nothing runs that was not approved.

- ``register``: contracts received and decisions made about them; ``standing``: what the decisions come to.
- ``check``: whether a task may run now, and whether a contract may be approved.
"""

from client.consent.check import Approved, check_task, consented, require_approvable
from client.consent.register import Consents
from client.consent.standing import Standing, Status

__all__ = ["Approved", "Consents", "Standing", "Status", "check_task", "consented", "require_approvable"]
