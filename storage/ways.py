"""The ways from artefacts to the key provider: their rows, and the keys of buckets, nodes and leaves along them.

Opened keys are held in memory until the tenant's fence moves, so that the provider is asked once for many artefacts.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, bindparam, or_, select

from storage.epochs import open_secret
from storage.errors import Erased, WrongProvider
from storage.keycache import KeyCache
from storage.keys import Bucket, BucketRow, NodeRow, open_bucket, open_node
from storage.liveness import IS_BURIED, IS_NEWEST, LEAF, NODE, is_due
from storage.model import Kind, TenantId
from storage.providers import KeyProvider
from storage.records import Day
from storage.tables import artefact_keys, artefacts, buckets, epochs, tenants

OPENED_MAX = 16_384
"""Keys of buckets, nodes and leaves held for reading: 4 MB. One that is missing costs a question to the provider."""

_IN_EPOCH = and_(epochs.c.tenant == buckets.c.tenant, epochs.c.root == buckets.c.root, epochs.c.n == buckets.c.epoch)


def _ways() -> Select[Any]:
    """Artefacts with every wrapped key between them and the provider: a row for each way, or one without a way."""
    joined = (
        artefacts.join(tenants, tenants.c.id == artefacts.c.tenant)
        .outerjoin(artefact_keys, artefact_keys.c.artefact == artefacts.c.id)
        .outerjoin(LEAF, LEAF.c.id == artefact_keys.c.leaf)
        .outerjoin(NODE, NODE.c.id == LEAF.c.parent)
        .outerjoin(buckets, buckets.c.id == NODE.c.parent)
        .outerjoin(epochs, _IN_EPOCH)
    )
    keys = (artefact_keys.c.leaf, artefact_keys.c.wrapped, LEAF.c.wrapped.label("leaf_wrapped"))
    node = (NODE.c.id.label("node"), NODE.c.wrapped.label("node_wrapped"))
    bucket = [buckets.c[name].label(f"bucket_{name}") for name in BucketRow._fields]
    epoch = (epochs.c.wrapped.label("epoch_wrapped"), IS_NEWEST.label("newest"), IS_BURIED.label("buried"))
    rows = select(artefacts, tenants.c.fence, *keys, *node, *bucket, *epoch).select_from(joined)
    return rows.order_by(buckets.c.epoch.desc().nulls_last(), artefact_keys.c.serial.desc())


_OF_ONE = _ways().where(artefacts.c.id == bindparam("artefact"))
_OF_MANY = _ways().where(artefacts.c.id.in_(bindparam("artefacts", expanding=True)))

_EPOCHS = select(epochs).where(epochs.c.tenant == bindparam("tenant")).order_by(epochs.c.n)
_BUCKETS = select(buckets).where(
    buckets.c.tenant == bindparam("tenant"),
    buckets.c.root == bindparam("root"),
    buckets.c.epoch == bindparam("epoch"),
    buckets.c.kind == bindparam("kind"),
    or_(buckets.c.due.is_(None), buckets.c.due > bindparam("now")),
)
_FENCE = select(tenants.c.fence).where(tenants.c.id == bindparam("tenant"))


class _EpochRow(NamedTuple):
    tenant: str
    root: str
    n: int
    wrapped: bytes


def ways_of(connection: Connection, artefact: str) -> Sequence[Row[Any]]:
    """One artefact's, the newest first; nothing if there is no such artefact."""
    return connection.execute(_OF_ONE, {"artefact": artefact}).all()


def ways_of_each(connection: Connection, wanted: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """The same for many, with one query."""
    found: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(_OF_MANY, {"artefacts": wanted}):
        found.setdefault(row.id, []).append(row)
    return found


def leads(row: Row[Any]) -> bool:
    """Whether a row is a whole way, from the artefact to an epoch."""
    return row.epoch_wrapped is not None


def counts(row: Row[Any], now_s: float) -> bool:
    """Whether a way may be used: `storage.liveness` says which."""
    return leads(row) and bool(row.newest) and not row.buried and not is_due(row.bucket_due, now_s)


class Opener:
    """Opens what stands along ways; thread-safe."""

    def __init__(self, provider: KeyProvider) -> None:
        self._provider = provider
        self._opened = KeyCache(OPENED_MAX)

    def leaf_key(self, row: Row[Any]) -> bytes:
        """The key of a way's leaf; Erased if its epoch's provider key is destroyed, Unavailable."""
        tenant, fence = row.tenant, row.fence
        key = self._opened.get(tenant, fence, row.leaf)
        if key is not None:
            return key
        made: dict[str, bytes] = {}
        node_key = self._opened.get(tenant, fence, row.node)
        if node_key is None:
            bucket_key = self._bucket_key(row, made)
            node_key = open_node(NodeRow(row.node, row.bucket_id, row.node_wrapped), tenant, bucket_key).key
            made[row.node] = node_key
        made[row.leaf] = key = open_node(NodeRow(row.leaf, row.node, row.leaf_wrapped), tenant, node_key).key
        self._opened.put(tenant, fence, made)
        return key

    def open_buckets(
        self, connection: Connection, tenant: TenantId, kind: Kind, now_s: float
    ) -> list[tuple[Day, Bucket]]:
        """The living buckets of a kind, the newest day first; the provider is asked once for each root. Unavailable."""
        fence: int = connection.execute(_FENCE, {"tenant": tenant}).scalar_one()
        newest = {row.root: row for row in connection.execute(_EPOCHS, {"tenant": tenant})}
        made: dict[str, bytes] = {}
        found = []
        for root, epoch in newest.items():
            of_epoch = {"tenant": tenant, "root": root, "epoch": epoch.n, "kind": kind.value, "now": int(now_s)}
            rows = connection.execute(_BUCKETS, of_epoch).all()
            keys = self._opened.get_each(tenant, fence, [row.id for row in rows])
            secret = newest_secret(self._provider, epoch) if len(keys) < len(rows) else b""
            for row in rows:
                key = keys.get(row.id)
                if key is None:
                    key = made[row.id] = open_bucket(row, secret).key
                found.append((Day(row.day), Bucket(row.id, key, row.due)))
        self._opened.put(tenant, fence, made)
        return sorted(found, key=itemgetter(0), reverse=True)

    def _bucket_key(self, row: Row[Any], made: dict[str, bytes]) -> bytes:
        key = self._opened.get(row.tenant, row.fence, row.bucket_id)
        if key is None:
            secret = open_secret(self._provider, _epoch_of(row))
            key = made[row.bucket_id] = open_bucket(_bucket_of(row), secret).key
        return key


def newest_secret(provider: KeyProvider, row: Any) -> bytes:
    """WrongProvider where the provider has not the newest epoch's key: not an answer about one artefact."""
    try:
        return open_secret(provider, row)
    except Erased as error:
        raise WrongProvider(
            "the key provider has no key of a tenant's newest epoch: is it another one, or this an old backup?"
        ) from error


def _bucket_of(row: Row[Any]) -> BucketRow:
    return BucketRow(*(getattr(row, f"bucket_{name}") for name in BucketRow._fields))


def _epoch_of(row: Row[Any]) -> _EpochRow:
    return _EpochRow(row.bucket_tenant, row.bucket_root, row.bucket_epoch, row.epoch_wrapped)
