"""The key tree: provider key of a tenant's epoch → epoch secret → bucket → artefact key.

    TK(tenant, root, n)  at the provider; destroying it is what erases
      epoch secret       random, wrapped by TK; in the catalogue
        bucket key       tenant × kind × purpose × creation day, in parts; wrapped by the epoch secret
          artefact key   wrapped by the bucket key

Callers see artefacts and their keys, never a level. Bucket keys are held in memory, so a call waits for no provider;
an artefact key goes into the catalogue only while the epoch it was wrapped in is still the newest (compare-and-set),
and is wrapped again otherwise.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, select

from storage.catalogue import Catalogue
from storage.envelope import check_commitment, commitment
from storage.epochs import (
    ALIVE,
    EpochMovedError,
    NewEpoch,
    artefact_ref,
    compare_epochs,
    epoch_row,
    make_epoch,
    open_secret,
)
from storage.errors import Erased, NotFound, StoreError, Unavailable, WrongProvider
from storage.keys import Bucket, Slot, artefact_aad, bucket_aad, fresh_key, unwrap, wrap, wrap_bucket
from storage.model import ArtefactId, ArtefactRef, ArtefactState, Kind, Root, Secret, TenantId, new_id
from storage.providers import KeyProvider
from storage.records import ROOTS, Day, Identifier, NewArtefact
from storage.tables import artefact_keys, artefacts, buckets, epochs, tenants, tombstones
from storage.tags import write_tags
from storage.tenantkeys import note_first_key

BUCKET_KEYS = 2048
"""Keys in a bucket, after which its day gets another one: what an erasure wraps anew is one bucket of each kind,
whatever the day has, while each bucket is a row that every epoch change writes. About so many: a process that has made
room for itself fills it, whatever others do."""

_ATTEMPTS = 8
"""How often an operation follows an epoch that moves under it; changes come seconds apart, so one is usual."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch of one tenant and root: its secret, and the buckets known here. Made anew when it learns of more."""

    tenant: TenantId
    root: Root
    n: int
    secret: bytes = field(repr=False)
    slots: dict[Slot, Bucket] = field(repr=False)
    until: Day
    """The last day that the provider was asked for: buckets up to it are made without it, later ones are not."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A stored artefact's key, read in one snapshot in which the artefact was alive."""

    ref: ArtefactRef
    key: Secret
    segment_bytes: int
    state: ArtefactState
    size: int


Held = dict[tuple[TenantId, Root], Epoch]
"""The epochs under which a transaction places keys."""


@dataclass(frozen=True, slots=True)
class Placing:
    """A new artefact that is to get its rows: its key, creation day, first state, and what it is found by."""

    artefact: NewArtefact
    day: Day
    state: ArtefactState = ArtefactState.WRITING
    size: int = 0
    identifiers: tuple[Identifier, ...] = ()

    @property
    def place(self) -> tuple[TenantId, Root]:
        """The tree that it belongs to."""
        return self.artefact.ref.tenant, ROOTS[self.artefact.ref.kind]

    @property
    def slot(self) -> Slot:
        """The bucket that it belongs to."""
        return Slot(self.artefact.ref.kind, self.artefact.ref.purpose, self.day)


class KeyTree:
    """Makes, places and opens keys. Bucket keys for reading are dropped when the tenant's fence is seen to move."""

    def __init__(self, catalogue: Catalogue, provider: KeyProvider, *, bucket_keys: int = BUCKET_KEYS) -> None:
        self._bucket_keys = bucket_keys
        self._catalogue = catalogue
        self._provider = provider
        self._lock = threading.Lock()
        self._current: Held = {}
        self._room: dict[str, int] = {}  # bucket id → how many keys are still placed there; of those in `_current`
        self._opened: dict[str, tuple[int, dict[str, bytes]]] = {}  # tenant → fence seen, bucket id → key

    def prepare(self, tenant: TenantId, slots: Iterable[Slot]) -> None:
        """Makes the buckets under the newest epoch and holds exactly their keys, so that `hold` asks no provider.

        Always asks it, once for each root: so a provider that is away, or was closed to us, is noticed.
        """
        by_root: dict[Root, set[Slot]] = {}
        for slot in slots:
            by_root.setdefault(ROOTS[slot.kind], set()).add(slot)
        for root, wanted in by_root.items():
            self._learn(tenant, root, wanted, known={}, ask=True)
        with self._lock:
            held = {bucket.id for epoch in self._current.values() for bucket in epoch.slots.values()}
            self._room = {bucket: room for bucket, room in self._room.items() if bucket in held}

    def ready(self, tenant: TenantId, root: Root, day: Day) -> bool:
        """Whether keys of that day can be placed without the provider."""
        with self._lock:
            epoch = self._current.get((tenant, root))
        return epoch is not None and day <= epoch.until

    def hold(self, items: Sequence[Placing]) -> Held:
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

    def place(self, connection: Connection, items: Sequence[Placing], held: Held) -> None:
        """Inserts artefacts with their keys; EpochMovedError if a held epoch is over, see `forget`."""
        compare_epochs(connection, {place: epoch.n for place, epoch in held.items()})
        if not items:
            return
        connection.execute(artefacts.insert(), [_artefact_row(item) for item in items])
        rows = []
        for item in items:
            ref, bucket = item.artefact.ref, held[item.place].slots[item.slot]
            wrapped = wrap(bucket.key, item.artefact.key.reveal(), artefact_aad(ref, bucket.id))
            rows.append({"artefact": ref.artefact, "bucket": bucket.id, "wrapped": wrapped})
        connection.execute(artefact_keys.insert(), rows)
        found: dict[Bucket, list[tuple[ArtefactRef, Secret, Sequence[Identifier]]]] = {}
        for item in items:
            if item.identifiers:
                bucket = held[item.place].slots[item.slot]
                found.setdefault(bucket, []).append((item.artefact.ref, item.artefact.key, item.identifiers))
        for bucket, tagged in found.items():
            write_tags(connection, bucket, tagged)
        self._fill(Counter(held[item.place].slots[item.slot].id for item in items))

    def tag(self, connection: Connection, artefact: NewArtefact, found: Sequence[Identifier]) -> None:
        """Writes what a placed artefact is found by as well, in the bucket of its key; NotFound, Erased.

        In a write transaction; asks the provider unless the bucket was opened before, as `open` of the artefact does.
        """
        row = connection.execute(_KEY_PATH, {"artefact": artefact.ref.artefact}).first()
        if row is None or row.wrapped is None:
            raise _absent(connection, artefact.ref.artefact, artefact.ref.tenant)
        write_tags(connection, Bucket(row.bucket, self._bucket_key(row)), [(artefact.ref, artefact.key, found)])

    def _fill(self, placed: Counter[str]) -> None:
        """Keys were placed: a bucket that has enough of them is not held any more, and the next one is looked for."""
        with self._lock:
            for bucket, count in placed.items():
                self._room[bucket] = self._room.get(bucket, self._bucket_keys) - count
            full = {bucket for bucket in placed if self._room[bucket] <= 0}
            for place, epoch in list(self._current.items()) if full else ():
                slots = {slot: bucket for slot, bucket in epoch.slots.items() if bucket.id not in full}
                self._current[place] = replace(epoch, slots=slots)
            for bucket in full:
                del self._room[bucket]

    def forget(self, held: Held) -> None:
        """Drops epochs that turned out to be over: the next `hold` learns of the newest."""
        with self._lock:
            for place, epoch in held.items():
                if self._current.get(place) is epoch:
                    del self._current[place]

    def open(self, connection: Connection, artefact: ArtefactId, tenant: TenantId | None = None) -> Opened:
        """The key of an artefact in the caller's snapshot; NotFound (also for another tenant's), Erased, WrongKey."""
        row = connection.execute(_KEY_PATH, {"artefact": artefact}).first()
        if row is None or (tenant is not None and row.tenant != tenant):
            raise _absent(connection, artefact, tenant)
        return self._open_row(artefact, row)

    def open_each(self, connection: Connection, wanted: Sequence[ArtefactId]) -> dict[ArtefactId, Opened | StoreError]:
        """The same for many, with one query; what `open` would raise about one of them is its outcome."""
        found = {row.id: row for row in connection.execute(_KEY_PATHS, {"artefacts": wanted})}
        outcomes: dict[ArtefactId, Opened | StoreError] = {}
        for artefact in wanted:
            row = found.get(artefact)
            try:
                outcomes[artefact] = (
                    _absent(connection, artefact, None) if row is None else self._open_row(artefact, row)
                )
            except Unavailable as error:
                if row is None or row.wrapped is not None:  # what is away is away for all of them
                    raise
                outcomes[artefact] = error
            except StoreError as error:
                outcomes[artefact] = error
        return outcomes

    def open_buckets(self, connection: Connection, tenant: TenantId, kind: Kind) -> list[tuple[Day, Bucket]]:
        """The living buckets of a kind, the newest day first; the provider is asked once at most. Unavailable."""
        newest = epoch_row(connection, tenant, ROOTS[kind])
        if newest is None:
            return []
        fence: int = connection.execute(select(tenants.c.fence).where(tenants.c.id == tenant)).scalar_one()
        query = select(buckets).where(buckets.c.tenant == tenant, buckets.c.root == newest.root)
        query = query.where(buckets.c.epoch == newest.n, buckets.c.kind == kind.value).order_by(buckets.c.day.desc())
        rows = connection.execute(query).all()
        with self._lock:
            known_at, known = self._opened.get(tenant, (-1, {}))
            keys = dict(known) if known_at == fence else {}
        missing = [row for row in rows if row.id not in keys]
        if missing:
            secret = self._open_secret(newest)
            for row in missing:
                aad = bucket_aad(tenant, row.root, row.epoch, row.id, Slot(kind, row.purpose, row.day))
                keys[row.id] = unwrap(secret, row.wrapped, aad)
            with self._lock:
                known_at, known = self._opened.get(tenant, (-1, {}))
                self._opened[tenant] = (fence, {**(known if known_at == fence else {}), **keys})
        return [(Day(row.day), Bucket(row.id, keys[row.id])) for row in rows]

    def _open_row(self, artefact: ArtefactId, row: Row[Any]) -> Opened:
        if row.state not in ALIVE:
            raise Erased(f"artefact {artefact} is erased")
        if row.wrapped is None:
            raise Unavailable(f"the catalogue holds no key of artefact {artefact}")
        ref = artefact_ref(row)
        key = Secret(unwrap(self._bucket_key(row), row.wrapped, artefact_aad(ref, row.bucket)))
        check_commitment(key, row.commitment)
        return Opened(ref, key, row.segment_bytes, ArtefactState(row.state), row.size)

    def _bucket_key(self, row: Row[Any]) -> bytes:
        with self._lock:
            fence, keys = self._opened.get(row.tenant, (-1, {}))
            if fence == row.fence and row.bucket in keys:
                return keys[row.bucket]
        epoch = _EpochOfRow(row.tenant, row.root, row.epoch, row.epoch_wrapped)
        slot = Slot(Kind(row.kind), row.purpose, row.day)
        aad = bucket_aad(row.tenant, row.root, row.epoch, row.bucket, slot)
        key = unwrap(open_secret(self._provider, epoch), row.bucket_wrapped, aad)
        with self._lock:
            fence, keys = self._opened.get(row.tenant, (-1, {}))
            if fence != row.fence:
                keys = {}
            keys[row.bucket] = key
            self._opened[row.tenant] = (row.fence, keys)
        return key

    def _learn(
        self, tenant: TenantId, root: Root, wanted: set[Slot], known: dict[Slot, Bucket], *, ask: bool = False
    ) -> Epoch:
        """The newest epoch with at least the wanted buckets, keeping the known ones if they are of this epoch."""
        last = max(slot.day for slot in wanted)
        with self._lock:
            held = self._current.get((tenant, root))
        for _ in range(_ATTEMPTS):
            row = self._newest(tenant, root)
            same = held is not None and held.n == row.n
            if held is not None and same and last <= held.until and not ask:
                secret, until = held.secret, held.until
            else:
                secret, until = self._open_secret(row), max(last, held.until) if held is not None and same else last
            try:
                with self._catalogue.writing() as connection:
                    compare_epochs(connection, {(tenant, root): row.n})
                    filled = _slots(
                        connection, Epoch(tenant, root, row.n, secret, {}, until), wanted, self._bucket_keys
                    )
            except EpochMovedError:
                continue
            slots = {slot: bucket for slot, (bucket, _) in filled.items()}
            epoch = Epoch(tenant, root, row.n, secret, {**known, **slots} if same else slots, until)
            with self._lock:
                self._current[tenant, root] = epoch
                self._room |= {bucket.id: self._bucket_keys - keys for bucket, keys in filled.values()}
            return epoch
        raise Unavailable("the epoch of a tenant's keys does not come to rest; try again")

    def _open_secret(self, row: Row[Any]) -> bytes:
        try:
            return open_secret(self._provider, row)
        except Erased as error:
            raise WrongProvider(
                "the key provider has no key of a tenant's newest epoch: is it another one, or this an old backup?"
            ) from error

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


@dataclass(frozen=True, slots=True)
class _EpochOfRow:
    tenant: str
    root: str
    n: int
    wrapped: bytes = field(repr=False)


def _artefact_row(item: Placing) -> dict[str, object]:
    ref = item.artefact.ref
    return {
        "id": ref.artefact,
        "tenant": ref.tenant,
        "call": ref.call,
        "participant": ref.participant,
        "kind": ref.kind.value,
        "purpose": ref.purpose,
        "commitment": commitment(item.artefact.key),
        "segment_bytes": item.artefact.segment_bytes,
        "state": item.state.value,
        "interrupted": False,
        "size": item.size,
    }


def _key_path() -> Select[Any]:
    """Artefacts with every wrapped key between them and the provider; during an epoch change, on two ways."""
    epoch_of_bucket = and_(
        epochs.c.tenant == buckets.c.tenant, epochs.c.root == buckets.c.root, epochs.c.n == buckets.c.epoch
    )
    joined = (
        artefacts.join(tenants, tenants.c.id == artefacts.c.tenant)
        .outerjoin(artefact_keys, artefact_keys.c.artefact == artefacts.c.id)
        .outerjoin(buckets, buckets.c.id == artefact_keys.c.bucket)
        .outerjoin(epochs, epoch_of_bucket)
    )
    keys = (artefact_keys.c.bucket, artefact_keys.c.wrapped, buckets.c.root, buckets.c.epoch, buckets.c.day)
    wrapped = (buckets.c.wrapped.label("bucket_wrapped"), epochs.c.wrapped.label("epoch_wrapped"))
    return select(artefacts, tenants.c.fence, *keys, *wrapped).select_from(joined)


_KEY_PATH = _key_path().where(artefacts.c.id == bindparam("artefact")).order_by(buckets.c.epoch.desc()).limit(1)
_KEY_PATHS = _key_path().where(artefacts.c.id.in_(bindparam("artefacts", expanding=True))).order_by(buckets.c.epoch)
"""Of one artefact, of many: there the newest way of each stands last."""


def _absent(connection: Connection, artefact: ArtefactId, tenant: TenantId | None) -> Erased | NotFound:
    query = select(tombstones.c.erasure).where(tombstones.c.artefact == artefact)
    if tenant is not None:
        query = query.where(tombstones.c.tenant == tenant)
    if connection.scalar(query) is not None:
        return Erased(f"artefact {artefact} is erased")
    return NotFound(f"no artefact {artefact}")


def _slots(connection: Connection, epoch: Epoch, wanted: set[Slot], bucket_keys: int) -> dict[Slot, tuple[Bucket, int]]:
    """The newest bucket of each wanted slot in an epoch, and how many keys it has; full ones get a next one."""
    where = and_(buckets.c.tenant == epoch.tenant, buckets.c.root == epoch.root, buckets.c.epoch == epoch.n)
    query = select(buckets).where(where, buckets.c.day.in_({slot.day for slot in wanted})).order_by(buckets.c.part)
    newest = {Slot(Kind(row.kind), row.purpose, row.day): row for row in connection.execute(query)}
    slots = {}
    for slot in wanted:
        row, keys, part = newest.get(slot), 0, 0
        if row is not None:
            count = select(func.count()).select_from(artefact_keys).where(artefact_keys.c.bucket == row.id)
            keys, part = connection.scalar(count) or 0, row.part
        if row is not None and keys < bucket_keys:
            aad = bucket_aad(epoch.tenant, epoch.root, epoch.n, row.id, slot)
            slots[slot] = Bucket(row.id, unwrap(epoch.secret, row.wrapped, aad), part), keys
            continue
        made = Bucket(new_id(), fresh_key(), 0 if row is None else part + 1)
        slots[slot] = made, 0
        connection.execute(buckets.insert(), wrap_bucket(made, slot, epoch.tenant, epoch.root, epoch.n, epoch.secret))
    return slots
