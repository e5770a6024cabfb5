"""What the coordinator must not forget of a run: each step is on the disk before the next one begins.

A run is at any moment at one place of this course, and goes on from there whatever process was killed:

    round n   begun      who is asked, for which base, until when
              kept       an update that was admitted, for each site that sent one (or why it did not)
              trained    the model that was made of them
              counted    how that model does, for each site that was asked
              finished   what run.json says of the round

``RunJournal`` is that course. Two keep it: ``DurableJournal`` in a database, with updates in files beside it;
``FleetingJournal`` in memory, for simulations, which have nothing else to lose.
"""

from server.journal.durable import DurableJournal
from server.journal.endings import is_final
from server.journal.fleeting import FleetingJournal
from server.journal.journal import Journal
from server.journal.protocol import Course, RunJournal, Stage
from server.journal.state import RunState

__all__ = [
    "Course",
    "DurableJournal",
    "FleetingJournal",
    "Journal",
    "RunJournal",
    "RunState",
    "Stage",
    "is_final",
]
