"""A journal's database on a server: PostgreSQL, by URL.

Several coordinators may share it, each with runs of its own, and two may want the same run. Writers take
turns run by run: each transaction that writes locks the run's row first (``SELECT ... FOR UPDATE``) and
touches rows of that run alone. Under READ COMMITTED who waited for that lock sees all that was committed
meanwhile, so no transaction is ever told to try again, and none waits for another that waits for it. Readers
have one snapshot (REPEATABLE READ, read only), which PostgreSQL never ends for what others write.

A coordinator that stands still in the middle of a transaction, or whose network is gone, loses its lock after
``IDLE_MS``, before whoever waits for it gives up (``LOCK_MS``).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from common.errors import (
    ConsiliumError,
    DatabaseUnavailable,
    DiskFull,
    ExtraMissing,
    HomeBusy,
    HomeInvalid,
    OutputUnwritable,
)

DRIVERS = ("postgresql", "postgres", "postgresql+psycopg")
IDLE_MS, LOCK_MS = 20_000, 30_000
CONNECTION = {
    "application_name": "consilium",
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,  # milliseconds
    "prepare_threshold": None,  # a pooler in between may hand the next transaction to another connection
}
"""libpq's parameters, where the URL has none of its own: a server that is gone is noticed within a minute."""

STATES: dict[str, type[ConsiliumError]] = {
    "53100": DiskFull,
    "25006": OutputUnwritable,
    "42501": OutputUnwritable,
    "40": HomeBusy,
    "55": HomeBusy,
    "08": DatabaseUnavailable,
    "25P03": DatabaseUnavailable,
    "53": DatabaseUnavailable,
    "57": DatabaseUnavailable,
    "58": DatabaseUnavailable,
    "XX": DatabaseUnavailable,
}
"""What PostgreSQL's codes and classes of errors (Appendix A of its manual) are to a person."""

_ADDRESS = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
_URL = (
    f"Write {_ADDRESS} in `journal` of coordinator.toml; in a password, @ : / and % as %40 %3A %2F and %25."
)
_INSTALL = "pip install 'consilium[postgres]'"
_CONNECT = (
    "See that it runs and lets this user in: host, database, user and password stand in `journal` of "
    "coordinator.toml. Nothing is lost: start the coordinator again then."
)
_HINTS: dict[type[ConsiliumError], str] = {
    DiskFull: "Free some space on the machine of the database. Nothing is lost: start the coordinator again "
    "then.",
    OutputUnwritable: "The user in `journal` of coordinator.toml must own the database, and it must not be a "
    "read-only copy: CREATE DATABASE consilium OWNER that user.",
    HomeBusy: "Another coordinator writes to the same run. One coordinator conducts a run: stop the other.",
}


class Postgresql:
    """A :class:`common.database.Backend` on a PostgreSQL server.

    Args:
        address: Its URL; whatever libpq knows may stand behind a question mark (``?sslmode=verify-full``).

    Raises:
        HomeInvalid: It is no URL, or of another kind of database.
        ExtraMissing: psycopg is not installed.
    """

    def __init__(self, address: str) -> None:
        url = _parsed(address)
        self.name = _shown(url)
        mine = {name: value for name, value in CONNECTION.items() if name not in url.query}
        try:
            engine = create_engine(url, connect_args=mine, pool_pre_ping=True)
        except ImportError:
            raise ExtraMissing("a journal in PostgreSQL needs psycopg", hint=_INSTALL) from None
        event.listen(engine, "connect", _prepare)
        self.reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.writer = engine.execution_options(isolation_level="READ COMMITTED")

    def coded(self, error: DBAPIError) -> ConsiliumError | None:
        """See :class:`common.database.Backend`."""
        told = f"{self.name}: {' '.join(str(error.orig).split())}"
        if error.statement is None:  # it was not let in, or nobody was there
            return DatabaseUnavailable(told, hint=_CONNECT)
        state = getattr(error.orig, "sqlstate", None) or ""
        kind = STATES.get(state) or STATES.get(state[:2])
        if kind is None and isinstance(error, (OperationalError, InterfaceError)):
            kind = DatabaseUnavailable
        return None if kind is None else kind(told, hint=_HINTS.get(kind, ""))


def _parsed(address: str) -> URL:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # whose text may hold a part of the password
        raise HomeInvalid("the journal's URL cannot be read", hint=_URL) from None
    if url.drivername not in DRIVERS:
        raise HomeInvalid(
            f"a journal is kept in a file or in PostgreSQL; the URL says {url.drivername}", hint=_URL
        )
    return url.set(drivername="postgresql+psycopg")


def _shown(url: URL) -> str:
    """The URL as messages may have it: without the password, which may stand among its parameters too."""
    host = url.host or "".join(url.query.get("host", ""))  # a socket's folder is among the parameters
    return URL.create("postgresql", url.username, None, host, url.port, url.database).render_as_string()


def _prepare(connection: Any, record: Any) -> None:
    """Have the server end what stands still, and have a commit mean that it is on the disk."""
    limits = {"lock_timeout": LOCK_MS, "idle_in_transaction_session_timeout": IDLE_MS}
    with connection.cursor() as cursor:
        for name, limit_ms in limits.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, f"{limit_ms}ms"))
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone() == ("off",):
            cursor.execute("SET synchronous_commit = on")
    connection.commit()
