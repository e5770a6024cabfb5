"""What daemons share as commands: lines on the console, a service manager that knows, a clean end."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deploy.daemons.pulse import Pulse
from deploy.daemons.supervision import Standing, supervised


@contextmanager
def stopping(name: str, standing: Callable[[], Standing]) -> Iterator[Pulse]:
    """An event that Ctrl-C or SIGTERM sets; during the block the daemon's log goes to the console.

    Lines hold codes and names of studies and sites, never what an error says of files or rows.

    Args:
        name: Of the daemon's log.
        standing: How the daemon stands, for a service manager that wants to know.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    log, stop = logging.getLogger(name), Pulse()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    threading.excepthook, hook = _defect(log), threading.excepthook
    signals = (signal.SIGINT, signal.SIGTERM)
    # In a thread: what it interrupts may hold the event's lock.
    before = [signal.signal(each, lambda *_: threading.Thread(target=stop.set).start()) for each in signals]
    try:
        with supervised(stop, standing):
            yield stop
    finally:
        for each, handled in zip(signals, before, strict=True):
            signal.signal(each, handled)
        threading.excepthook = hook
        log.removeHandler(handler)


def _defect(log: logging.Logger) -> Callable[[threading.ExceptHookArgs], None]:
    """Tells of a thread that a defect has ended: type and place of the error, as its text may quote data."""

    def tell(ended: threading.ExceptHookArgs) -> None:
        place = traceback.extract_tb(ended.exc_traceback)[-1:]
        where = "".join(f" in {frame.name}, line {frame.lineno}" for frame in place)
        log.error("internal: %s%s", ended.exc_type.__name__, where)

    return tell
