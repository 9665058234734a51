"""The catalogue in a file: SQLite in write-ahead mode, used by several processes of one machine at once.

Writers begin IMMEDIATE, so a transaction that read something may rely on it until it commits; readers see one snapshot
and block nobody. Deleted content is overwritten (`secure_delete`), which reaches the main file at a checkpoint.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

from storage.errors import Unavailable

_BUSY_TIMEOUT_S = 20
"""A writer waits this long for another: an epoch change of a large bucket holds the lock for seconds."""

_POOL_CONNECTIONS = 8
_POOL_OVERFLOW = 24
"""Threads of one process that read at once; beyond their sum they wait for each other."""

_POLL_S = 0.02
_CACHE_KIB = 16_384
"""Pages that a connection holds: with SQLite's own 2 MB a change of epoch writes the same pages again and again."""
_PRAGMAS = (
    *("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON", "temp_store=MEMORY"),
    f"cache_size=-{_CACHE_KIB}",
)


class SQLite:
    """One file, with its write-ahead log beside it."""

    FILE = "catalogue.sqlite3"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)),
            pool_size=_POOL_CONNECTIONS,
            max_overflow=_POOL_OVERFLOW,
            hide_parameters=True,  # of failed statements in logs
            connect_args={"timeout": _BUSY_TIMEOUT_S},
        )
        event.listen(self.engine, "connect", _prepare_connection)

    def begin(self, connection: Connection, *, writing: bool) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    def reason(self, error: DBAPIError) -> str:
        return f"{error.orig}; check its disk and the folder's owner"

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Changing the journal mode does not wait for other processes."""
        with _opened(self._path.with_name("catalogue.lock")) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def exclusive(self, name: str, folder: Path, wait_s: float, taken: str) -> Iterator[None]:
        """`flock` on a file, which the kernel frees when its holder dies."""
        folder.mkdir(mode=0o700, exist_ok=True)
        with _opened(folder / f"{name}.lock") as handle:
            deadline = time.monotonic() + wait_s
            while not _try(handle):
                if time.monotonic() > deadline:
                    raise Unavailable(taken)
                time.sleep(_POLL_S)
            yield

    def check(self) -> None:
        """Nothing: what could be wrong with a file is found when the store is opened."""

    def clock(self, connection: Connection) -> None:
        """It has none of its own."""

    def scrub(self, writer: AbstractContextManager[object]) -> bool:
        """Moves everything into the main file and empties the write-ahead file; False while a reader blocks that."""
        with self.engine.connect() as connection:
            _checkpoint(connection, "PASSIVE")  # nearly all of it, beside writers
            with writer:
                return _checkpoint(connection, "TRUNCATE")


def _checkpoint(connection: Connection, mode: str) -> bool:
    cursor = connection.connection.cursor()  # no transaction: a checkpoint works outside of any
    try:
        row = cursor.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    finally:
        cursor.close()
    return row is not None and row[0] == 0


def _prepare_connection(raw: sqlite3.Connection, _record: object) -> None:
    raw.isolation_level = None  # transactions are begun by `begin` alone
    for pragma in _PRAGMAS:
        raw.execute(f"PRAGMA {pragma}").close()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        file = path.open("ab")
    except OSError as error:
        raise Unavailable(f"the data folder cannot be written: {error.strerror}; check its owner and disk") from error
    with file:
        yield file.fileno()


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
