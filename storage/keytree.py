"""The key tree: provider key of a tenant's epoch → epoch secret → bucket → node → leaf → artefact key.

    TK(tenant, root, n)  at the provider; destroying it is what erases
      epoch secret       random, wrapped by TK; in the catalogue
        bucket key       tenant × kind × purpose × creation day, with its end; wrapped by the epoch secret
          node key       64 leaves; wrapped by the bucket key
            leaf key     64 artefacts, those of a call together; wrapped by the node key
              artefact key   wrapped by the leaf key: one wrap for each purpose it is kept for, and for each hold

Callers see artefacts and their keys, never a level. Keys that wrap are held in memory, so a call waits for no provider;
an artefact key goes into the catalogue only while the epoch it was wrapped in is still the newest (compare-and-set),
and is wrapped again otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from storage.catalogue import Catalogue
from storage.envelope import check_commitment
from storage.epochs import ALIVE, artefact_ref, compare_epochs
from storage.errors import Erased, NotFound, StoreError, Unavailable
from storage.heldepochs import DueOf, HeldEpochs
from storage.keys import Bucket, Node, Slot, artefact_aad, unwrap
from storage.liveness import alive, erased, expired
from storage.model import ArtefactId, ArtefactRef, ArtefactState, Kind, Root, Secret, TenantId
from storage.placing import Held, Keeping, Placing, Wrappable, insert_artefacts, insert_keys, insert_tags, missing_wraps
from storage.policies import due_of
from storage.providers import KeyProvider
from storage.records import Day, Identifier, NewArtefact
from storage.searchkeys import SearchKeys
from storage.tables import tombstones
from storage.tags import ROWS_AT_ONCE, batches, read_identifiers, write_identifiers, write_tags
from storage.ways import Opener, counts, leads, ways_of, ways_of_each


@dataclass(frozen=True, slots=True)
class Opened:
    """A stored artefact's key, read in one snapshot in which the artefact was alive."""

    ref: ArtefactRef
    key: Secret
    segment_bytes: int
    state: ArtefactState
    size: int


class KeyTree:
    """Makes, places and opens keys. Keys for reading are dropped when the tenant's fence is seen to move."""

    def __init__(
        self,
        catalogue: Catalogue,
        provider: KeyProvider,
        clock: Callable[[], float] = time.time,
        due_of: DueOf = due_of,
    ) -> None:
        """`clock` gives Unix time."""
        self.now = clock
        self._held = HeldEpochs(catalogue, provider, due_of)
        self._opener = Opener(provider)
        self._search_keys = SearchKeys()

    # Going in.

    def prepare(self, tenant: TenantId, slots: Iterable[Slot]) -> None:
        """Makes the buckets under the newest epoch and holds exactly their keys, so that `hold` asks no provider."""
        self._held.prepare(tenant, slots)

    def ready(self, tenant: TenantId, root: Root, day: Day) -> bool:
        """Whether keys of that day can be placed without the provider."""
        return self._held.ready(tenant, root, day)

    def hold(self, items: Sequence[Wrappable]) -> Held:
        """The epochs and bucket keys under which these artefacts' keys can be placed; from memory where prepared."""
        return self._held.hold(items)

    def forget(self, held: Held) -> None:
        """Drops epochs that turned out to be over: the next `hold` learns of the newest."""
        self._held.forget(held)

    def write(self, items: Sequence[Wrappable], act: Callable[[Connection, Held], None]) -> None:
        """Acts in a write transaction under epochs held for these artefacts; again as long as one of them moves.

        What `place` and `keep` are called in: they find out.
        """
        self._held.write(items, act)

    def place(self, connection: Connection, items: Sequence[Placing], held: Held) -> None:
        """Inserts artefacts with their keys; EpochMovedError if a held epoch is over, see `forget`."""
        compare_epochs(connection, {place: epoch.n for place, epoch in held.items()})
        if not items:
            return
        insert_artefacts(connection, items)
        leaves = insert_keys(connection, items, held)
        tagged = [(item.ref, item.key, item.identifiers) for item in items if item.identifiers]
        write_identifiers(connection, tagged)
        insert_tags(connection, leaves, [(ref, found) for ref, _, found in tagged])

    def keep(self, connection: Connection, items: Sequence[Keeping], held: Held) -> int:
        """Wraps the keys of living artefacts a further time, in a write transaction; gives how many were not there yet.

        Erased if one is not alive any more, or was erased for that purpose; EpochMovedError if a held epoch is over,
        see `forget`.
        """
        compare_epochs(connection, {place: epoch.n for place, epoch in held.items()})
        new = []
        for some in batches(items, ROWS_AT_ONCE):
            living = alive(connection, [item.ref.artefact for item in some], self.now())
            withdrawn = _withdrawn(connection, some)
            for item in some:
                if item.ref.artefact not in living:
                    raise erased(item.ref.artefact)
                if (item.ref.artefact, item.purpose) in withdrawn:  # for ever: the wrap would count for nothing
                    raise Erased(f"artefact {item.ref.artefact} was erased for the purpose {item.purpose}")
            new += missing_wraps(connection, some, held)
        if new:
            leaves = insert_keys(connection, new, held)
            insert_tags(connection, leaves, read_identifiers(connection, [(item.ref, item.key) for item in new]))
        return len(new)

    def tag(self, connection: Connection, artefact: NewArtefact, found: Sequence[Identifier]) -> None:
        """Writes what a placed artefact is found by as well, in each leaf of its key; NotFound, Erased.

        In a write transaction; asks the provider unless those leaves were opened before, as `open_leaves` does.
        """
        for leaf in self.open_leaves(connection, artefact.ref.artefact, artefact.ref.tenant):
            write_tags(connection, leaf, [(artefact.ref, found)])
        write_identifiers(connection, [(artefact.ref, artefact.key, found)])

    # Going out.

    def open(self, connection: Connection, artefact: ArtefactId, tenant: TenantId | None = None) -> Opened:
        """The key of an artefact in the caller's snapshot, on any way that is alive.

        NotFound (also for another tenant's), Erased, Expired where no way is alive, WrongKey.
        """
        rows = ways_of(connection, artefact)
        if not rows or (tenant is not None and rows[0].tenant != tenant):
            raise _absent(connection, artefact, tenant)
        return self._open(artefact, rows)

    def open_each(self, connection: Connection, wanted: Sequence[ArtefactId]) -> dict[ArtefactId, Opened | StoreError]:
        """The same for many, with one query; what `open` would raise about one of them is its outcome."""
        found = ways_of_each(connection, wanted)
        outcomes: dict[ArtefactId, Opened | StoreError] = {}
        for artefact in wanted:
            rows = found.get(artefact)
            try:
                outcomes[artefact] = _absent(connection, artefact, None) if not rows else self._open(artefact, rows)
            except Unavailable as error:
                if not rows or any(map(leads, rows)):  # what is away is away for all of them
                    raise
                outcomes[artefact] = error
            except StoreError as error:
                outcomes[artefact] = error
        return outcomes

    def open_leaves(self, connection: Connection, artefact: ArtefactId, tenant: TenantId) -> list[Node]:
        """The leaves that wrap an artefact's key, on every way that is alive; raises as `open` does."""
        rows = ways_of(connection, artefact)
        if not rows or rows[0].tenant != tenant:
            raise _absent(connection, artefact, tenant)
        return [Node(row.leaf, self._opener.leaf_key(row), row.node) for row in self._living(artefact, rows)]

    def open_buckets(self, connection: Connection, tenant: TenantId, kind: Kind) -> list[tuple[Day, Bucket]]:
        """The living buckets of a kind, the newest day first; the provider is asked once for each root. Unavailable."""
        return self._opener.open_buckets(connection, tenant, kind, self.now())

    def index_keys(self, connection: Connection, tenant: TenantId, opened: Sequence[Bucket]) -> Iterator[list[bytes]]:
        """The index keys of all leaves below these buckets, some thousands at a time."""
        return self._search_keys.below(connection, tenant, opened)

    def _living(self, artefact: ArtefactId, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
        """The ways of an artefact that may be used, the newest first; not empty."""
        if rows[0].state not in ALIVE:
            raise erased(artefact)
        if not any(map(leads, rows)):
            raise Unavailable(f"the catalogue holds no key of artefact {artefact}")
        now_s = self.now()
        living = [row for row in rows if counts(row, now_s)]
        if not living:
            raise expired(artefact)
        return living

    def _open(self, artefact: ArtefactId, rows: Sequence[Row[Any]]) -> Opened:
        gone: Erased | None = None
        for row in self._living(artefact, rows):
            try:
                leaf_key = self._opener.leaf_key(row)
            except Erased as error:  # a catalogue from before, where another root's key may still be there
                gone = gone or error
                continue
            ref = artefact_ref(row)
            key = Secret(unwrap(leaf_key, row.wrapped, artefact_aad(ref, row.leaf)))
            check_commitment(key, row.commitment)
            return Opened(ref, key, row.segment_bytes, ArtefactState(row.state), row.size)
        assert gone is not None
        raise gone


def _withdrawn(connection: Connection, items: Sequence[Keeping]) -> set[tuple[str, str]]:
    """The artefacts and purposes, of some hundreds, that a tombstone names together."""
    query = select(tombstones.c.artefact, tombstones.c.purpose)
    query = query.where(tombstones.c.artefact.in_({item.ref.artefact for item in items}), tombstones.c.purpose != "")
    return {(row.artefact, row.purpose) for row in connection.execute(query)}


def _absent(connection: Connection, artefact: ArtefactId, tenant: TenantId | None) -> Erased | NotFound:
    query = select(tombstones.c.erasure).where(tombstones.c.artefact == artefact)
    if tenant is not None:
        query = query.where(tombstones.c.tenant == tenant)
    if connection.scalar(query.limit(1)) is not None:
        return erased(artefact)
    return NotFound(f"no artefact {artefact}")
