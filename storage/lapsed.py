"""The rows of a tenant's key tree that did not live on: waste since the provider's key is gone; zeroed, then deleted.

All are zeroed before any goes, and they go in the order in which they were written: what is deleted makes SQLite merge
pages, and a row that is moved by that may leave its octets in a page's gap. Of living rows at the edge it still may.

What stands in an epoch that is over is read from the rows themselves, from the buckets down, and goes from the leaves
up: wherever a crash comes between, the next sweep finds the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Table, and_, delete, exists, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.catalogue import Catalogue
from storage.model import ArtefactState
from storage.pace import Pace
from storage.survival import ALIVE
from storage.tables import artefact_keys, artefacts, buckets, epochs, nodes, tags
from storage.tags import ROWS_AT_ONCE, batches
from storage.zeros import zeros_like

LEAVES_AT_ONCE = 8
"""Leaves whose keys go in one transaction at most: some 500 rows."""


@dataclass(frozen=True, slots=True)
class Lapsed:
    """Ids of what did not live on in a later epoch: each names a key that no living row wraps."""

    buckets: list[str]
    nodes: list[str]
    leaves: list[str]


def lapsed(connection: Connection, tenant: str, root: str, n: int) -> Lapsed:
    """What stood in epoch `n` or before of a root and did not live on."""
    of_root = and_(buckets.c.tenant == tenant, buckets.c.root == root)
    living = select(buckets.c.id).where(of_root, buckets.c.epoch > n)
    query = select(buckets.c.id).where(of_root, buckets.c.epoch <= n, buckets.c.id.not_in(living)).distinct()
    over = list(connection.scalars(query))
    below = _below(connection, over)
    return Lapsed(over, below, _as_written(connection, _below(connection, below)))


def sweep_tree(catalogue: Catalogue, tenant: str, root: str, n: int) -> None:
    """Zeroes and deletes every row of epochs up to `n` of a root that did not live on, a batch after the other.

    An artefact that has lost its last wrap by that is erased from then on.
    """
    with catalogue.reading() as connection:
        found = lapsed(connection, tenant, root, n)
    pace = Pace(catalogue)
    # All of it first: what is deleted beside them makes SQLite move rows, and a moved row may leave its octets behind.
    for table, column, ids in ((artefact_keys, artefact_keys.c.leaf, found.leaves), *_rows_of_nodes(found)):
        for batch in pace.parts(ids, LEAVES_AT_ONCE):
            with pace.writing() as connection:
                _zero(connection, table, column.in_(batch), ("wrapped",))
    for batch in pace.parts(found.leaves, LEAVES_AT_ONCE):
        with pace.writing() as connection:
            wrapped = select(artefact_keys.c.artefact).where(artefact_keys.c.leaf.in_(batch))
            elsewhere = exists().where(artefact_keys.c.artefact == artefacts.c.id, artefact_keys.c.leaf.not_in(batch))
            lost = and_(artefacts.c.id.in_(wrapped), artefacts.c.state.in_(ALIVE), ~elsewhere)
            connection.execute(update(artefacts).where(lost).values(state=ArtefactState.ERASED.value))
            connection.execute(delete(artefact_keys).where(artefact_keys.c.leaf.in_(batch)))
            connection.execute(delete(tags).where(tags.c.leaf.in_(batch)))
    for table, column, ids in _rows_of_nodes(found):
        for batch in pace.parts(ids, LEAVES_AT_ONCE):
            with pace.writing() as connection:
                connection.execute(delete(table).where(column.in_(batch)))
    with pace.writing() as connection:
        shred(connection, buckets, and_(buckets.c.tenant == tenant, buckets.c.root == root, buckets.c.epoch <= n))
        over = and_(epochs.c.tenant == tenant, epochs.c.root == root, epochs.c.n <= n)
        _zero(connection, epochs, over, ("wrapped", "probe"))


def shred(connection: Connection, table: Table, where: ColumnElement[bool]) -> None:
    """Zeroes the wrapped keys of rows, then deletes the rows."""
    _zero(connection, table, where, ("wrapped",))
    connection.execute(delete(table).where(where))


def _as_written(connection: Connection, leaves: list[str]) -> list[str]:
    """In the order of their keys' rows: pages are emptied one after the other, and hardly a living row is moved."""
    first: dict[str, int] = {}
    for batch in batches(leaves, ROWS_AT_ONCE):
        query = select(artefact_keys.c.leaf, func.min(artefact_keys.c.serial)).where(artefact_keys.c.leaf.in_(batch))
        first |= {row[0]: row[1] for row in connection.execute(query.group_by(artefact_keys.c.leaf))}
    return sorted(leaves, key=lambda leaf: first.get(leaf, 0))


def _rows_of_nodes(found: Lapsed) -> tuple[tuple[Table, Column[str], list[str]], ...]:
    return (nodes, nodes.c.parent, found.nodes), (nodes, nodes.c.parent, found.buckets)


def _below(connection: Connection, parents: Collection[str]) -> list[str]:
    """Nodes that stand below these, and below nothing else: those that live on have got a row with a new parent."""
    over, found = set(parents), dict[str, None]()
    for batch in batches(parents, ROWS_AT_ONCE):
        found |= dict.fromkeys(connection.scalars(select(nodes.c.id).where(nodes.c.parent.in_(batch))))
    for batch in batches(list(found), ROWS_AT_ONCE):
        for row in connection.execute(select(nodes.c.id, nodes.c.parent).where(nodes.c.id.in_(batch))):
            if row.parent not in over:
                found.pop(row.id, None)
    return list(found)


def _zero(connection: Connection, table: Table, where: ColumnElement[bool], columns: tuple[str, ...]) -> None:
    """Overwrites in place: a row of the same length stays where it is, so no copy of the old one is left elsewhere."""
    zeros = {name: zeros_like(table.c[name]) for name in columns}
    connection.execute(update(table).where(where).values(zeros))
