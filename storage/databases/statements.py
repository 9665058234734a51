"""SQL that SQLAlchemy has written out, kept once for a process instead of once for each catalogue that it opens.

A process that opens several (a check and then the store, a drill, a test) would else write the same statements anew.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, create_mock_engine
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.util import LRUCache

from storage.tables import metadata

_STATEMENTS = 1000
"""Kept per process; beyond one and a half times as many, those go that were used the longest ago."""


class _Written(LRUCache[Any, Any]):
    """What `compiled_cache` of SQLAlchemy takes. Its keys begin with the engine's dialect, an object of its own.

    Of that, SQL depends on the kind and on what the server's version can do: all our engines of a kind are set alike.
    """

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_shared(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_shared(key), value)


def _shared(key: Any) -> tuple[object, ...]:
    dialect, *rest = key
    return dialect.name, dialect.driver, dialect.server_version_info, *rest


STATEMENTS = _Written(_STATEMENTS)
"""For a connection's option `compiled_cache`; thread-safe."""


def make_tables(connection: Connection) -> None:
    """Every table of the catalogue with its indexes, where none is yet."""
    for statement in _tables(connection.dialect.name):
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


@cache
def _tables(kind: str) -> tuple[str, ...]:
    found: list[str] = []

    def write_out(statement: Any, *_values: object, **_options: object) -> None:
        found.append(str(statement.compile(dialect=engine.dialect)))

    engine: MockConnection = create_mock_engine(
        "postgresql+psycopg://" if kind == "postgresql" else "sqlite://", write_out
    )
    metadata.create_all(engine, checkfirst=False)
    return tuple(found)
