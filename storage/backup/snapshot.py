"""A consistent copy of the catalogue while others write: one snapshot, page by page, into one file without a log."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from storage.errors import Unavailable

_PAGES_AT_ONCE = 4_096
"""16 MiB between two looks at how far it is."""


def snapshot(source: Path, target: Path, tell: Callable[[float], None]) -> None:
    """Copies the SQLite database; `tell` hears the share that is done. Unavailable.

    The transaction that is held meanwhile makes it one moment, whatever is written: nothing is begun again. It keeps
    the write-ahead log from being emptied for as long, so a sweep may have to wait for it.
    """
    try:
        reading, copy = _open(source), sqlite3.connect(target)
        try:
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()  # from here on it is this moment
            reading.backup(copy, pages=_PAGES_AT_ONCE, progress=lambda _status, left, total: tell(1 - left / total))
            reading.execute("COMMIT")
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        finally:
            reading.close()
            copy.close()
        target.chmod(0o600)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"the catalogue cannot be copied: {error}") from error


@contextmanager
def reading_file(path: Path) -> Iterator[Connection]:
    """A SQLite database that nobody uses, as it is: neither migrated nor changed. Unavailable."""
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only=ON")
            yield connection
    except DBAPIError as error:
        raise Unavailable(f"the database {path.name} cannot be read: {error.orig}") from error


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)  # writable: else there may be no way to read its log
    connection.execute("PRAGMA busy_timeout=20000")
    return connection
