"""The catalogue's database: connections, transactions and migrations; what stands in it is `tables`.

SQLite in write-ahead mode, used by several processes at once. Writers begin IMMEDIATE, so a transaction that read
something may rely on it until it commits; readers see one snapshot and block nobody. Deleted content is overwritten
(`secure_delete`), which reaches the main file at a checkpoint: `scrub` makes one.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storage.errors import AlreadyExists, Unavailable

HEAD = "0011"
"""The newest migration. Starting at it skips loading Alembic, which takes longer than everything else here."""

_BUSY_TIMEOUT_S = 20
"""A writer waits this long for another: an epoch change of a large bucket holds the lock for seconds."""

_POOL_CONNECTIONS = 8
_POOL_OVERFLOW = 24
"""Threads of one process that read at once; beyond their sum they wait for each other."""

_WRITING = "callvault_writing"


class Catalogue:
    """Transactions on the catalogue in `folder`; thread-safe, and safe beside other processes."""

    def __init__(self, folder: Path) -> None:
        """Opens the database, creates it if missing, and brings its tables up to date."""
        self.path = folder / "catalogue.sqlite3"
        self._writer = threading.Lock()
        url = URL.create("sqlite", database=str(self.path))
        self._engine = create_engine(
            url, pool_size=_POOL_CONNECTIONS, max_overflow=_POOL_OVERFLOW, connect_args={"timeout": _BUSY_TIMEOUT_S}
        )
        event.listen(self._engine, "connect", _prepare_connection)
        event.listen(self._engine, "begin", _begin)
        try:
            with _exclusive(folder / "catalogue.lock"):  # changing the journal mode does not wait for other processes
                self._migrate()
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Closes every connection that is not in use."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent snapshot."""
        with _translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The write lock, from the first statement to the durable commit; rolled back if the block raises."""
        with _translated(), self._writer, self._engine.connect() as plain:
            connection = plain.execution_options(**{_WRITING: True})
            with connection.begin():
                yield connection

    def scrub(self) -> bool:
        """Moves everything into the main file and empties the write-ahead file; False while a reader blocks that."""
        with _translated(), self._writer, self._engine.connect() as connection:
            cursor = connection.connection.cursor()  # no transaction: a checkpoint works outside of any
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            row = cursor.fetchone()
            cursor.close()
        return row is not None and row[0] == 0

    def _migrate(self) -> None:
        with self.reading() as connection:
            known = connection.scalar(text("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"))
            version = connection.scalar(text("SELECT version_num FROM alembic_version")) if known else None
        if version == HEAD:
            return
        from alembic import command  # noqa: PLC0415  # slow to load and seldom needed
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _prepare_connection(raw: sqlite3.Connection, _record: object) -> None:
    raw.isolation_level = None  # transactions are begun by `_begin` alone
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON", "temp_store=MEMORY"):
        raw.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise AlreadyExists(f"the catalogue refuses a row: {error.orig}") from error
    except PoolTimeoutError as error:
        raise Unavailable("all connections to the catalogue are in use; try again") from error
    except DBAPIError as error:
        raise Unavailable(
            f"the catalogue cannot be used: {error.orig}; check its disk and the folder's owner"
        ) from error


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    try:
        handle = path.open("ab")
    except OSError as error:
        raise Unavailable(f"the data folder cannot be written: {error.strerror}; check its owner and disk") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
