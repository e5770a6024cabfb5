"""One hospital of a federation on this machine: the daemon that a hospital runs, its cases where it is told.

Started as a process with two arguments: the site's home, and a file that holds its Flower node config.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from client.cohorts.home import open_home
from client.daemon import SiteDaemon, SiteStatus
from client.site import site_of
from common.errors import ConsiliumError
from deploy.daemons import stopping


def main(arguments: Sequence[str]) -> int:
    """The process's exit status once it was told to stop, or could not go on."""
    home, config = map(Path, arguments)
    site = site_of(json.loads(config.read_bytes()))
    try:
        with stopping("consilium.site", lambda: SiteStatus.read(home)) as stop:
            SiteDaemon(open_home(home), place=lambda _: site).run(stop)
    except ConsiliumError as error:
        sys.stderr.write(f"{error.code}: {error.private or error.public}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
