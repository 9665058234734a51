"""Rows by the thousand, as tuples, past the layer that makes a statement's parameters of dictionaries: a quarter of the
time of writing keys anew went into those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table

_MARKS = {"qmark": "?", "format": "%s", "pyformat": "%s"}
"""How the drivers of our databases write a value's place in a statement."""


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Inserts rows of these columns, each of the type that the driver takes for it; nothing if there are none."""
    if rows:
        mark = _MARKS[connection.dialect.paramstyle]
        names, marks = ", ".join(columns), ", ".join([mark] * len(columns))
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608  # names of our own tables
        connection.exec_driver_sql(statement, list(rows))
