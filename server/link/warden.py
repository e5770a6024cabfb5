"""What must happen though nobody calls: revoked sites lose their calls, silent ones too, and tasks expire.

It looks at the database itself, since ``coordinator revoke`` is another process. Four looks a second and half
a second of patience make that a revoked site is gone within one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from common.errors import CoordinatorUnreachable, MachineError, TrustError
from server.link.bell import Bell
from server.link.door import Call, Door
from server.link.log import LinkLog
from server.link.replies import contract_of
from server.link.sessions import Sessions
from server.link.store import Tasks

TICK_S = 0.25
PATIENCE_S = 0.5
"""How long an ended call may take for its last word."""

SILENCE_S = 30.0
"""How long nothing may move in a call that is no session; keepalive looks after those."""

EXPIRED = "expired"
_private_log = logging.getLogger("consilium.link")


class Warden:
    """Looks after the calls of one coordinator, in a thread of its own.

    Args:
        door: Knows the calls.
        sessions: Who is there.
        tasks: What was asked.
        bell: Rung when a task has ended.
        log: What is told of it.
        now_ms: Milliseconds since 1970, by which the tasks' deadlines are judged.
        also: Called at each look.
        silence_s: See ``SILENCE_S``.
    """

    def __init__(
        self,
        door: Door,
        sessions: Sessions,
        tasks: Tasks,
        bell: Bell,
        log: LinkLog,
        now_ms: Callable[[], int],
        also: Callable[[], None],
        silence_s: float = SILENCE_S,
    ) -> None:
        self._door = door
        self._sessions = sessions
        self._tasks = tasks
        self._bell = bell
        self._log = log
        self._now_ms = now_ms
        self._also = also
        self._silence_s = silence_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="link-warden", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and be gone when this returns."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Do all that is due."""
        calls = self._door.calls()
        self._check_sites(calls)
        now = time.monotonic()
        for call in calls:
            if call.error is None and call.farewell is None and now - call.heard > self._silence_s:
                call.end(CoordinatorUnreachable(f"nothing moved for {self._silence_s:g} s"))
            if call.error is not None and now - call.ended_at > PATIENCE_S:
                call.context.cancel()
        self._expire()
        self._also()

    def _check_sites(self, calls: list[Call]) -> None:
        found: dict[str, TrustError | None] = {}
        for call in calls:
            if call.row is None or call.identity is None or call.error is not None:
                continue
            fingerprint = call.identity.fingerprint
            if fingerprint not in found:
                found[fingerprint] = self._refusal(call)
            refusal = found[fingerprint]
            if refusal is not None:
                call.end(refusal)
                self._bell.ring()  # its tasks have ended, too

    def _refusal(self, call: Call) -> TrustError | None:
        try:
            if call.identity is not None:
                self._door.check(call.identity)
        except TrustError as error:
            return error
        return None

    def _expire(self) -> None:
        for task in self._tasks.expire(self._now_ms()):
            session = self._sessions.of(task.node_id)
            if session is not None:
                session.withdraw(task.id, EXPIRED)
            self._log.note("task.cancelled", task=task.id, contract=contract_of(task) or None, reason=EXPIRED)
            self._bell.ring()

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            try:
                self.look()
            except MachineError as error:  # a full disk now is no reason not to look again
                _private_log.error("%s: %s", error.code, error.private)
            except Exception as defect:  # noqa: BLE001 (the process's edge: a dead thread guards nobody)
                self._door.defect(defect)
