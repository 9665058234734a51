"""Epochs of a tenant's keys, and the change from one to the next that makes every older copy waste paper.

A change replaces the buckets that ever held what is being erased, wraps their surviving keys anew, carries all other
buckets over, and leaves the old rows in place until the old provider key is destroyed: so up to there nothing is
lost whatever goes wrong, and `read_back` has something to compare with.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select

from storage.envelope import check_commitment
from storage.errors import DataError, Unavailable
from storage.keys import (
    PROBE_AAD,
    Bucket,
    Slot,
    artefact_aad,
    bucket_aad,
    epoch_aad,
    fresh_key,
    provider_key,
    unwrap,
    wrap,
    wrap_bucket,
)
from storage.model import ArtefactId, ArtefactRef, ArtefactState, CallId, Kind, ParticipantId, Secret, TenantId, new_id
from storage.providers import KeyProvider
from storage.tables import artefact_keys, artefacts, buckets, epochs
from storage.tags import batches, compare_tags, move_tags

ALIVE = (ArtefactState.WRITING.value, ArtefactState.COMPLETE.value)
"""Whoever is in one of these states survives an epoch change."""

_ROWS_AT_ONCE = 1_000
"""Keys rewrapped between two statements: bounds memory, costs nothing in speed."""


class EpochMovedError(Exception):
    """An epoch that keys were wrapped under is not the newest any more: wrap again."""


@dataclass(frozen=True, slots=True)
class NewEpoch:
    """An epoch that is not in the catalogue yet."""

    tenant: str
    root: str
    n: int
    secret: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    probe: bytes = field(repr=False)

    def insert(self, connection: Connection) -> None:
        """Writes its row."""
        names = ("tenant", "root", "n", "wrapped", "probe")
        connection.execute(epochs.insert(), {name: getattr(self, name) for name in names})


def make_epoch(provider: KeyProvider, tenant: str, root: str, n: int) -> NewEpoch:
    """Makes TK(tenant, root, n), unless it is there already, and a fresh secret and probe under it."""
    name = provider_key(tenant, root, n)
    provider.create(name)
    secret = fresh_key()
    wrapped = provider.wrap(name, secret, epoch_aad(tenant, root, n))
    return NewEpoch(tenant, root, n, secret, wrapped, provider.wrap(name, fresh_key(), PROBE_AAD))


def open_secret(provider: KeyProvider, row: Any) -> bytes:
    """The secret in a row of `epochs`; Erased if its provider key is destroyed."""
    return provider.unwrap(
        provider_key(row.tenant, row.root, row.n), row.wrapped, epoch_aad(row.tenant, row.root, row.n)
    )


def epoch_row(connection: Connection, tenant: str, root: str, n: int | None = None) -> Row[Any] | None:
    """One epoch's row; the newest unless `n` says which."""
    query = select(epochs).where(epochs.c.tenant == tenant, epochs.c.root == root)
    if n is not None:
        query = query.where(epochs.c.n == n)
    return connection.execute(query.order_by(epochs.c.n.desc()).limit(1)).first()


def compare_epochs(connection: Connection, expected: dict[tuple[TenantId, Any], int]) -> None:
    """EpochMovedError unless these are the newest epochs; holds until the end of a write transaction."""
    of_tenants = epochs.c.tenant.in_({tenant for tenant, _ in expected})
    query = select(epochs.c.tenant, epochs.c.root, func.max(epochs.c.n)).where(of_tenants)
    newest = {(tenant, root): n for tenant, root, n in connection.execute(query.group_by("tenant", "root"))}
    if any(newest.get((tenant, root)) != n for (tenant, root), n in expected.items()):
        raise EpochMovedError


def change_epoch(connection: Connection, old: bytes, new: NewEpoch, replaced: Collection[str]) -> dict[str, int]:
    """Writes epoch `new` with all that survives; gives counts. `old` is the secret of the epoch before.

    Raises EpochMovedError if `new` does not follow the newest epoch.
    """
    compare_epochs(connection, {(TenantId(new.tenant), new.root): new.n - 1})
    new.insert(connection)
    counts = {"buckets_kept": 0, "buckets_replaced": 0, "keys_rewrapped": 0, "tags_moved": 0}
    for rows in batches(_buckets(connection, new.tenant, new.root, new.n - 1), _ROWS_AT_ONCE):
        changes = [(_open_bucket(row, old), _slot(row)) for row in rows]
        changed = [(before, _successor(before, replaced), slot) for before, slot in changes]
        connection.execute(
            buckets.insert(),
            [wrap_bucket(after, slot, new.tenant, new.root, new.n, new.secret) for _, after, slot in changed],
        )
        for before, after, _ in changed:
            if after is before:
                counts["buckets_kept"] += 1
                continue
            counts["buckets_replaced"] += 1
            keys, tags = _rewrap(connection, before, after)
            counts["keys_rewrapped"] += keys
            counts["tags_moved"] += tags
    return counts


def read_back(connection: Connection, provider: KeyProvider, tenant: str, root: str, n: int) -> int:
    """Opens all of epoch `n` from its rows and compares it with the epoch before; gives the number of keys compared.

    Raises Unavailable at the first thing missing, DataError at the first that is not what it should be.
    """
    rows = [epoch_row(connection, tenant, root, number) for number in (n - 1, n)]
    if rows[0] is None or rows[1] is None:
        raise Unavailable(f"epoch {n} or the one before is missing: nothing is destroyed")
    old, new = (open_secret(provider, row) for row in rows)
    after = {(_slot(row), row.part): _open_bucket(row, new) for row in _buckets(connection, tenant, root, n)}
    compared = 0
    for row in _buckets(connection, tenant, root, n - 1):
        before, successor = _open_bucket(row, old), after.get((_slot(row), row.part))
        if successor is None:
            raise Unavailable(f"bucket {before.id} has no successor: nothing is destroyed")
        if successor.id == before.id:
            if successor.key != before.key:
                raise DataError(f"bucket {before.id} was carried over with another key: nothing is destroyed")
            continue
        compared += _compare_survivors(connection, before, successor)
        compare_tags(connection, before.id, successor.id, ALIVE)
    return compared


def replaced_buckets(connection: Connection, tenant: str, root: str, n: int) -> list[str]:
    """Ids of the buckets of epoch `n` and before that did not live on in the next one."""
    of_root = and_(buckets.c.tenant == tenant, buckets.c.root == root)
    living = select(buckets.c.id).where(of_root, buckets.c.epoch > n)
    query = select(buckets.c.id).where(of_root, buckets.c.epoch <= n, buckets.c.id.not_in(living)).distinct()
    return list(connection.scalars(query))


def _buckets(connection: Connection, tenant: str, root: str, n: int) -> list[Row[Any]]:
    where = and_(buckets.c.tenant == tenant, buckets.c.root == root, buckets.c.epoch == n)
    return list(connection.execute(select(buckets).where(where)))


def _slot(row: Row[Any]) -> Slot:
    return Slot(Kind(row.kind), row.purpose, row.day)


def _open_bucket(row: Row[Any], secret: bytes) -> Bucket:
    key = unwrap(secret, row.wrapped, bucket_aad(row.tenant, row.root, row.epoch, row.id, _slot(row)))
    return Bucket(row.id, key, row.part)


def _successor(before: Bucket, replaced: Collection[str]) -> Bucket:
    return Bucket(new_id(), fresh_key(), before.part) if before.id in replaced else before


def _rewrap(connection: Connection, before: Bucket, after: Bucket) -> tuple[int, int]:
    """Gives the survivors their keys and tags under the new bucket; how many of each."""
    survivors = connection.execute(_survivors(before)).all()
    tagged = 0
    counts: dict[bytes, int] = {}
    for start in range(0, len(survivors), _ROWS_AT_ONCE):
        rows, opened = [], []
        for row in survivors[start : start + _ROWS_AT_ONCE]:
            ref = artefact_ref(row)
            key = unwrap(before.key, row.wrapped, artefact_aad(ref, before.id))
            check_commitment(Secret(key), row.commitment)
            wrapped = wrap(after.key, key, artefact_aad(ref, after.id))
            rows.append({"artefact": ref.artefact, "bucket": after.id, "wrapped": wrapped})
            opened.append((ref, Secret(key)))
        connection.execute(artefact_keys.insert(), rows)
        tagged += move_tags(connection, after, opened, counts)
    return len(survivors), tagged


def _compare_survivors(connection: Connection, before: Bucket, after: Bucket) -> int:
    query = select(artefact_keys.c.artefact, artefact_keys.c.wrapped).where(artefact_keys.c.bucket == after.id)
    wrapped = {row.artefact: row.wrapped for row in connection.execute(query)}
    compared = 0
    for row in connection.execute(_survivors(before)):
        if row.id not in wrapped:
            raise Unavailable(f"artefact {row.id} has no key in the new epoch: nothing is destroyed")
        key = unwrap(after.key, wrapped[row.id], artefact_aad(artefact_ref(row), after.id))
        check_commitment(Secret(key), row.commitment)
        compared += 1
    return compared


def _survivors(bucket: Bucket) -> Any:
    joined = artefacts.join(artefact_keys, artefact_keys.c.artefact == artefacts.c.id)
    query = select(artefacts, artefact_keys.c.wrapped).select_from(joined)
    return query.where(artefact_keys.c.bucket == bucket.id, artefacts.c.state.in_(ALIVE))


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
