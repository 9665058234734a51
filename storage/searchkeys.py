"""The index keys that a search computes its tags with: one for each leaf below the buckets that it looks into.

What was opened is held, so that going through the same leaves again opens none of them again. A fence that moves
lets go of leaves that the tree has no more: an id names a key, so what a change has carried over has its own still.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, bindparam, or_, select

from storage.keycache import KeyCache
from storage.keys import Bucket, NodeRow, open_node
from storage.liveness import IS_NEWEST, LEAF, NODE
from storage.model import TenantId
from storage.tables import buckets, tenants
from storage.tags import ROWS_AT_ONCE, batches, index_key

INDEX_KEYS_MAX = 65_536
"""Index keys held in memory: 16 MB, for 4 million artefacts. A search through more opens what is missing again, some
15 µs each."""

_LEAVES_AT_ONCE = 4_096
"""Given at once: bounds memory."""

_BELOW = select(LEAF.c.id).join(NODE, NODE.c.id == LEAF.c.parent)
_BELOW = _BELOW.where(NODE.c.parent.in_(bindparam("buckets", expanding=True)))
_ROWS = (
    select(LEAF.c.id, LEAF.c.parent, LEAF.c.wrapped, NODE.c.parent.label("bucket"), NODE.c.wrapped.label("above"))
    .join(NODE, NODE.c.id == LEAF.c.parent)
    .where(LEAF.c.id.in_(bindparam("leaves", expanding=True)))
)
_LIVING = (
    select(LEAF.c.id)
    .join(NODE, NODE.c.id == LEAF.c.parent)
    .join(buckets, buckets.c.id == NODE.c.parent)
    .where(buckets.c.tenant == bindparam("tenant"), IS_NEWEST, or_(buckets.c.due.is_(None), buckets.c.due > 0))
)
"""Leaves below the newest epochs, in buckets that are not dropped."""
_FENCE = select(tenants.c.fence).where(tenants.c.id == bindparam("tenant"))


class SearchKeys:
    """Index keys by leaf; thread-safe."""

    def __init__(self) -> None:
        self._held = KeyCache(INDEX_KEYS_MAX)

    def below(self, connection: Connection, tenant: TenantId, found: Sequence[Bucket]) -> Iterator[list[bytes]]:
        """The index keys of all leaves below some opened buckets, so many at a time."""
        fence: int = connection.execute(_FENCE, {"tenant": tenant}).scalar_one()
        self._held.pass_fence(tenant, fence, lambda: connection.scalars(_LIVING, {"tenant": tenant}).all())
        for batch in batches(found, ROWS_AT_ONCE):
            by_id = {bucket.id: bucket for bucket in batch}
            leaves = connection.scalars(_BELOW, {"buckets": list(by_id)}).all()
            for some in batches(leaves, _LEAVES_AT_ONCE):
                keys = self._held.get_each(tenant, fence, some)
                missing = [leaf for leaf in some if leaf not in keys]
                if missing:
                    opened = _open(connection, tenant, by_id, missing)
                    self._held.put(tenant, fence, opened)
                    keys |= opened
                yield list(keys.values())


def _open(connection: Connection, tenant: TenantId, by_id: dict[str, Bucket], leaves: list[str]) -> dict[str, bytes]:
    above: dict[str, bytes] = {}
    opened: dict[str, bytes] = {}
    for batch in batches(leaves, ROWS_AT_ONCE):
        for row in connection.execute(_ROWS, {"leaves": batch}):
            if row.bucket not in by_id:
                continue  # a way of before
            if row.parent not in above:
                node = NodeRow(row.parent, row.bucket, row.above)
                above[row.parent] = open_node(node, tenant, by_id[row.bucket].key).key
            opened[row.id] = index_key(open_node(row, tenant, above[row.parent]))
    return opened
