"""The catalogue: connections, transactions and migrations; what stands in it is `tables`, where it is `databases`.

Several processes use it at once. A writing transaction is the only one, so what it read it may rely on until it
commits; readers see one snapshot and block nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from storage.databases import Database, mark_elsewhere, open_database
from storage.databases.statements import STATEMENTS, make_tables
from storage.errors import AlreadyExists, Unavailable

HEAD = "0019"
"""The newest migration. Starting at it skips loading Alembic, which takes longer than everything else here."""

_VERSION_TABLE = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY)
"""
"""As Alembic makes it."""
_WRITING = "callvault_writing"


class Catalogue:
    """Transactions on the catalogue of the data folder `folder`; thread-safe, and safe beside other processes."""

    def __init__(self, folder: Path, url: str = "") -> None:
        """Opens the database, makes what is missing, and brings its tables up to date. `url`: see `databases`."""
        self._database = open_database(url, folder)
        self._writer = threading.Lock()
        event.listen(self._database.engine, "begin", self._begin)
        try:
            with _translated(self._database), self._database.opening():
                self._migrate()
            if url:
                mark_elsewhere(folder)
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        """Closes every connection that is not in use."""
        self._database.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent snapshot."""
        with _translated(self._database), self._begun(writing=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The write lock, from the first statement to the durable commit; rolled back if the block raises."""
        with _translated(self._database), self._writer, self._begun(writing=True) as connection:
            yield connection

    @contextmanager
    def exclusive(self, name: str, folder: Path, wait_s: float, taken: str) -> Iterator[None]:
        """A lock beside the transactions, wherever else this catalogue is open; Unavailable, with `taken`, if it is.

        Freed when its holder dies. A holder may lose it unawares: see `storage.locks`.
        """
        with _translated(self._database), self._database.exclusive(name, folder, wait_s, taken):
            yield

    def clock(self) -> int | None:
        """Unix time by the database's own clock; None where that is this machine's."""
        with self.reading() as connection:
            return self._database.clock(connection)

    def scrub(self) -> bool:
        """Sees to it that deleted rows go from the database's files; False if it is to be repeated."""
        with _translated(self._database):
            return self._database.scrub(self._writer)

    @contextmanager
    def _begun(self, *, writing: bool) -> Iterator[Connection]:
        with self._database.engine.connect() as plain:
            connection = plain.execution_options(**{_WRITING: writing}, compiled_cache=STATEMENTS)
            try:
                transaction = connection.begin()
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                transaction = connection.begin()  # it died in the pool, and nothing was done on it yet
            with transaction:
                yield connection

    def _begin(self, connection: Connection) -> None:
        self._database.begin(connection, writing=connection.get_execution_options().get(_WRITING, False))

    def _migrate(self) -> None:
        with self.reading() as connection:
            if _version(connection) == HEAD:
                return
        with self.writing() as connection:
            version = _version(connection)  # again: somebody else may have been here first
            if version is None:
                make_tables(connection)  # what the migrations make, too: a test compares them
                connection.execute(text(_VERSION_TABLE))
                connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
            elif version != HEAD:
                _upgrade(connection)


def check_database(url: str, folder: Path) -> None:
    """Raises Unavailable or Malformed, with what would mend it, if no catalogue can be there. Changes nothing."""
    database = open_database(url, folder)
    with _translated(database):
        database.check()


@contextmanager
def _translated(database: Database) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise AlreadyExists(f"the catalogue refuses a row: {_first_line(error)}") from error
    except PoolTimeoutError as error:
        raise Unavailable("all connections to the catalogue are in use; try again") from error
    except DBAPIError as error:
        raise Unavailable(f"the catalogue cannot be used: {database.reason(error)}") from error


def _first_line(error: DBAPIError) -> str:
    """Those that follow may show a row's values."""
    return str(error.orig).partition("\n")[0]


def _version(connection: Connection) -> str | None:
    known = inspect(connection).has_table("alembic_version")
    return connection.scalar(text("SELECT version_num FROM alembic_version")) if known else None


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  # slow to load and seldom needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
