"""What lives on below a bucket that an epoch change replaces: wrapped anew, and compared before anything is destroyed.

Of a leaf that is replaced every artefact lives on that is alive and whose wrap for the bucket's purpose is not being
erased. Leaves and nodes beside it go on with their ids and keys, under the new key above them; empty ones do not.

What does not open any more is left behind where nothing lives below it. Where something does, nothing is destroyed
until that is erased as well: who could tell otherwise that it was not lost by the change?
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

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
_CHILDREN = select(nodes).where(nodes.c.parent.in_(bindparam("parents", expanding=True))).order_by(nodes.c.serial)
_SURVIVORS = (
    select(artefacts, artefact_keys.c.leaf, artefact_keys.c.wrapped)
    .select_from(artefacts.join(artefact_keys, artefact_keys.c.artefact == artefacts.c.id))
    .where(artefact_keys.c.leaf.in_(bindparam("leaves", expanding=True)), artefacts.c.state.in_(ALIVE))
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
_WRAPS = select(artefact_keys.c.artefact, artefact_keys.c.leaf, artefact_keys.c.wrapped).where(
    artefact_keys.c.artefact.in_(bindparam("artefacts", expanding=True))
)

LEAVES_AT_ONCE = 32
"""Leaves whose survivors are in memory at once: some 2,000, 2 MB."""

Level = TypeVar("Level", Bucket, Node)


@dataclass(frozen=True, slots=True)
class Rewrapping:
    """Wraps anew what lives on below buckets of one purpose, level by level, and counts it."""

    connection: Connection
    tenant: str
    purpose: str
    counts: dict[str, int]

    def buckets(self, replaced: Sequence[tuple[Bucket, Bucket]], touched: Mapping[str, Collection[str]]) -> set[str]:
        """Writes what stands below each new bucket of what stood below the one before it; gives those of the new ones
        below which anything lives on. `touched`: node → its leaves that are replaced, as the node is."""
        nodes_replaced, rows = self._divided(replaced, touched, "nodes_kept")
        leaves_replaced, leaf_rows = self._divided(
            nodes_replaced, {leaf for leaves in touched.values() for leaf in leaves}, "leaves_kept"
        )
        filled = self._keys([(before, after) for before, after, _ in leaves_replaced])
        leaf_rows += self._lasting(leaves_replaced, filled, "leaves_replaced")
        self._insert(leaf_rows)
        rows += self._lasting(nodes_replaced, {row["parent"] for row in leaf_rows}, "nodes_replaced")
        self._insert(rows)
        return {str(row["parent"]) for row in rows}

    def _divided(
        self, parents: Sequence[tuple[Level, Level] | tuple[Level, Level, bytes]], replaced: Collection[str], kept: str
    ) -> tuple[list[tuple[Node, Node, bytes]], list[dict[str, object]]]:
        """What stood below: what is replaced, with its successor and the key above that; of the rest the new rows."""
        successors = {above[0].id: above[1] for above in parents}
        divided, rows = [], []
        for node in _children(self.connection, self.tenant, [above[0] for above in parents], self.purpose):
            after = successors[node.parent]
            if node.id in replaced:
                divided.append((node, Node(new_id(), fresh_key(), after.id), after.key))
            else:
                self.counts[kept] += 1
                rows.append(self._row(Node(node.id, node.key, after.id), after.key))
        return divided, rows

    def _keys(self, leaves: Sequence[tuple[Node, Node]]) -> set[object]:
        """Wraps the survivors of each leaf with its successor's key; gives the successors that have any."""
        filled = set[object]()
        for batch in batches(leaves, LEAVES_AT_ONCE):
            by_id = {before.id: (before, after) for before, after in batch}
            rows: list[dict[str, object]] = []
            opened: dict[Node, list[tuple[ArtefactRef, Secret]]] = {}
            for row in _survivors(self.connection, by_id, self.purpose):
                before, after = by_id[row.leaf]
                ref, key = _open(row, row.wrapped, before)
                wrapped = wrap(after.key, key.reveal(), artefact_aad(ref, after.id))
                rows.append({"artefact": ref.artefact, "leaf": after.id, "wrapped": wrapped})
                opened.setdefault(after, []).append((ref, key))
            if rows:
                self.connection.execute(artefact_keys.insert(), rows)
                self.counts["tags_moved"] += move_tags(self.connection, opened)
            self.counts["keys_rewrapped"] += len(rows)
            filled |= {after.id for after in opened}
        return filled

    def _lasting(
        self, replaced: Sequence[tuple[Node, Node, bytes]], filled: Collection[object], count: str
    ) -> list[dict[str, object]]:
        """The rows of those successors below which there is something."""
        rows = [self._row(after, key) for _, after, key in replaced if after.id in filled]
        self.counts[count] += len(rows)
        return rows

    def _row(self, node: Node, key: bytes) -> dict[str, object]:
        return wrap_node(node, self.tenant, key)

    def _insert(self, rows: list[dict[str, object]]) -> None:
        if rows:
            self.connection.execute(nodes.insert(), rows)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Opens what stands below the successors of buckets of one purpose, and compares it with what stood below those."""

    connection: Connection
    tenant: str
    purpose: str

    def buckets(self, replaced: Sequence[tuple[Bucket, Bucket | None]]) -> int:
        """Gives the number of keys compared; Unavailable if one is missing, DataError if one is another."""
        old = {node.id: node for node in self._below([before for before, _ in replaced])}
        new = {node.id: node for node in self._below([after for _, after in replaced if after is not None])}
        for node in old.keys() & new.keys():
            self._same(old[node], new[node])
        leaves = {leaf.id: leaf for leaf in self._below([node for node in new.values() if node.id not in old])}
        gone = []
        for leaf in self._below([node for node in old.values() if node.id not in new]):
            if leaf.id in leaves:
                self._same(leaf, leaves[leaf.id])
            else:
                gone.append(leaf)
        return sum(self._leaves(batch, leaves) for batch in batches(gone, LEAVES_AT_ONCE))

    def _below(self, parents: Sequence[Bucket | Node]) -> list[Node]:
        return _children(self.connection, self.tenant, parents, self.purpose)

    def _same(self, before: Node, after: Node) -> None:
        if before.key != after.key:
            raise DataError(f"node {before.id} was carried over with another key: nothing is destroyed")

    def _leaves(self, before: Sequence[Node], leaves: Mapping[str, Node]) -> int:
        old = [leaf.id for leaf in before]
        alive = {row.id: row for row in _survivors(self.connection, old, self.purpose)}
        moved, into = set[str](), set[str]()
        for batch in batches(alive, ROWS_AT_ONCE):
            for row in self.connection.execute(_WRAPS, {"artefacts": batch}).all():
                if row.leaf in leaves:
                    _open(alive[row.artefact], row.wrapped, leaves[row.leaf], compared=True)
                    moved.add(row.artefact)
                    into.add(row.leaf)
        missing = alive.keys() - moved
        if missing:
            raise Unavailable(f"artefact {min(missing)} has no key in the new epoch: nothing is destroyed")
        compare_tags(self.connection, old, into, moved)
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


def _children(connection: Connection, tenant: str, parents: Sequence[Bucket | Node], purpose: str) -> list[Node]:
    """The nodes below buckets, or the leaves below nodes, in the order of their rows."""
    found = []
    for batch in batches(parents, ROWS_AT_ONCE):
        keys = {parent.id: parent.key for parent in batch}
        for row in connection.execute(_CHILDREN, {"parents": list(keys)}).all():
            try:
                found.append(open_node(row, tenant, keys[row.parent]))
            except Tampered:
                check_left_behind(connection, row.id, purpose)
    return found


def _survivors(connection: Connection, leaves: Collection[str], purpose: str) -> Sequence[Row[Any]]:
    return connection.execute(_SURVIVORS, {"leaves": list(leaves), "purposes": ["", purpose]}).all()


def _open(row: Row[Any], wrapped: bytes, leaf: Node, *, compared: bool = False) -> tuple[ArtefactRef, Secret]:
    """`compared` with its commitment: that is done with what was written, before anything is destroyed."""
    ref = artefact_ref(row)
    try:
        key = Secret(unwrap(leaf.key, wrapped, artefact_aad(ref, leaf.id)))
        if compared:
            check_commitment(key, row.commitment)
    except DataError as error:
        raise type(error)(f"the key of artefact {ref.artefact} does not open: {_GO_ON}") from None
    return ref, key
