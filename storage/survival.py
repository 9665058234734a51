"""What lives on below a bucket that an epoch change replaces: wrapped anew, and compared before anything is destroyed.

Of a leaf that is replaced every artefact lives on that is alive and whose wrap for the bucket's purpose is not being
erased. Leaves and nodes beside it go on with their ids and keys, under the new key above them; empty ones do not.

What does not open any more is left behind where nothing lives below it. Where something does, nothing is destroyed
until that is erased as well: who could tell otherwise that it was not lost by the change?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, exists, or_, select

from storage.envelope import check_commitment
from storage.errors import DataError, Tampered, Unavailable
from storage.keys import Bucket, Node, artefact_aad, fresh_key, open_node, unwrap, wrap, wrap_node
from storage.model import (
    ArtefactId,
    ArtefactRef,
    ArtefactState,
    CallId,
    Kind,
    ParticipantId,
    Secret,
    TenantId,
    new_id,
)
from storage.tables import artefact_keys, artefacts, nodes, tombstones
from storage.tags import ROWS_AT_ONCE, batches, compare_tags, move_tags

ALIVE = (ArtefactState.WRITING.value, ArtefactState.COMPLETE.value)
"""Whoever is in one of these states survives an epoch change, unless its last wrap is left behind."""

_GO_ON = "nothing is destroyed; restore its row from a backup of the keys, or erase it too"

_LEAF, _NODE = nodes.alias("leaf"), nodes.alias("node")
_CHILDREN = select(nodes).where(nodes.c.parent == bindparam("parent")).order_by(nodes.c.serial)
_SURVIVORS = (
    select(artefacts, artefact_keys.c.wrapped)
    .select_from(artefacts.join(artefact_keys, artefact_keys.c.artefact == artefacts.c.id))
    .where(artefact_keys.c.leaf == bindparam("leaf"), artefacts.c.state.in_(ALIVE))
    .where(
        ~exists().where(
            tombstones.c.artefact == artefacts.c.id,
            tombstones.c.purpose.in_(bindparam("purposes", expanding=True)),
        )
    )
    .order_by(artefact_keys.c.serial)
)
_BELOW = (
    select(artefacts.c.id)
    .select_from(
        artefacts.join(artefact_keys, artefact_keys.c.artefact == artefacts.c.id)
        .join(_LEAF, _LEAF.c.id == artefact_keys.c.leaf)
        .join(_NODE, _NODE.c.id == _LEAF.c.parent)
    )
    .where(artefacts.c.state.in_(ALIVE))
    .where(or_(*(column == bindparam("key") for column in (_LEAF.c.id, _NODE.c.id, _NODE.c.parent))))
    .where(
        ~exists().where(
            tombstones.c.artefact == artefacts.c.id,
            tombstones.c.purpose.in_(bindparam("purposes", expanding=True)),
        )
    )
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Rewrapping:
    """Wraps anew what lives on below a bucket of this purpose, and counts it."""

    connection: Connection
    tenant: str
    purpose: str
    counts: dict[str, int]

    def bucket(self, before: Bucket, after: Bucket, touched: dict[str, set[str]]) -> bool:
        """Writes what stands below the new bucket; whether there is anything. `touched`: node → leaves replaced."""
        rows = []
        for node in _children(self.connection, self.tenant, before, self.purpose):
            if node.id not in touched:
                self.counts["nodes_kept"] += 1
                rows.append(self._row(Node(node.id, node.key, after.id), after.key))
                continue
            successor = Node(new_id(), fresh_key(), after.id)
            if self._node(node, successor, touched[node.id]):
                self.counts["nodes_replaced"] += 1
                rows.append(self._row(successor, after.key))
        return self._insert(rows)

    def _node(self, before: Node, after: Node, replaced: set[str]) -> bool:
        rows = []
        for leaf in _children(self.connection, self.tenant, before, self.purpose):
            if leaf.id not in replaced:
                self.counts["leaves_kept"] += 1
                rows.append(self._row(Node(leaf.id, leaf.key, after.id), after.key))
                continue
            successor = Node(new_id(), fresh_key(), after.id)
            if self._leaf(leaf, successor):
                self.counts["leaves_replaced"] += 1
                rows.append(self._row(successor, after.key))
        return self._insert(rows)

    def _leaf(self, before: Node, after: Node) -> bool:
        rows: list[dict[str, object]] = []
        opened: list[tuple[ArtefactRef, Secret]] = []
        for row in _survivors(self.connection, before, self.purpose):
            ref, key = _open(row, row.wrapped, before)
            wrapped = wrap(after.key, key.reveal(), artefact_aad(ref, after.id))
            rows.append({"artefact": ref.artefact, "leaf": after.id, "wrapped": wrapped})
            opened.append((ref, key))
        if rows:
            self.connection.execute(artefact_keys.insert(), rows)
            self.counts["tags_moved"] += move_tags(self.connection, after, opened)
        self.counts["keys_rewrapped"] += len(rows)
        return bool(rows)

    def _row(self, node: Node, key: bytes) -> dict[str, object]:
        return wrap_node(node, self.tenant, key)

    def _insert(self, rows: list[dict[str, object]]) -> bool:
        if rows:
            self.connection.execute(nodes.insert(), rows)
        return bool(rows)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Opens what stands below a successor, and compares it with what stood below the bucket before."""

    connection: Connection
    tenant: str
    purpose: str

    def bucket(self, before: Bucket, after: Bucket | None) -> int:
        """Gives the number of keys compared; Unavailable if one is missing, DataError if one is another."""
        old = {node.id: node for node in _children(self.connection, self.tenant, before, self.purpose)}
        new = {node.id: node for node in _children(self.connection, self.tenant, after, self.purpose)} if after else {}
        leaves = {
            leaf.id: leaf
            for node in new.values()
            if node.id not in old
            for leaf in _children(self.connection, self.tenant, node, self.purpose)
        }
        compared = 0
        for node in old.values():
            if node.id in new:
                self._same(node, new[node.id])
                continue
            for leaf in _children(self.connection, self.tenant, node, self.purpose):
                if leaf.id in leaves:
                    self._same(leaf, leaves[leaf.id])
                else:
                    compared += self._leaf(leaf, leaves)
        return compared

    def _same(self, before: Node, after: Node) -> None:
        if before.key != after.key:
            raise DataError(f"node {before.id} was carried over with another key: nothing is destroyed")

    def _leaf(self, before: Node, leaves: dict[str, Node]) -> int:
        alive = {row.id: row for row in _survivors(self.connection, before, self.purpose)}
        into: dict[str, set[str]] = {}  # new leaf → survivors
        for batch in batches(alive, ROWS_AT_ONCE):
            query = select(artefact_keys).where(artefact_keys.c.artefact.in_(batch))
            for row in self.connection.execute(query):
                if row.leaf in leaves:
                    _open(alive[row.artefact], row.wrapped, leaves[row.leaf])
                    into.setdefault(row.leaf, set()).add(row.artefact)
        missing = alive.keys() - set().union(*into.values())
        if missing:
            raise Unavailable(f"artefact {min(missing)} has no key in the new epoch: nothing is destroyed")
        for after, moved in into.items():
            compare_tags(self.connection, before.id, after, moved)
        return len(alive)


def artefact_ref(row: Any) -> ArtefactRef:
    """The reference in a row of `artefacts`."""
    return ArtefactRef(
        tenant=TenantId(row.tenant),
        call=CallId(row.call),
        participant=ParticipantId(row.participant),
        artefact=ArtefactId(row.id),
        kind=Kind(row.kind),
        purpose=row.purpose,
    )


def check_left_behind(connection: Connection, key: str, purpose: str) -> None:
    """Tampered, with the name of an artefact, if one lives below a bucket, node or leaf whose key does not open."""
    living = connection.scalar(_BELOW, {"key": key, "purposes": ["", purpose]})
    if living is not None:
        raise Tampered(f"key {key} of the tree does not open, and artefact {living} is below it: {_GO_ON}")


def _children(connection: Connection, tenant: str, parent: Bucket | Node, purpose: str) -> list[Node]:
    """The nodes below a bucket, or the leaves below a node, in the order of their rows."""
    found = []
    for row in connection.execute(_CHILDREN, {"parent": parent.id}).all():
        try:
            found.append(open_node(row, tenant, parent.key))
        except Tampered:
            check_left_behind(connection, row.id, purpose)
    return found


def _survivors(connection: Connection, leaf: Node, purpose: str) -> Sequence[Row[Any]]:
    return connection.execute(_SURVIVORS, {"leaf": leaf.id, "purposes": ["", purpose]}).all()


def _open(row: Row[Any], wrapped: bytes, leaf: Node) -> tuple[ArtefactRef, Secret]:
    ref = artefact_ref(row)
    try:
        key = Secret(unwrap(leaf.key, wrapped, artefact_aad(ref, leaf.id)))
        check_commitment(key, row.commitment)
    except DataError as error:
        raise type(error)(f"the key of artefact {ref.artefact} does not open: {_GO_ON}") from None
    return ref, key
