"""Rows outside of the catalogue, wrapped and sealed as they stand there: as bytes, and back into a catalogue.

Key rows are what a change of epoch or a hold wrote; records are what a restore must not forget (`pending` says which),
each with the rows of its keys. Rows are appended only where they are absent, and never changed: a row's key is named by
its id, so of two rows with the same name one says nothing new. Documents alone are replaced, as they were. A row of an
artefact that the catalogue does not know opens nothing there; it is told.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Connection, LargeBinary, Table, and_, delete, func, or_, select, true, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from storage.epochs import ALIVE
from storage.errors import Malformed
from storage.liveness import IS_NEWEST, LEAF, NODE
from storage.model import CallState
from storage.signing import parse_json, written
from storage.tables import (
    artefact_keys,
    artefacts,
    buckets,
    calls,
    consents,
    documents,
    egress,
    epochs,
    nodes,
    statistics,
    tags,
    tenants,
)

FORMAT = "callvault key batch v1"

PART_ROWS = 8_000
"""Rows in one part, some 200 bytes each."""
PART_BYTES_MAX = 4 << 20

_NAMES: Mapping[str, tuple[Table, tuple[str, ...]]] = {
    "tenants": (tenants, ("id",)),
    "epochs": (epochs, ("tenant", "root", "n")),
    "buckets": (buckets, ("id", "epoch")),
    "nodes": (nodes, ("id", "parent")),
    "calls": (calls, ("id",)),
    "artefacts": (artefacts, ("id",)),
    "artefact_keys": (artefact_keys, ("artefact", "leaf")),
    "tags": (tags, ("tag",)),
    "documents": (documents, ("stream_id",)),
    "egress": (egress, ("id", "call")),
    "statistics": (statistics, ("tenant", "period")),
}
"""The tables, parents before children, each with what makes a row of it the only one."""
_HANGING: Mapping[str, tuple[str, Table]] = {
    "artefacts": ("call", calls),
    "artefact_keys": ("artefact", artefacts),
    "tags": ("artefact", artefacts),
    "documents": ("artefact", artefacts),
}
"""Tables whose rows are of a row that the catalogue may lack: by which column, and of which table."""
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


def rows_of(connection: Connection, tenant: str, artefact: str) -> Rows:
    """A record: its artefact with document and keys, its call's row if that is its own, the rows that are beside it.

    Of the evidence of a consent that stands also the keys that the consent placed, and these alone where the evidence
    is lost. Else empty where the artefact does not live.
    """
    alive = (artefacts.c.id == artefact, artefacts.c.tenant == tenant, artefacts.c.state.in_(ALIVE))
    row = connection.execute(select(artefacts).where(*alive)).first()
    given = (consents.c.id == artefact, consents.c.tenant == tenant, consents.c.erasure.is_(None))
    consent = connection.execute(select(consents).where(*given)).first()
    ways = artefact_keys.c.artefact == artefact
    if consent is not None:
        of_call = select(artefacts.c.id).where(artefacts.c.call == consent.call)
        placed = and_(artefact_keys.c.artefact.in_(of_call), buckets.c.purpose == consent.purpose)
        ways = placed if row is None else or_(ways, placed)
    if row is None:
        return [*row_of_tenant(connection, tenant), *_keys_on(connection, ways)] if consent is not None else []
    own = and_(calls.c.id == row.call, calls.c.state == CallState.DOSSIER.value)
    return [
        *row_of_tenant(connection, tenant),
        *_keys_on(connection, ways),
        *_read(connection, "calls", own),
        *_read(connection, "artefacts", artefacts.c.id == artefact),
        *_read(connection, "documents", documents.c.artefact == artefact),
        *_read(connection, "egress", egress.c.id == row.call),
    ]


def rows_published(connection: Connection, tenant: str, period: str) -> Rows:
    """A period's statistics."""
    where = and_(statistics.c.tenant == tenant, statistics.c.period == period)
    return [*row_of_tenant(connection, tenant), *_read(connection, "statistics", where)]


def row_of_tenant(connection: Connection, tenant: str) -> Rows:
    """The tenant's own row, for a catalogue that was copied before there was one; what counts turns begins anew."""
    rows = _read(connection, "tenants", tenants.c.id == tenant)
    return [(name, {**row, "fence": 0, "turn": 0}) for name, row in rows]


def _keys_on(connection: Connection, ways: ColumnElement[bool]) -> list[tuple[str, Mapping[str, Any]]]:
    """The keys of these ways with all above them, in the newest epochs, and the tags beside them."""
    columns = (artefact_keys.c.artefact, artefact_keys.c.leaf, NODE.c.id.label("node"), buckets.c.id, buckets.c.epoch)
    above = artefact_keys.join(LEAF, LEAF.c.id == artefact_keys.c.leaf).join(NODE, NODE.c.id == LEAF.c.parent)
    above = above.join(buckets, buckets.c.id == NODE.c.parent)
    query = select(*columns, buckets.c.tenant, buckets.c.root).select_from(above).where(ways, IS_NEWEST)
    found = connection.execute(query).all()
    newest: dict[str, set[tuple[Any, ...]]] = {
        "epochs": {(row.tenant, row.root, row.epoch) for row in found},
        "buckets": {(row.id, row.epoch) for row in found},
        "nodes": {(row.node, row.id) for row in found} | {(row.leaf, row.node) for row in found},
        "artefact_keys": {(row.artefact, row.leaf) for row in found},
    }
    rows = []
    for name, wanted in newest.items():
        table, unique = _NAMES[name]
        key = tuple_(*(table.c[column] for column in unique))
        rows += [row for batch in _cut(sorted(wanted)) for row in _read(connection, name, key.in_(batch))]
    beside = tuple_(tags.c.artefact, tags.c.leaf)
    for batch in _cut(sorted(newest["artefact_keys"])):
        rows += _read(connection, "tags", beside.in_(batch))
    return rows


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


@dataclass(slots=True)
class Inserted:
    """What came of a batch: how many rows were appended, by table; the artefacts that the catalogue lacks; whether the
    tenant came with it."""

    counts: Counter[str] = field(default_factory=Counter)
    missing: set[str] = field(default_factory=set)
    new_tenant: bool = False


def insert_absent(connection: Connection, tenant: str, rows: Rows) -> Inserted:
    """Appends the rows that are not there, in a write transaction.

    Of a tenant that neither the catalogue nor the batch knows, none are appended.
    """
    found = Inserted()
    if connection.scalar(select(tenants.c.id).where(tenants.c.id == tenant)) is None:
        found.new_tenant = _is_of_batch(connection, tenant, rows)
        if not found.new_tenant:
            found.missing = {row["artefact"] for name, row in rows if name == "artefact_keys"}
            return found
    for name, (table, unique) in _NAMES.items():
        of_table = [row for table_name, row in rows if table_name == name]
        for batch in _cut(of_table):
            keys = {tuple(row[column] for column in unique): row for row in batch}
            columns = [table.c[column] for column in unique]
            query = select(*columns).where(tuple_(*columns).in_(list(keys)))
            there = {tuple(row) for row in connection.execute(query)}
            absent = [row for key, row in keys.items() if key not in there]
            if name in _HANGING:
                absent = _hung(connection, name, absent, found.missing)
            if name == "documents":
                absent = _replacing(connection, absent, rows)
            if absent:
                connection.execute(table.insert(), absent)
                found.counts[name] += len(absent)
    return found


def _is_of_batch(connection: Connection, tenant: str, rows: Rows) -> bool:
    """Whether the tenant's own row is among these and can be had: its name is not another tenant's by now."""
    tags_of = [row["tag"] for name, row in rows if name == "tenants" and row["id"] == tenant]
    taken = select(tenants.c.id).where(tenants.c.tag.in_(tags_of))
    return bool(tags_of) and connection.scalar(taken.limit(1)) is None


def _hung(
    connection: Connection, name: str, absent: Sequence[Mapping[str, Any]], missing: set[str]
) -> list[Mapping[str, Any]]:
    """Those of these rows whose own row's parent is there; artefacts without are told by their keys."""
    column, parent = _HANGING[name]
    wanted = {row[column] for row in absent}
    known = set(connection.scalars(select(parent.c.id).where(parent.c.id.in_(wanted))))
    if name == "artefact_keys":
        missing |= wanted - known
    return [row for row in absent if row[column] in known]


def _replacing(connection: Connection, new: Sequence[Mapping[str, Any]], rows: Rows) -> list[Mapping[str, Any]]:
    """Those of these documents whose artefacts live, which lose the ones that they had, and get the size of these."""
    if not new:
        return []
    sizes = {row["id"]: row["size"] for name, row in rows if name == "artefacts"}
    living = select(artefacts.c.id).where(artefacts.c.id.in_({row["artefact"] for row in new}))
    alive = set(connection.scalars(living.where(artefacts.c.state.in_(ALIVE))))
    connection.execute(delete(documents).where(documents.c.artefact.in_(alive)))
    for artefact in alive & sizes.keys():
        connection.execute(update(artefacts).where(artefacts.c.id == artefact).values(size=sizes[artefact]))
    return [row for row in new if row["artefact"] in alive]


def _read(connection: Connection, name: str, where: Any) -> list[tuple[str, Mapping[str, Any]]]:
    table = _NAMES[name][0]
    columns = _COLUMNS[name]
    query = select(*(table.c[column] for column in columns)).where(where).order_by(*table.primary_key.columns)
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
