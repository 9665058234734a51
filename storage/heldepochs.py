"""The epochs that this process places keys under, with the secrets and bucket keys of what it was prepared for.

They are held in memory, so that a call waits for no provider, until it turns out that an epoch is over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from storage.catalogue import Catalogue
from storage.epochs import EpochMovedError, NewEpoch, compare_epochs, epoch_row, make_epoch
from storage.errors import Unavailable
from storage.filling import Filling, read_fillings
from storage.keys import Bucket, Slot, fresh_key, open_bucket, slot_of, wrap_bucket
from storage.model import Kind, Root, TenantId, new_id
from storage.placing import Epoch, Held, Wrappable
from storage.providers import KeyProvider
from storage.records import ROOTS, Day
from storage.tables import buckets
from storage.tenantkeys import note_first_key
from storage.ways import newest_secret

DueOf = Callable[[Connection, TenantId, Kind, str, Day], int | None]
"""The Unix second from which reads of a bucket are refused, by tenant, kind, purpose and day; None: no end. Asked in
the transaction that makes the bucket, so it sees the policy that is in force there."""

_ATTEMPTS = 8
"""How often an operation follows an epoch that moves under it; changes come seconds apart, so one is usual."""

_RESTLESS = "the epoch of a tenant's keys does not come to rest; try again"


class HeldEpochs:
    """Thread-safe."""

    def __init__(self, catalogue: Catalogue, provider: KeyProvider, due_of: DueOf) -> None:
        self._catalogue = catalogue
        self._provider = provider
        self._due_of = due_of
        self._lock = threading.Lock()
        self._current: Held = {}

    def prepare(self, tenant: TenantId, slots: Iterable[Slot]) -> None:
        """Makes the buckets under the newest epoch and holds exactly their keys, so that `hold` asks no provider.

        Always asks it, once for each root: so a provider that is away, or was closed to us, is noticed.
        """
        by_root: dict[Root, set[Slot]] = {}
        for slot in slots:
            by_root.setdefault(ROOTS[slot.kind], set()).add(slot)
        for root, wanted in by_root.items():
            self._learn(tenant, root, wanted, known={}, ask=True)

    def ready(self, tenant: TenantId, root: Root, day: Day) -> bool:
        """Whether keys of that day can be placed without the provider."""
        with self._lock:
            epoch = self._current.get((tenant, root))
        return epoch is not None and day <= epoch.until

    def hold(self, items: Sequence[Wrappable]) -> Held:
        """The epochs and bucket keys under which these artefacts' keys can be placed; from memory where prepared."""
        wanted: dict[tuple[TenantId, Root], set[Slot]] = {}
        for item in items:
            wanted.setdefault(item.place, set()).add(item.slot)
        held = {}
        for place, slots in wanted.items():
            with self._lock:
                epoch = self._current.get(place)
            known = epoch.slots if epoch is not None else {}
            held[place] = epoch if epoch is not None and slots <= known.keys() else self._learn(*place, slots, known)
        return held

    def write(self, items: Sequence[Wrappable], act: Callable[[Connection, Held], None]) -> None:
        """Acts in a write transaction under the newest epochs; again, from the beginning, as long as one moves."""
        for _ in range(_ATTEMPTS):
            held = self.hold(items)
            try:
                with self._catalogue.writing() as connection:
                    act(connection, held)
            except EpochMovedError:
                self.forget(held)
                continue
            return
        raise Unavailable(_RESTLESS)

    def forget(self, held: Held) -> None:
        """Drops epochs that turned out to be over: the next `hold` learns of the newest."""
        with self._lock:
            for place, epoch in held.items():
                if self._current.get(place) is epoch:
                    del self._current[place]

    def _learn(
        self, tenant: TenantId, root: Root, wanted: set[Slot], known: dict[Slot, Filling], *, ask: bool = False
    ) -> Epoch:
        """The newest epoch with at least the wanted slots, keeping the known ones if they are of this epoch.

        Its secret is used again, without asking the provider, for days that this was asked for before.
        """
        last = max(slot.day for slot in wanted)
        with self._lock:
            held = self._current.get((tenant, root))
        for _ in range(_ATTEMPTS):
            row = self._newest(tenant, root)
            former = held if held is not None and held.n == row.n else None
            if former is not None and last <= former.until and not ask:
                secret, until = former.secret, former.until
            else:
                secret, until = newest_secret(self._provider, row), max(last, former.until if former else last)
            try:
                with self._catalogue.writing() as connection:
                    compare_epochs(connection, {(tenant, root): row.n})
                    slots = self._slots(connection, Epoch(tenant, root, row.n, secret, {}, until), wanted)
            except EpochMovedError:
                continue
            epoch = Epoch(tenant, root, row.n, secret, {**known, **slots} if former else slots, until)
            with self._lock:
                self._current[tenant, root] = epoch
            return epoch
        raise Unavailable(_RESTLESS)

    def _slots(self, connection: Connection, epoch: Epoch, wanted: set[Slot]) -> dict[Slot, Filling]:
        """The bucket of each wanted slot in an epoch, made if it is missing, and where its next keys go."""
        where = and_(buckets.c.tenant == epoch.tenant, buckets.c.root == epoch.root, buckets.c.epoch == epoch.n)
        query = select(buckets).where(where, buckets.c.day.in_({slot.day for slot in wanted}))
        rows = {slot_of(row): row for row in connection.execute(query)}
        there = {slot: open_bucket(rows[slot], epoch.secret) for slot in wanted if slot in rows}
        fillings = read_fillings(connection, epoch.tenant, there.values())
        slots = {slot: fillings[bucket.id] for slot, bucket in there.items()}
        for slot in wanted - there.keys():
            made = Bucket(new_id(), fresh_key(), self._due(connection, epoch, slot))
            slots[slot] = Filling(made)
            row = wrap_bucket(made, slot, epoch.tenant, epoch.root, epoch.n, epoch.secret)
            connection.execute(buckets.insert(), row)
        return slots

    def _due(self, connection: Connection, epoch: Epoch, slot: Slot) -> int | None:
        """A hold has no end but its release."""
        if epoch.root is Root.HOLD:
            return None
        return self._due_of(connection, epoch.tenant, slot.kind, slot.purpose, slot.day)

    def _newest(self, tenant: TenantId, root: Root) -> Row[Any]:
        with self._catalogue.reading() as connection:
            row = epoch_row(connection, tenant, root)
        if row is not None:
            return row
        first: NewEpoch = make_epoch(self._provider, tenant, root, 0)
        with self._catalogue.writing() as connection:
            if epoch_row(connection, tenant, root) is None:
                first.insert(connection)
                note_first_key(connection, self._provider, tenant)
            row = epoch_row(connection, tenant, root)
        assert row is not None
        return row
