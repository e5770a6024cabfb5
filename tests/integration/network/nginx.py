"""The nginx of docs/network.md: its block of configuration, run on ports of this machine without root."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "network.md"
MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

_AROUND = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
load_module {module};
events {{}}
"""


@dataclass(frozen=True)
class Nginx:
    """One that runs.

    Attributes:
        port: Where it listens on 127.0.0.1.
        log: The lines that it wrote on connections that ended.
    """

    port: int
    log: Path

    def lines(self) -> list[str]:
        """What it logged."""
        return self.log.read_text().splitlines()


def block() -> str:
    """The configuration that the page shows."""
    (found,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def changed(text: str, **pairs: tuple[str, str]) -> str:
    """A configuration with some of its words in place of others, each of which stands there once."""
    for old, new in pairs.values():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@contextmanager
def running(folder: Path, coordinator: int, website: int, **changes: tuple[str, str]) -> Iterator[Nginx]:
    """The page's nginx, in front of two ports of this machine.

    Args:
        folder: Where it writes.
        coordinator: Where the coordinator listens.
        website: Where a web site does.
        changes: Words of the configuration, and what to write instead.
    """
    port, log = _free_port(), folder / "link.log"
    places = {
        "listen": ("listen 443;", f"listen 127.0.0.1:{port};"),
        "coordinator": ("server 127.0.0.1:8443;", f"server 127.0.0.1:{coordinator};"),
        "website": ("server 127.0.0.1:4443;", f"server 127.0.0.1:{website};"),
        "log": ("/var/log/nginx/link.log", str(log)),
    }
    text = changed(block(), **{**places, **changes})
    conf = folder / "nginx.conf"
    conf.write_text(_AROUND.format(folder=folder, module=MODULE) + text)
    process = subprocess.Popen(
        [str(PROGRAM), "-e", "stderr", "-c", conf],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _wait_for(port, process)
        yield Nginx(port, log)
    finally:
        process.terminate()
        process.communicate(timeout=10)


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("nginx does not listen")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
