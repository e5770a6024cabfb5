"""A PostgreSQL server of the tests' own, in a temporary folder; it listens on a socket there alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

OWNER, PASSWORD = "ada", "quite-s3cret"
START_S = 60.0
# Nothing of a test need outlive a power cut.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "16MB",
}


def _missing(what: str) -> None:
    text = f"needs {what} (tests/debian.txt)"
    if os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
        pytest.fail(text)
    pytest.skip(text)


def _program(name: str) -> str:
    """Debian keeps the server's programs of each release in a folder of its own; the newest is taken."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = str(kept[-1]) if kept else shutil.which(name)
    if found is None:
        _missing("postgresql")
    return str(found)


def _somebody() -> list[str]:
    """What to put before a command so that root does not run it, which PostgreSQL refuses."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        _missing("setpriv, since root may not run PostgreSQL")
    return ["setpriv", "--reuid", "nobody", "--regid", str(pwd.getpwnam("nobody").pw_gid), "--clear-groups"]


@dataclass
class Cluster:
    """A server with databases.

    Attributes:
        folder: Where everything of it is, its socket too.
        process: The server, while it runs.
    """

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    def made(cls, folder: Path) -> Cluster:
        """A cluster that does not run yet."""
        folder.chmod(0o755)
        (folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:
            shutil.chown(folder, "nobody")
            shutil.chown(folder / "password", "nobody")
        told = ["-D", str(folder / "data"), "-U", OWNER, f"--pwfile={folder / 'password'}", "-N"]
        # Not the order of bytes, but that of a dictionary of English.
        told += ["-A", "scram-sha-256", "-E", "UTF8", "--locale-provider=icu", "--icu-locale=en-US"]
        subprocess.run([*_somebody(), _program("initdb"), *told], check=True, capture_output=True, cwd="/")
        return cls(folder)

    def start(self) -> None:
        """Run it until it answers."""
        settings = SETTINGS | {"unix_socket_directories": str(self.folder)}
        told = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*_somebody(), _program("postgres"), "-D", str(self.folder / "data"), *told]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(psycopg.OperationalError):
                self.say(sql.SQL("SELECT 1"))
                return
            time.sleep(0.05)
        pytest.fail((self.folder / "log").read_text())

    def stop(self) -> None:
        """End it at once, without a word to whoever is connected: as a machine does that loses its power."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def say(self, command: sql.Composable) -> None:
        """Have the owner of all say something that concerns no single database."""
        where = {"host": str(self.folder), "user": OWNER, "password": PASSWORD, "dbname": "postgres"}
        with psycopg.connect(**where, autocommit=True) as connection:
            connection.execute(command)

    def database(self) -> str:
        """The URL of a new database."""
        name = f"journal{next(self._numbers)}"
        self.say(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def url(self, database: str, user: str = OWNER, password: str = PASSWORD) -> str:
        """Of a database, whether there is one or not."""
        return f"postgresql://{user}:{password}@/{database}?host={self.folder}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A server that runs."""
    _program("initdb")
    folder = Path(tempfile.mkdtemp(prefix="consilium-pg-"))  # pytest's own folders are closed to others
    try:
        made = Cluster.made(folder)
        made.start()
        yield made
        made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_database(cluster: Cluster) -> Callable[[], str]:
    """``new_database()``: the URL of an empty database."""
    if cluster.process is None:  # a test before this one had it stopped
        cluster.start()
    return cluster.database
