"""The command ``consilium``.

Nothing heavy is imported before a command needs it: ``consilium --help`` must answer at once.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Entry point of the console script; ends the process with a documented exit code."""
    from deploy.cli.screen import ending
    from deploy.installation import check_one_place

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with ending("--json" in sys.argv):
        check_one_place()
        from deploy.cli.app import app

        app(standalone_mode=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A service manager's SIGTERM and a closed terminal end a run as Ctrl-C does: torn down, written down."""
    raise KeyboardInterrupt
