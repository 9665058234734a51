"""The ways from artefacts up to their buckets, as joins: which are current, which are open, which a change must end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, and_, or_, select
from sqlalchemy.sql.elements import ColumnElement

from storage.liveness import IS_BURIED, IS_NEWEST, LEAF, NODE
from storage.model import Kind, Root, TenantId
from storage.records import ROOTS
from storage.tables import artefact_keys, artefacts, buckets, drops, epochs, erasures, tombstones
from storage.tags import ROWS_AT_ONCE, batches

DROPPED = 0
"""`due` of a bucket that is dropped: its time was always over."""

WAYS = (
    artefact_keys.join(artefacts, artefacts.c.id == artefact_keys.c.artefact)
    .join(LEAF, LEAF.c.id == artefact_keys.c.leaf)
    .join(NODE, NODE.c.id == LEAF.c.parent)
    .join(buckets, buckets.c.id == NODE.c.parent)
)
"""A row for each wrap and bucket row above it: during a change of epoch that is two for what lives on."""

OPEN_WAY = and_(IS_NEWEST, ~IS_BURIED)
"""Of a way: it counts, unless its bucket's time is over."""


def open_at(now_s: float) -> ColumnElement[bool]:
    """Of a bucket: its time is not over."""
    return or_(buckets.c.due.is_(None), buckets.c.due > int(now_s))


def of_change(change: str, query: Select[Any], erasure: ColumnElement[str]) -> Select[Any]:
    """Only rows of erasures that this change carries out."""
    return query.where(erasure.in_(select(erasures.c.id).where(erasures.c.change == change)))


def roots_ended(connection: Connection, change: str, tenant: TenantId) -> list[Root]:
    """The trees in which the change destroys an epoch's key: where it ends something, and all if it is a rotation."""
    if connection.scalar(select(erasures.c.id).where(erasures.c.change == change).limit(1)) is None:
        query = select(epochs.c.root).distinct().where(epochs.c.tenant == tenant)
        return sorted(Root(root) for root in connection.scalars(query))
    kinds = of_change(change, select(artefacts.c.kind).distinct(), tombstones.c.erasure)
    kinds = kinds.join(tombstones, tombstones.c.artefact == artefacts.c.id)
    dropped = of_change(change, select(drops.c.root).distinct(), drops.c.erasure)
    roots = {ROOTS[Kind(kind)] for kind in connection.scalars(kinds)}
    return sorted(roots | {Root(root) for root in connection.scalars(dropped)})


def leaves_ended(connection: Connection, change: str) -> set[str]:
    """The leaves that hold a wrap which one of the change's tombstones names."""
    query = of_change(change, select(tombstones.c.artefact, tombstones.c.purpose), tombstones.c.erasure)
    named: dict[str, list[str]] = {}
    for row in connection.execute(query):
        named.setdefault(row.purpose, []).append(row.artefact)
    found: set[str] = set()
    for purpose, ids in named.items():  # by their ids, and not distinct: else SQLite goes through all keys or buckets
        leaves = select(artefact_keys.c.leaf).select_from(WAYS).where(IS_NEWEST)
        leaves = leaves.where(buckets.c.purpose == purpose) if purpose else leaves
        for batch in batches(ids, ROWS_AT_ONCE):
            found |= set(connection.scalars(leaves.where(artefact_keys.c.artefact.in_(batch))))
    return found


def buckets_dropped(connection: Connection, change: str) -> set[str]:
    """The buckets that the change does not carry over."""
    same = and_(*(drops.c[name] == buckets.c[name] for name in ("tenant", "root", "kind", "purpose", "day")))
    query = select(buckets.c.id).select_from(buckets.join(drops, same)).where(IS_NEWEST, buckets.c.due == DROPPED)
    return set(connection.scalars(of_change(change, query, drops.c.erasure)))
