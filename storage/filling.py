"""Where the next keys of a slot go: into the leaf that is being filled, below its node and bucket.

Leaves and nodes are made in memory, under the key above them, and get their rows in the transaction that first uses
them; a transaction that is rolled back takes its rows with it, so each place is looked for until it was seen there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from storage.keys import Bucket, Node, fresh_key, open_node, wrap_node
from storage.model import TenantId, new_id
from storage.tables import artefact_keys, nodes
from storage.tags import ROWS_AT_ONCE, batches

LEAF_KEYS = 64
"""Keys in a leaf, after which the next call goes into another one: what an erasure wraps anew. About so many: the keys
of a call stay together, and several processes may fill the same leaf."""

NODE_LEAVES = 64
"""Leaves in a node, which an erasure wraps anew as well, beside the bucket's nodes: 4,096 keys a node."""

_SEEN = select(nodes.c.id).where(nodes.c.id.in_(bindparam("ids", expanding=True)))


@dataclass(slots=True)
class _Made:
    """A leaf that was made here, its node, and the transaction that wrote their rows: who knows whether it lasted."""

    leaf: Node
    node: Node
    writer: object = None


@dataclass(slots=True)
class Filling:
    """One slot's bucket with its newest node and leaf. Used by the holder of the catalogue's write lock alone."""

    bucket: Bucket
    node: Node | None = None
    leaves: int = 0
    leaf: Node | None = None
    keys: int = 0
    unseen: dict[str, _Made] = field(default_factory=dict, repr=False)
    """Leaves that were made here and whose rows no later transaction has found yet, by their ids."""

    def leaf_for(self, count: int) -> Node:
        """The leaf for so many keys, which belong together."""
        if self.leaf is None or self.keys >= LEAF_KEYS:
            if self.node is None or self.leaves >= NODE_LEAVES:
                self.node, self.leaves = Node(new_id(), fresh_key(), self.bucket.id), 0
            self.leaf, self.keys = Node(new_id(), fresh_key(), self.node.id), 0
            self.leaves += 1
            self.unseen[self.leaf.id] = _Made(self.leaf, self.node)
        self.keys += count
        return self.leaf


def write_leaves(connection: Connection, tenant: TenantId, used: Mapping[str, Filling]) -> None:
    """Writes the rows of these leaves, and of their nodes, as far as they are missing; in the transaction of their
    keys. `used` has each leaf's filling by the leaf's id."""
    asked = {leaf: filling.unseen[leaf] for leaf, filling in used.items() if leaf in filling.unseen}
    if not asked:
        return
    transaction = connection.get_transaction()
    seen = _seen(connection, asked)
    missing = {leaf: made for leaf, made in asked.items() if leaf not in seen}
    if missing:
        below = {made.node.id: (made.node, used[leaf].bucket.key) for leaf, made in missing.items()}
        there = _seen(connection, below)
        rows = [wrap_node(node, tenant, key) for node, key in below.values() if node.id not in there]
        rows += [wrap_node(made.leaf, tenant, made.node.key) for made in missing.values()]
        connection.execute(nodes.insert(), rows)
    for leaf, made in asked.items():
        filling = used[leaf]
        if filling.leaf is not made.leaf or (leaf in seen and made.writer is not transaction):
            del filling.unseen[leaf]  # it lasted, or no key comes into it any more
        elif leaf in missing:
            made.writer = transaction


def read_fillings(connection: Connection, tenant: TenantId, found: Iterable[Bucket]) -> dict[str, Filling]:
    """Of each of these buckets its newest node, the newest leaf of that, and how far both are filled."""
    fillings: dict[str, Filling] = {}
    for batch in batches(found, ROWS_AT_ONCE):
        here = {bucket.id: Filling(bucket) for bucket in batch}
        for row, _ in _newest(connection, list(here)):
            filling = here[row.parent]
            filling.node = open_node(row, tenant, filling.bucket.key)
        by_node = {filling.node.id: filling for filling in here.values() if filling.node is not None}
        for row, leaves in _newest(connection, list(by_node)):
            filling = by_node[row.parent]
            assert filling.node is not None
            filling.leaf, filling.leaves = open_node(row, tenant, filling.node.key), leaves
        by_leaf = {filling.leaf.id: filling for filling in here.values() if filling.leaf is not None}
        for leaf, keys in connection.execute(_counted(list(by_leaf))):
            by_leaf[leaf].keys = keys
        fillings |= here
    return fillings


def _seen(connection: Connection, ids: Collection[str]) -> set[str]:
    return set(connection.scalars(_SEEN, {"ids": list(ids)}))


def _newest(connection: Connection, parents: list[str]) -> list[tuple[Any, int]]:
    """The newest row below each of these parents, and how many there are."""
    last = select(func.max(nodes.c.serial).label("serial"), func.count().label("below"))
    last_of = last.where(nodes.c.parent.in_(parents)).group_by(nodes.c.parent).subquery()
    query = select(nodes, last_of.c.below).join(last_of, last_of.c.serial == nodes.c.serial)
    return [(row, row.below) for row in connection.execute(query)]


def _counted(leaves: list[str]) -> Select[Any]:
    query = select(artefact_keys.c.leaf, func.count())
    return query.where(artefact_keys.c.leaf.in_(leaves)).group_by(artefact_keys.c.leaf)
