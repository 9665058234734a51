"""Key rows outside of the catalogue: which ones a change of epoch or a hold wrote, as bytes, and back into a catalogue.

Rows are appended only where they are absent, and never changed: a row's key is named by its id, so of two rows with the
same name one says nothing new. A key of an artefact that the catalogue does not know opens nothing there; it is told.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, LargeBinary, Table, and_, func, select, true, tuple_

from storage.errors import Malformed
from storage.signing import parse_json, written
from storage.tables import artefact_keys, artefacts, buckets, epochs, nodes, tags, tenants

FORMAT = "callvault key batch v1"

PART_ROWS = 8_000
"""Rows in one part, some 200 bytes each."""
PART_BYTES_MAX = 4 << 20

_NAMES: Mapping[str, tuple[Table, tuple[str, ...]]] = {
    "epochs": (epochs, ("tenant", "root", "n")),
    "buckets": (buckets, ("id", "epoch")),
    "nodes": (nodes, ("id", "parent")),
    "artefact_keys": (artefact_keys, ("artefact", "leaf")),
    "tags": (tags, ("tag",)),
}
"""The tables of keys, parents before children, each with what makes a row of it the only one."""
_COLUMNS = {name: [column.name for column in table.c if column.name != "serial"] for name, (table, _) in _NAMES.items()}
_GROWING = ("nodes", "artefact_keys", "tags")
"""Tables whose rows know no epoch: what a change wrote is found below the buckets that it made."""
_AT_ONCE = 200
"""Rows looked for in one query: below SQLite's oldest limit of 999 values."""

Rows = Sequence[tuple[str, Mapping[str, Any]]]
"""Rows with the names of their tables, without serials."""


def marks(connection: Connection) -> dict[str, int]:
    """How far the tables go. Asked in the transaction that writes last, it tells what had been written by then."""
    return {name: connection.scalar(select(func.max(_NAMES[name][0].c.serial))) or 0 for name in ("buckets", *_GROWING)}


def rows_written(connection: Connection, tenant: str, begun: Mapping[str, int], after: Mapping[str, int]) -> Rows:
    """What a change of epoch wrote: the epochs that it began (root → n), their buckets, and up to `marks` of then what
    stands below those that are new, down to the rows of what has another way from before."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for root, n in sorted(begun.items()):
        found += _read(connection, "epochs", and_(epochs.c.tenant == tenant, epochs.c.root == root, epochs.c.n == n))
    new: list[str] = []
    for root, n in sorted(begun.items()):
        of_root = and_(buckets.c.tenant == tenant, buckets.c.root == root)
        by_then = buckets.c.serial <= after["buckets"] if "buckets" in after else true()  # of an earlier release
        rows = _read(connection, "buckets", and_(of_root, buckets.c.epoch == n, by_then))
        before = set(connection.scalars(select(buckets.c.id).where(of_root, buckets.c.epoch < n)))
        new += [row["id"] for _, row in rows if row["id"] not in before]
        found += rows
    for _level in ("nodes", "leaves"):
        rows = _read_each(connection, "nodes", nodes.c.parent, new, after)
        found += rows
        ids = [row["id"] for _, row in rows]
        parents = {row["id"]: row["parent"] for _, row in rows}
        all_ways = _read_each(connection, "nodes", nodes.c.id, ids, after)
        elsewhere = {row["id"] for _, row in all_ways if row["parent"] != parents[row["id"]]}
        new = [id for id in ids if id not in elsewhere]
    for name in ("artefact_keys", "tags"):
        found += _read_each(connection, name, _NAMES[name][0].c.leaf, new, after)
    return found


def rows_below(connection: Connection, tenant: str, roots: Sequence[str], purpose: str) -> Rows:
    """Everything in the newest buckets of a purpose, and their epochs: what a hold placed, which is its purpose."""
    newest = select(epochs.c.root, func.max(epochs.c.n)).where(epochs.c.tenant == tenant, epochs.c.root.in_(roots))
    found: list[tuple[str, Mapping[str, Any]]] = []
    for root, n in connection.execute(newest.group_by(epochs.c.root)).all():
        below = _read(
            connection,
            "buckets",
            and_(
                buckets.c.tenant == tenant, buckets.c.root == root, buckets.c.epoch == n, buckets.c.purpose == purpose
            ),
        )
        if not below:
            continue
        of_epoch = and_(epochs.c.tenant == tenant, epochs.c.root == root, epochs.c.n == n)
        found += _read(connection, "epochs", of_epoch) + below
        parents = [row["id"] for _, row in below]
        for _level in ("nodes", "leaves"):
            level = [row for batch in _cut(parents) for row in _read(connection, "nodes", nodes.c.parent.in_(batch))]
            found += level
            parents = [row["id"] for _, row in level]
        for name, table in (("artefact_keys", artefact_keys), ("tags", tags)):
            for batch in _cut(parents):
                found += _read(connection, name, table.c.leaf.in_(batch))
    return found


def encode(batch: str, rows: Rows) -> list[bytes]:
    """The parts of a batch, canonical JSON; at least one. No value in them is a fraction."""
    cut = [rows[start : start + PART_ROWS] for start in range(0, len(rows), PART_ROWS)] or [()]
    return [
        written(
            {
                "format": FORMAT,
                "batch": batch,
                "part": number,
                "rows": [[table, {name: _text(value) for name, value in row.items()}] for table, row in part],
            }
        )
        for number, part in enumerate(cut)
    ]


def decode(batch: str, number: int, part: bytes) -> Rows:
    """The rows of one part; Malformed if it is anything else."""
    found = parse_json(part, PART_BYTES_MAX)
    if not isinstance(found, dict) or (found.get("format"), found.get("batch")) != (FORMAT, batch):
        raise Malformed(f"not a part of key batch {batch}")
    if found.get("part") != number or not isinstance(found.get("rows"), list):
        raise Malformed(f"not part {number} of key batch {batch}")
    try:
        return [(table, _row(table, members)) for table, members in found["rows"]]
    except (TypeError, ValueError, KeyError, AttributeError, binascii.Error) as error:
        raise Malformed(f"part {number} of key batch {batch} holds what is no key row") from error


def insert_absent(connection: Connection, tenant: str, rows: Rows) -> set[str]:
    """Appends the rows that are not there, in a write transaction; gives the artefacts that the catalogue lacks.

    Of a tenant that the catalogue does not know, none are appended.
    """
    missing: set[str] = set()
    if connection.scalar(select(tenants.c.id).where(tenants.c.id == tenant)) is None:
        return {row["artefact"] for name, row in rows if name == "artefact_keys"}
    for name, (table, unique) in _NAMES.items():
        of_table = [row for table_name, row in rows if table_name == name]
        for batch in _cut(of_table):
            keys = {tuple(row[column] for column in unique): row for row in batch}
            query = select(*(table.c[column] for column in unique))
            there = {
                tuple(row)
                for row in connection.execute(
                    query.where(tuple_(*(table.c[column] for column in unique)).in_(list(keys)))
                )
            }
            absent = [row for key, row in keys.items() if key not in there]
            if name in ("artefact_keys", "tags"):
                wanted = {row["artefact"] for row in absent}
                known = set(connection.scalars(select(artefacts.c.id).where(artefacts.c.id.in_(wanted))))
                if name == "artefact_keys":
                    missing |= wanted - known
                    absent = [row for row in absent if row["artefact"] in known]
            if absent:
                connection.execute(table.insert(), absent)
    return missing


def _read(connection: Connection, name: str, where: Any) -> list[tuple[str, Mapping[str, Any]]]:
    table = _NAMES[name][0]
    columns = _COLUMNS[name]
    query = select(*(table.c[column] for column in columns)).where(where).order_by(table.c.serial)
    return [(name, dict(zip(columns, row, strict=True))) for row in connection.execute(query).all()]


def _read_each(
    connection: Connection, name: str, of: Column[Any], ids: Sequence[str], after: Mapping[str, int]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Rows of a growing table that are there up to a mark, of many ids."""
    until = _NAMES[name][0].c.serial <= after[name]
    return [row for batch in _cut(ids) for row in _read(connection, name, and_(of.in_(batch), until))]


def _text(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _row(name: str, members: Mapping[str, Any]) -> Mapping[str, Any]:
    table = _NAMES[name][0]
    wanted = {column.name: column for column in table.c if column.name != "serial"}
    if set(members) != set(wanted):
        raise KeyError(name)
    return {
        column: base64.b64decode(value, validate=True) if isinstance(wanted[column].type, LargeBinary) else value
        for column, value in members.items()
    }


def _cut(items: Iterable[Any]) -> Iterator[list[Any]]:
    found: Collection[Any] = list(items)
    for start in range(0, len(found), _AT_ONCE):
        yield list(found)[start : start + _AT_ONCE]
