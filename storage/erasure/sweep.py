"""What is deleted when the key is gone: objects in all their versions, documents, key rows of epochs that ended.

All of it is waste paper by then, so nobody waits for it: it goes in batches between which others write, without the
tenant's lock, and whoever finds a part gone already goes on. The write-ahead file is emptied at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, and_, delete, exists, or_, select, update

from storage.catalogue import Catalogue
from storage.epochs import ALIVE
from storage.erasure.graves import AT_ONCE, end_calls, name_calls
from storage.errors import Unavailable
from storage.lapsed import LEAVES_AT_ONCE, shred, sweep_tree
from storage.ledger import Ledger
from storage.leftovers import note_kept
from storage.liveness import LEAF, NODE, alive
from storage.model import ArtefactId, ArtefactState, CallId, CallState, TenantId
from storage.objects import Kept, ObjectStore
from storage.pace import Pace
from storage.slices import stored_name
from storage.tables import (
    artefact_keys,
    artefacts,
    buckets,
    calls,
    documents,
    drops,
    erased_calls,
    erasures,
    identifiers,
    manifests,
    slices,
    tags,
    tombstones,
)
from storage.tags import batches

_OF_ARTEFACTS = (documents, slices, identifiers)
NEVER_DROPPED = 0
"""The time at which only what is dropped is over: what a way that is merely due keeps goes when that is dropped, since
no clock decides about deleting."""


@dataclass(slots=True)
class Swept:
    """What became of one erasure's objects."""

    objects: int = 0
    kept: list[Kept] = field(default_factory=list)


class Sweep:
    """Sweeps one change after the other."""

    def __init__(self, catalogue: Catalogue, objects: ObjectStore, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._objects = objects
        self._ledger = ledger
        self._clock = clock
        self._pace = Pace(catalogue)

    def run(
        self, change: str, tenant: TenantId, epochs_over: Mapping[str, int], dropped: Sequence[str]
    ) -> dict[str, int]:
        """Deletes what a change has made waste; gives counts. Unavailable if something is away: run it again."""
        with self._catalogue.reading() as connection:
            query = select(erasures.c.id).where(erasures.c.change == change).order_by(erasures.c.serial)
            of_change = list(connection.scalars(query))
        total = Counter[str]()
        for erasure in of_change:
            swept = Swept()
            self._buried(erasure, tenant, swept)
            for bucket in self._dropped_by(erasure, tenant, dropped):
                self._dropped(erasure, bucket, swept)
            self._tell(erasure, tenant, swept)
            total["objects"] += swept.objects
        for root, n in epochs_over.items():
            sweep_tree(self._catalogue, tenant, root, n)
        if not self._catalogue.scrub():
            raise Unavailable("a reader keeps the write-ahead file from being emptied; try again")
        return dict(total)

    def _buried(self, erasure: str, tenant: TenantId, swept: Swept) -> None:
        """Artefacts with tombstones; of calls that are erased whole also what no row names."""
        with self._catalogue.reading() as connection:
            query = select(tombstones.c.artefact, tombstones.c.call)
            rows = connection.execute(query.where(tombstones.c.erasure == erasure, tombstones.c.purpose == "")).all()
            named = connection.scalars(select(erased_calls.c.call).where(erased_calls.c.erasure == erasure)).all()
            over = _over(connection, {*named, *(row.call for row in rows)})
        for call in sorted(over):
            purged = self._objects.purge(f"{tenant}/{call}/")
            swept.objects += purged.objects
            swept.kept += purged.kept
        self._delete_objects([row.artefact for row in rows if row.call not in over], swept)
        for batch in self._pace.parts([row.artefact for row in rows], AT_ONCE):
            with self._pace.writing() as connection:
                _forget_artefacts(connection, batch)
        for calls_over in self._pace.parts(sorted(over), AT_ONCE):
            with self._pace.writing() as connection:
                _forget_calls(connection, calls_over)

    def _dropped_by(self, erasure: str, tenant: TenantId, dropped: Sequence[str]) -> list[str]:
        same = and_(*(drops.c[name] == buckets.c[name] for name in ("tenant", "root", "kind", "purpose", "day")))
        query = select(buckets.c.id).distinct().select_from(buckets.join(drops, same)).where(drops.c.erasure == erasure)
        with self._catalogue.reading() as connection:
            found = set(connection.scalars(query.where(buckets.c.tenant == tenant)))
        return [bucket for bucket in dropped if bucket in found]

    def _dropped(self, erasure: str, bucket: str, swept: Swept) -> None:
        """What was in a dropped bucket and nothing else keeps, a few leaves at a time."""
        below = select(LEAF.c.id).join(NODE, NODE.c.id == LEAF.c.parent).where(NODE.c.parent == bucket)
        with self._catalogue.reading() as connection:
            leaves = connection.scalars(below.order_by(LEAF.c.serial)).all()
        query = select(artefacts.c.id, artefacts.c.call).distinct()
        query = query.join(artefact_keys, artefact_keys.c.artefact == artefacts.c.id)
        query = query.where(artefacts.c.state.in_(ALIVE))
        for batch in batches(leaves, LEAVES_AT_ONCE):
            with self._catalogue.reading() as connection:
                rows = connection.execute(query.where(artefact_keys.c.leaf.in_(batch))).all()
                kept = {
                    artefact
                    for some in batches(rows, AT_ONCE)
                    for artefact in alive(connection, [ArtefactId(row.id) for row in some], NEVER_DROPPED)
                }
            self._delete_objects([row.id for row in rows if row.id not in kept], swept)
            for dying in self._pace.parts([row for row in rows if row.id not in kept], AT_ONCE):
                with self._pace.writing() as connection:
                    self._end(connection, erasure, [row.id for row in dying], {CallId(row.call) for row in dying})

    def _end(self, connection: Connection, erasure: str, dying: Sequence[str], touched: Collection[CallId]) -> None:
        where = artefacts.c.id.in_(dying)
        connection.execute(update(artefacts).where(where).values(state=ArtefactState.ERASED.value))
        _forget_artefacts(connection, dying)
        over = end_calls(connection, touched)
        name_calls(connection, erasure, over)  # its certificate is what they died of
        _forget_calls(connection, sorted(over))

    def _delete_objects(self, of: Sequence[str], swept: Swept) -> None:
        """Each by its name: other artefacts of the call may live."""
        for batch in batches(of, AT_ONCE):
            query = select(slices.c.stream_id, artefacts.c.tenant, artefacts.c.call)
            query = query.join(artefacts, artefacts.c.id == slices.c.artefact).where(slices.c.artefact.in_(batch))
            with self._catalogue.reading() as connection:
                rows = connection.execute(query).all()
            for row in rows:
                kept = self._objects.delete(stored_name(row.tenant, row.call, row.stream_id))
                swept.kept += kept
                swept.objects += not kept

    def _tell(self, erasure: str, tenant: TenantId, swept: Swept) -> None:
        with self._catalogue.writing() as connection:
            now_s = self._clock()
            facts: dict[str, object] = {"erasure": erasure, "tenant": tenant, "objects": swept.objects}
            if swept.kept:  # by the store's object lock: unreadable, and deleted when it lets go
                facts["kept"] = len(swept.kept)
            note_kept(connection, erasure, tenant, swept.kept, now_s)
            self._ledger.append(connection, "swept", now_s, facts)


def _forget_artefacts(connection: Connection, ids: Sequence[str]) -> None:
    """All that stands of them but the row that says that they were erased; it goes with their call."""
    leaves = select(artefact_keys.c.leaf).where(artefact_keys.c.artefact.in_(ids))  # tags have no index of artefacts
    connection.execute(delete(tags).where(tags.c.leaf.in_(leaves), tags.c.artefact.in_(ids)))
    shred(connection, artefact_keys, artefact_keys.c.artefact.in_(ids))
    for table in _OF_ARTEFACTS:
        connection.execute(delete(table).where(table.c.artefact.in_(ids)))


def _forget_calls(connection: Connection, ids: Sequence[str]) -> None:
    """Of calls without content, manifests, and artefacts that a tombstone remembers; of others the row says ERASED.

    What an earlier change has ended and not yet swept stays for its own sweep.
    """
    connection.execute(delete(manifests).where(manifests.c.call.in_(ids)))
    remembered = exists().where(tombstones.c.artefact == artefacts.c.id, tombstones.c.purpose == "")
    unswept = or_(*(exists().where(table.c.artefact == artefacts.c.id) for table in (artefact_keys, *_OF_ARTEFACTS)))
    where = (artefacts.c.call.in_(ids), artefacts.c.state == ArtefactState.ERASED.value)
    connection.execute(delete(artefacts).where(*where, remembered, ~unswept))


def _over(connection: Connection, wanted: Collection[str]) -> set[str]:
    found: set[str] = set()
    for batch in batches(wanted, AT_ONCE):
        query = select(calls.c.id).where(calls.c.id.in_(batch), calls.c.state == CallState.ERASED.value)
        found |= set(connection.scalars(query))
    return found
