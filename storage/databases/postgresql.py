"""The catalogue on a PostgreSQL server, used by processes of any number of machines.

One writer at a time, as on SQLite: a writing transaction begins with an advisory lock that all of them take, and the
lock ends with the transaction. It must be READ COMMITTED: the snapshot of a stricter one is taken before the lock is
waited for, and would miss what the holder before has committed; since nobody else writes, what was read stays true all
the same. Readers see one snapshot, REPEATABLE READ, and block nobody.

A lock by name is an advisory lock of a session of its own: a lost connection is a lost lock, also where its holder has
not noticed. Sessions keep settings and locks, so no proxy that shares them out by transaction may stand in between.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from storage.databases.address import PostgresAddress
from storage.errors import Unavailable
from storage.tables import metadata

_CONNECT_TIMEOUT_S = 5
"""Longer than any network that is fit for a catalogue takes."""
_LOCK_TIMEOUT_S = 20
"""A writer waits this long for another: an epoch change of a large bucket holds the lock for seconds."""
_STATEMENT_TIMEOUT_S = 60
"""No statement of ours takes seconds; must be longer than a lock is waited for."""
_IDLE_TIMEOUT_S = 60
"""A transaction whose process is frozen is ended, and with it the only writer's lock."""
_VANISHED_AFTER_S = 30
"""A peer that is silent for so long is asked three times whether it is there, and is then gone, on both sides."""
_ASKED_EVERY_S = 10

_POOL_CONNECTIONS = 8
_POOL_OVERFLOW = 24
"""As for SQLite: connections of one process. A server's max_connections must hold those of five to ten processes."""

_SETTINGS = {
    "lock_timeout": f"{_LOCK_TIMEOUT_S}s",
    "statement_timeout": f"{_STATEMENT_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": f"{_IDLE_TIMEOUT_S}s",
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": f"{_VANISHED_AFTER_S}s",
    "tcp_keepalives_interval": f"{_ASKED_EVERY_S}s",
    "tcp_keepalives_count": "3",
}
_WEAK = "current_setting('synchronous_commit') IN ('off', 'local')"
_DURABLE = f"SELECT set_config('synchronous_commit', 'on', false) WHERE {_WEAK}"  # our own words
"""What a commit promises is not for the server's configuration to weaken; a stronger promise stays."""

_PUBLIC = 0o077


def lock_number(name: str) -> int:
    """The advisory lock of that name: PostgreSQL counts them in 64 bits, in each database by itself."""
    return int.from_bytes(hashlib.sha256(b"callvault " + name.encode()).digest()[:8], "big", signed=True)


_WRITER = lock_number("writer")
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock({_WRITER})"
_CLOCK = "SELECT extract(epoch FROM clock_timestamp())"
_PLAIN = {"no_parameters": True}
"""Sent as it is, so that two statements are one journey to the server."""


class PostgreSQL:
    """One database of a server."""

    @classmethod
    def from_url(cls, url: str) -> PostgreSQL:
        """The database that a URL names: see `storage.databases.address`."""
        return cls(PostgresAddress.parse(url))

    def __init__(self, address: PostgresAddress) -> None:
        self.is_local = address.is_local
        self._parameters = address.parameters() | {
            "application_name": "callvault",
            "autocommit": True,  # transactions are begun by `begin` alone
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "keepalives_idle": _VANISHED_AFTER_S,
            "keepalives_interval": _ASKED_EVERY_S,
            "keepalives_count": 3,
            "tcp_user_timeout": (_VANISHED_AFTER_S + 3 * _ASKED_EVERY_S) * 1000,
            "target_session_attrs": "read-write",
            "options": " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items()),
        }
        self.engine = self._make_engine(pool_size=_POOL_CONNECTIONS, max_overflow=_POOL_OVERFLOW)
        self._apart = self._make_engine(poolclass=NullPool)
        """Sessions beside the pool: whoever waits for a lock must not keep its holder from a connection."""
        event.listen(self.engine, "connect", _make_durable)

    def begin(self, connection: Connection, *, writing: bool) -> None:
        connection.exec_driver_sql(_WRITE if writing else _READ, execution_options=_PLAIN)

    def reason(self, error: DBAPIError) -> str:
        """The first line of the server's words: those that follow may show a row's values."""
        cause = error.orig
        if isinstance(cause, errors.LockNotAvailable):
            return f"somebody else has written for more than {_LOCK_TIMEOUT_S} s; try again"
        if isinstance(cause, errors.QueryCanceled):
            return f"a statement took more than {_STATEMENT_TIMEOUT_S} s; look at the server's load"
        first = str(cause).partition("\n")[0].rstrip(": ")
        return f"{first}; check that the server of store.catalogue runs and lets us in"

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Nothing: making tables is a transaction like any other here."""
        yield

    @contextmanager
    def exclusive(self, name: str, folder: Path, wait_s: float, taken: str) -> Iterator[None]:
        """An advisory lock of a session of its own, which the server frees when the connection ends."""
        with self._apart.connect() as connection:
            settings = f"SET lock_timeout = '{wait_s}s'; SET statement_timeout = 0"
            connection.exec_driver_sql(settings, execution_options=_PLAIN)
            try:
                connection.exec_driver_sql(f"SELECT pg_advisory_lock({lock_number(name)})")
            except DBAPIError as error:
                if isinstance(error.orig, errors.LockNotAvailable):
                    raise Unavailable(taken) from None
                raise
            yield

    def clock(self, connection: Connection) -> int | None:
        """The server's, unless it runs on this machine."""
        if self.is_local:
            return None
        return int(connection.exec_driver_sql(_CLOCK).scalar_one())

    def check(self) -> None:
        with self._apart.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def scrub(self, writer: AbstractContextManager[object]) -> bool:
        """Vacuums the tables that erasing deletes from: their space is written over by rows to come.

        What it does not reach: rows that a reader's snapshot still sees, bytes of deleted rows in a page's free space
        until then, the write-ahead log and its archive, standbys, base backups, blocks that the file system has freed.
        All of it is waste paper, because the provider's key is destroyed; no checkpoint is forced, as it would not
        shorten that list. Writers go on meanwhile.
        """
        tables = [name for name, table in metadata.tables.items() if "wrapped" in table.c or "artefact" in table.c]
        try:
            with self._apart.connect() as connection:
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.exec_driver_sql(f"VACUUM {', '.join(tables)}")
        except DBAPIError as error:
            if isinstance(error.orig, errors.LockNotAvailable):
                return False
            raise
        return True

    def _make_engine(self, **pool: Any) -> Engine:
        """Without the parameters of failed statements in logs."""
        return create_engine(
            "postgresql+psycopg://", creator=self._connect, hide_parameters=True, use_native_hstore=False, **pool
        )

    def _connect(self) -> psycopg.Connection[Any]:
        if isinstance(passfile := dict(self._parameters).get("passfile"), str):
            _check_private(Path(passfile))
        return psycopg.connect(**self._parameters)  # type: ignore[arg-type]  # libpq's parameters, each of its type


def _make_durable(raw: psycopg.Connection[Any], _record: object) -> None:
    raw.execute(_DURABLE)


def _check_private(path: Path) -> None:
    """libpq passes over a file that others may read, and then says that there is no password."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Unavailable(f"the catalogue's passfile cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode) or mode & _PUBLIC:
        raise Unavailable("the catalogue's passfile is open to others; chmod 600 mends it")
