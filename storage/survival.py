"""What lives on below a bucket that an epoch change replaces, and that it is there before anything is destroyed.

Of a leaf that is replaced every artefact lives on that is alive and whose wrap for the bucket's purpose is not being
erased. Leaves and nodes beside it go on with their ids and keys, under the new key above them; empty ones do not.

What does not open any more is left behind where nothing lives below it. Where something does, nothing is destroyed
until that is erased as well: who could tell otherwise that it was not lost by the change?
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, exists, or_, select

from storage.envelope import check_commitment
from storage.errors import DataError, Tampered, Unavailable
from storage.keys import Bucket, Node, WrappingKey, artefact_place, leaf_place, node_aad
from storage.model import (
    ArtefactId,
    ArtefactRef,
    ArtefactState,
    CallId,
    Kind,
    ParticipantId,
    Secret,
    TenantId,
)
from storage.tables import artefact_keys, artefacts, nodes, tombstones
from storage.tags import ROWS_AT_ONCE, batches, compare_tags

ALIVE = (ArtefactState.WRITING.value, ArtefactState.COMPLETE.value)
"""Whoever is in one of these states survives an epoch change, unless its last wrap is left behind."""

_GO_ON = "nothing is destroyed; restore its row from a backup of the keys, or erase it too"

_LEAF, _NODE = nodes.alias("leaf"), nodes.alias("node")
_CHILDREN = select(nodes).where(nodes.c.parent.in_(bindparam("parents", expanding=True))).order_by(nodes.c.serial)
_PLACE = [artefacts.c[name] for name in ("id", "tenant", "call", "participant", "kind", "purpose")]
_LIVES_ON = and_(
    artefacts.c.state.in_(ALIVE),
    ~exists().where(
        tombstones.c.artefact == artefacts.c.id,
        tombstones.c.purpose.in_(bindparam("purposes", expanding=True)),
    ),
)
_SURVIVORS = (
    select(*_PLACE, artefact_keys.c.leaf, artefact_keys.c.wrapped)
    .select_from(artefacts.join(artefact_keys, artefact_keys.c.artefact == artefacts.c.id))
    .where(artefact_keys.c.leaf.in_(bindparam("leaves", expanding=True)), _LIVES_ON)
    .order_by(artefact_keys.c.serial)
)
_AFTER = artefact_keys.alias("after")
_COMPARED = (
    select(*_PLACE, artefacts.c.commitment, _AFTER.c.leaf, _AFTER.c.wrapped)
    .select_from(
        artefacts.join(artefact_keys, artefact_keys.c.artefact == artefacts.c.id).join(
            _AFTER, _AFTER.c.artefact == artefacts.c.id
        )
    )
    .where(artefact_keys.c.leaf.in_(bindparam("leaves", expanding=True)), _LIVES_ON)
)
"""Every wrap of what lives on in some leaves: those in them are among them, so nothing that has no other is missed."""
_BELOW = (
    select(artefacts.c.id)
    .select_from(
        artefacts.join(artefact_keys, artefact_keys.c.artefact == artefacts.c.id)
        .join(_LEAF, _LEAF.c.id == artefact_keys.c.leaf)
        .join(_NODE, _NODE.c.id == _LEAF.c.parent)
    )
    .where(_LIVES_ON, or_(*(column == bindparam("key") for column in (_LEAF.c.id, _NODE.c.id, _NODE.c.parent))))
    .limit(1)
)
LEAVES_AT_ONCE = 32
"""Leaves whose survivors are in memory at once: some 2,000, 2 MB."""


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
        return children(self.connection, self.tenant, parents, self.purpose)

    def _same(self, before: Node, after: Node) -> None:
        if before.key != after.key:
            raise DataError(f"node {before.id} was carried over with another key: nothing is destroyed")

    def _leaves(self, before: Sequence[Node], leaves: Mapping[str, Node]) -> int:
        old = [leaf.id for leaf in before]
        alive, moved, into = set[str](), set[str](), dict[str, tuple[WrappingKey, bytes]]()
        rows = self.connection.execute(_COMPARED, {"leaves": old, "purposes": ["", self.purpose]}).all()
        for row in rows:
            alive.add(row.id)
            leaf = leaves.get(row.leaf)
            if leaf is None:
                continue
            if row.leaf not in into:
                into[row.leaf] = WrappingKey(leaf.key), leaf_place(leaf.id)
            opener, at = into[row.leaf]
            place = artefact_place(self.tenant, row.call, row.participant, row.id, row.kind, row.purpose)
            open_survivor(row.id, row.wrapped, opener, place + at, row.commitment)
            moved.add(row.id)
        missing = alive - moved
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


def children(
    connection: Connection,
    tenant: str,
    parents: Sequence[Bucket | Node],
    purpose: str,
    left: set[tuple[str, str]] | None = None,
) -> list[Node]:
    """The nodes below buckets, or the leaves below nodes, in the order of their rows.

    Without those that do not open, if nothing lives below them: `left` gets their ids, with the purpose.
    """
    found = []
    for batch in batches(parents, ROWS_AT_ONCE):
        keys = {parent.id: WrappingKey(parent.key) for parent in batch}
        for row in connection.execute(_CHILDREN, {"parents": list(keys)}).all():
            try:
                key = keys[row.parent].unwrap(row.wrapped, node_aad(tenant, row.id, row.parent))
            except Tampered:
                check_left_behind(connection, row.id, purpose)
                if left is not None:
                    left.add((row.id, purpose))
            else:
                found.append(Node(row.id, key, row.parent))
    return found


def survivors(connection: Connection, leaves: Collection[str], purpose: str) -> list[Row[Any]]:
    """What lives on of the keys in some leaves of buckets of one purpose."""
    rows: Any = connection.execute(_SURVIVORS, {"leaves": list(leaves), "purposes": ["", purpose]})
    return list(rows.all())


def open_survivor(artefact: str, wrapped: bytes, leaf: WrappingKey, aad: bytes, compared: bytes | None = None) -> bytes:
    """The key of an artefact; DataError if it does not open.

    `compared` with its commitment: that is done with what was written, before anything is destroyed.
    """
    try:
        key = leaf.unwrap(wrapped, aad)
        if compared is not None:
            check_commitment(Secret(key), compared)
    except DataError as error:
        raise type(error)(f"the key of artefact {artefact} does not open: {_GO_ON}") from None
    return key
