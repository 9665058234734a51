"""All rows of one catalogue into another, whatever databases they are in: how a backup of a server becomes a file.

A backup has its catalogue as a SQLite file in either case. So it needs none of the server's programs, any version of
the server takes it back, and the probe reads it as it reads all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select, text, tuple_

from storage.errors import Refused
from storage.tables import calls, metadata, tenants

_ROWS_AT_ONCE = 2_000


def copy_rows(source: Connection, target: Connection) -> int:
    """Copies every row of every table, with its serial; gives how many. What a fresh catalogue began with goes."""
    count = 0
    tables = metadata.sorted_tables
    for table in reversed(tables):
        target.execute(delete(table))
    for table in tables:
        for rows in _rows(source, table):
            target.execute(table.insert(), rows)
            count += len(rows)
    if target.dialect.name == "postgresql":
        for table in tables:
            if "serial" in table.c:
                _count_on(target, table)
    return count


def refuse_used(connection: Connection) -> None:
    """Refused if the catalogue has anything of anybody: a restore makes a store of an empty one only."""
    for table in (tenants, calls):
        if connection.scalar(select(func.count()).select_from(table)):
            raise Refused("the catalogue that store.catalogue names is not empty: give the restore a fresh database")


def _rows(source: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    """Some at a time in the order of the primary key, which every database can go on from."""
    key = list(table.primary_key.columns)
    query = select(table).order_by(*key).limit(_ROWS_AT_ONCE)
    after: tuple[Any, ...] | None = None
    while True:
        page = query if after is None else query.where(tuple_(*key) > tuple_(*after))
        rows = [dict(row._mapping) for row in source.execute(page)]
        if rows:
            yield rows
        if len(rows) < _ROWS_AT_ONCE:
            return
        after = tuple(rows[-1][column.name] for column in key)


def _count_on(target: Connection, table: Table) -> None:
    """New rows are numbered after those that were copied."""
    sequence = f"pg_get_serial_sequence('{table.name}', 'serial')"
    newest = f"(SELECT coalesce(max(serial), 0) + 1 FROM {table.name})"  # noqa: S608  # names of our own tables
    target.execute(text(f"SELECT setval({sequence}, {newest}, false)"))
