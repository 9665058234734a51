"""Epochs of a tenant's keys, and the change from one to the next that makes every older copy waste paper.

A change replaces the leaves that ever held what is being erased, with the node and the bucket above each, and wraps
anew what survives below them (`storage.rewrapping`); other buckets it carries over, those that are dropped it leaves
behind. Old rows stay in
place until the old provider key is destroyed: so up to there nothing is lost whatever goes wrong, and `read_back` has
something to compare with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, and_, func, select

from storage.errors import DataError, Tampered, Unavailable
from storage.keys import (
    PROBE_AAD,
    Bucket,
    Slot,
    epoch_aad,
    fresh_key,
    open_bucket,
    provider_key,
    slot_of,
    wrap_bucket,
)
from storage.model import TenantId
from storage.providers import KeyProvider
from storage.rewrapping import Rewrapping, Twig
from storage.survival import ALIVE, Comparison, artefact_ref, check_left_behind
from storage.tables import buckets, epochs, nodes
from storage.tags import ROWS_AT_ONCE, batches

__all__ = [
    "ALIVE",
    "EpochMovedError",
    "NewEpoch",
    "NextEpoch",
    "artefact_ref",
    "change_epoch",
    "compare_epochs",
    "epoch_row",
    "make_epoch",
    "open_secret",
    "read_back",
]

COUNTS = (
    *("buckets_kept", "buckets_replaced", "buckets_dropped"),
    *("nodes_kept", "nodes_replaced", "leaves_kept", "leaves_replaced", "keys_rewrapped", "tags_moved"),
)
"""What a change counts. A bucket that is kept is a row, and so is a node or leaf below one that is replaced."""


Item = TypeVar("Item")


Transaction = Callable[[], AbstractContextManager[Connection]]
"""What begins a transaction of one kind."""


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
    """The secret in a row of `epochs`; Erased if its provider key is destroyed, Tampered if the row is damaged."""
    name = provider_key(row.tenant, row.root, row.n)
    try:
        return provider.unwrap(name, row.wrapped, epoch_aad(row.tenant, row.root, row.n))
    except Tampered as error:
        raise Tampered(
            f"the epoch secret below key {name} is damaged: {error}. What mends it: stop the server and put back the"
            f" column `wrapped` of that row of `epochs` (tenant {row.tenant}, root {row.root}, n {row.n}) from the"
            " catalogue.sqlite3 of a backup; where no backup is as young, `callvault restore` of the newest one into an"
            " empty folder takes it from the witness"
        ) from error


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


class NextEpoch:
    """The epoch `new` of one root with all that survives, prepared ahead and then written in one transaction.

    `old` is the secret of the epoch before. `replaced` are leaves that live on, if anything of them does, under a new
    key in a new node of a new bucket; those of other roots and of epochs long over are passed over. `dropped` are
    buckets of which nothing lives on. Whoever meets an exception begins with a new one.
    """

    def __init__(self, old: bytes, new: NewEpoch, replaced: Collection[str], dropped: Collection[str] = ()) -> None:
        self.root = new.root
        self._old = old
        self._new = new
        self._replaced = replaced
        self._dropped = dropped
        self._opened: dict[str, Bucket | None] = {}
        self._rows: dict[str, dict[str, object]] = {}
        self._below: Rewrapping | None = None
        self._stale: list[Twig] = []

    def prepare(self, reading: Transaction, writing: Transaction, change: str) -> None:
        """Writes ahead what can be, in short transactions, noted as prepared for the change."""
        with reading() as connection:
            below = self._outline(connection)
        below.prepare(reading, writing, change)

    def look(self, connection: Connection) -> int:
        """How many leaves `write` has to wrap in this transaction, which it is to be called in.

        EpochMovedError if this does not follow the newest epoch.
        """
        new = self._new
        compare_epochs(connection, {(TenantId(new.tenant), new.root): new.n - 1})
        self._stale = self._outline(connection).look(connection)
        return len(self._stale)

    def write(self, connection: Connection) -> dict[str, int]:
        """Writes the epoch as `look` has found it; gives counts."""
        new, stale = self._new, self._stale
        below = self._outline(connection)
        new.insert(connection)
        counts = dict.fromkeys(COUNTS, 0)
        lasting = below.finish(connection, stale, counts)
        for rows in batches(_buckets(connection, new.tenant, new.root, new.n - 1), ROWS_AT_ONCE):
            filled = _filled(connection, [row.id for row in rows])
            after = []
            for row in rows:
                before = None if row.id in self._dropped else self._open(connection, row)
                if before is None:
                    counts["buckets_dropped"] += 1
                elif row.id in below.buckets:
                    if below.buckets[row.id].after.id in lasting:
                        after.append(self._row(row, before) | {"due": row.due})
                        counts["buckets_replaced"] += 1
                elif row.id in filled:
                    after.append(self._row(row, before) | {"due": row.due})
                    counts["buckets_kept"] += 1
            if after:
                connection.execute(buckets.insert(), after)
        return counts

    def _outline(self, connection: Connection) -> Rewrapping:
        """Opens every bucket, and wraps it for the next epoch; what stands below those that are replaced."""
        if self._below is None:
            new = self._new
            touched = _touched(connection, new, self._replaced)
            self._below = below = Rewrapping(new.tenant, touched)
            for row in _buckets(connection, new.tenant, new.root, new.n - 1):
                before = None if row.id in self._dropped else self._open(connection, row)
                if before is not None:
                    if row.id in touched:
                        below.add(before, row.purpose)
                    self._row(row, before)
        return self._below

    def _open(self, connection: Connection, row: Row[Any]) -> Bucket | None:
        """None if it does not open and nothing lives in it, Tampered if something does."""
        found = self._opened.get(row.id)
        if found is None:
            found = self._opened[row.id] = _opened(connection, row, self._old)
        return found

    def _row(self, row: Row[Any], before: Bucket) -> dict[str, object]:
        """Of its successor, with another end perhaps than it has in the transaction."""
        found = self._rows.get(row.id)
        if found is None:
            assert self._below is not None
            branch = self._below.buckets.get(row.id)
            bucket = before if branch is None else Bucket(branch.after.id, branch.after.key, before.due)
            new = self._new
            made = wrap_bucket(bucket, slot_of(row), new.tenant, new.root, new.n, new.secret)
            found = self._rows[row.id] = made
        return found


def change_epoch(
    connection: Connection, old: bytes, new: NewEpoch, replaced: Collection[str], dropped: Collection[str] = ()
) -> dict[str, int]:
    """Writes epoch `new` with all that survives, and nothing of it ahead; gives counts. See `NextEpoch`."""
    epoch = NextEpoch(old, new, replaced, dropped)
    epoch.look(connection)
    return epoch.write(connection)


def read_back(
    connection: Connection, provider: KeyProvider, tenant: str, root: str, n: int, dropped: Collection[str] = ()
) -> int:
    """Opens all of epoch `n` from its rows and compares it with the epoch before; gives the number of keys compared.

    Raises Unavailable at the first thing missing, DataError at the first that is not what it should be.
    """
    rows = [epoch_row(connection, tenant, root, number) for number in (n - 1, n)]
    if rows[0] is None or rows[1] is None:
        raise Unavailable(f"epoch {n} or the one before is missing: nothing is destroyed")
    old, new = (open_secret(provider, row) for row in rows)
    after = {slot_of(row): open_bucket(row, new) for row in _buckets(connection, tenant, root, n)}
    compared, pairs = 0, []
    for row in _buckets(connection, tenant, root, n - 1):
        successor = after.get(slot_of(row))
        if row.id in dropped:
            if successor is not None and successor.id == row.id:
                raise DataError(f"bucket {row.id} was to be dropped and lives on: nothing is destroyed")
            continue
        before = _opened(connection, row, old)
        if before is None:
            continue
        if successor is not None and successor.id == before.id:
            if successor.key != before.key:
                raise DataError(f"bucket {before.id} was carried over with another key: nothing is destroyed")
        else:
            pairs.append((slot_of(row), (before, successor)))
    for purpose, replaced in _by_purpose(pairs):
        for batch in batches(replaced, ROWS_AT_ONCE):
            compared += Comparison(connection, tenant, purpose).buckets(batch)
    return compared


def _buckets(connection: Connection, tenant: str, root: str, n: int) -> list[Row[Any]]:
    where = and_(buckets.c.tenant == tenant, buckets.c.root == root, buckets.c.epoch == n)
    return list(connection.execute(select(buckets).where(where).order_by(buckets.c.serial)))


def _by_purpose(items: Iterable[tuple[Slot, Item]]) -> Iterable[tuple[str, list[Item]]]:
    found: dict[str, list[Item]] = {}
    for slot, item in items:
        found.setdefault(slot.purpose, []).append(item)
    return found.items()


def _opened(connection: Connection, row: Row[Any], secret: bytes) -> Bucket | None:
    """A bucket of the epoch before; None if it does not open and nothing lives in it, Tampered if something does."""
    try:
        return open_bucket(row, secret)
    except Tampered:
        check_left_behind(connection, row.id, row.purpose)
        return None


def _filled(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of these buckets that have nodes: others were only prepared, and are made again when they are needed."""
    return set(connection.scalars(select(nodes.c.parent).distinct().where(nodes.c.parent.in_(ids))))


def _touched(connection: Connection, new: NewEpoch, replaced: Collection[str]) -> dict[str, dict[str, set[str]]]:
    """Bucket → node → its leaves that are replaced, in the epoch before."""
    leaf, node = nodes.alias("leaf"), nodes.alias("node")
    joined = leaf.join(node, node.c.id == leaf.c.parent).join(buckets, buckets.c.id == node.c.parent)
    query = select(leaf.c.id.label("leaf"), node.c.id.label("node"), buckets.c.id.label("bucket")).select_from(joined)
    query = query.where(buckets.c.tenant == new.tenant, buckets.c.root == new.root, buckets.c.epoch == new.n - 1)
    found: dict[str, dict[str, set[str]]] = {}
    for batch in batches(replaced, ROWS_AT_ONCE):
        for row in connection.execute(query.where(leaf.c.id.in_(batch))):
            found.setdefault(row.bucket, {}).setdefault(row.node, set()).add(row.leaf)
    return found
