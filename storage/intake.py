"""What comes in: new calls with their keys, small documents, and what is derived from recordings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, select, update

from storage.calls import check_absent, check_alive, insert_calls, outcomes, read_mark, set_states
from storage.catalogue import Catalogue
from storage.content import (
    INLINE_BYTES_MAX,
    SealedDocument,
    SealedObject,
    put_documents,
    seal_document,
    seal_object,
)
from storage.errors import Erased, NotFound, Refused, StoreError, Unavailable
from storage.jobs import insert_jobs
from storage.keeping import Keeper, check_sources, further_of
from storage.keyless import KeylessCalls
from storage.keys import KEY_BYTES, Slot
from storage.keytree import KeyTree
from storage.leaving import check_keys_kept, check_open
from storage.model import (
    ArtefactId,
    ArtefactRef,
    ArtefactState,
    CallId,
    CallState,
    Kind,
    Root,
    Secret,
    TenantId,
)
from storage.objects import ObjectStore
from storage.placing import Held, Placing
from storage.rating import BILLING, check_purpose, check_rating
from storage.records import SELDOM, STREAMS, Change, Derived, Identifier, NewArtefact, NewCall, Wanted
from storage.residency import Residency
from storage.slicerows import insert_slices
from storage.standing import check_unrestricted
from storage.tables import artefacts, buckets
from storage.times import day_ends_s, day_of

PREPARED_DAYS = 3
"""Today and the next 48 hours: so long calls go on being recorded while the key provider is away."""

_ID_BYTES = 16

_PURPOSE = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")

_COMPLETE = (
    update(artefacts)
    .where(artefacts.c.id == bindparam("of"))
    .values(state=ArtefactState.COMPLETE.value, size=bindparam("length"))
)


class Intake:
    """The store's entrance; thread-safe."""

    def __init__(
        self,
        catalogue: Catalogue,
        tree: KeyTree,
        objects: ObjectStore,
        residency: Residency,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._tree = tree
        self._objects = objects
        self._residency = residency
        self._clock = clock
        self._keeper = Keeper(catalogue, tree)
        self.keyless = KeylessCalls(catalogue, residency, clock)
        """Calls whose keys are away."""
        self._purposes: set[str] = set()  # that are well-formed

    def prepare(self, tenant: TenantId, purposes: Sequence[str]) -> None:
        """Bucket keys for the next 48 hours, for each kind and purpose that the tenant has used or that is named.

        For ratings, too: they have a purpose of their own.
        """
        self._residency.enter(tenant)
        kinds = [kind for kind in Kind if kind not in SELDOM | {Kind.RATING}]
        named = {(kind, self._checked(purpose)) for kind in kinds for purpose in purposes} | {(Kind.RATING, BILLING)}
        query = select(buckets.c.kind, buckets.c.purpose).where(buckets.c.tenant == tenant).distinct()
        query = query.where(buckets.c.root != Root.HOLD.value)  # their purposes are no purposes
        with self._catalogue.reading() as connection:
            used = [(Kind(kind), purpose) for kind, purpose in connection.execute(query)]
        named |= {(kind, purpose) for kind, purpose in used if kind not in SELDOM}
        days = [day_of(self._clock(), ahead) for ahead in range(PREPARED_DAYS)]
        self._tree.prepare(tenant, [Slot(kind, purpose, day) for kind, purpose in named for day in days])

    def ready(self, tenant: TenantId) -> bool:
        """Whether a call of today can be saved without the key provider."""
        return self._tree.ready(tenant, Root.CONTENT, day_of(self._clock()))

    def ready_until(self, tenant: TenantId) -> float | None:
        """The Unix second up to which calls can be saved without the key provider; None if not now."""
        now_s = self._clock()
        until_s: float | None = None
        for ahead in range(PREPARED_DAYS):
            if not self._tree.ready(tenant, Root.CONTENT, day_of(now_s, ahead)):
                break
            until_s = day_ends_s(now_s, ahead)
        return until_s

    def begin(self, tenant: TenantId, call: CallId, wanted: Sequence[Wanted]) -> NewCall:
        """Keys for a new call, in memory only: no I/O, some microseconds for each artefact."""
        made = self._make(tenant, call, wanted)
        return NewCall(tenant, call, day_of(self._clock()), made)

    def save(
        self,
        new_calls: Sequence[NewCall],
        documents: Mapping[ArtefactId, bytes],
        also: Callable[[Connection], None] = lambda _connection: None,
    ) -> None:
        """Makes calls, keys and first documents durable in one transaction, with what `also` writes.

        Keys whose epoch ended meanwhile are wrapped again. Refused for a tenant that is closed.
        """
        items = [
            Placing(artefact, new.day, *_state_of(artefact, documents), _found_by(artefact, new))
            for new in new_calls
            for artefact in new.artefacts
        ]
        sealed = [
            _sealed(item.artefact, documents[item.artefact.ref.artefact])
            for item in items
            if _has(item.artefact, documents)
        ]

        def begin(connection: Connection) -> None:
            beginning = {new.tenant for new in new_calls if new.state is not CallState.DOSSIER}
            check_open(connection, beginning, self._clock())
            insert_calls(connection, new_calls)

        def fill(connection: Connection) -> None:
            put_documents(connection, sealed, replace=False)
            also(connection)

        self._place(items, begin, fill)

    def extend(self, added: NewCall) -> None:
        """Makes further streams of a saved call, with their keys, durable, in the transaction that finds it live."""
        items = [Placing(artefact, added.day, ArtefactState.WRITING, 0) for artefact in added.artefacts]

        def check(connection: Connection) -> None:
            if check_alive(connection, added.tenant, added.call, (), self._tree.now()) is not CallState.LIVE:
                raise Refused("a call that is over gets no further streams")
            further = further_of(connection, added.call)
            for ref in (artefact.ref for artefact in added.artefacts):
                if further.withdrawn(ref.participant, ref.purpose):
                    raise Refused(f"call {ref.call}: the consent to {ref.purpose} is withdrawn")

        self._place(items, check, of=added.call)

    def settle(self, changes: Sequence[Change]) -> list[NotFound | Erased | None]:
        """Makes changes of saved calls in one transaction; for each that cannot be made, why. The others are made."""
        if any(change.state is CallState.ERASED for change in changes):
            raise Refused("a call becomes erased by erasing it")
        sealed = [_documents(change) for change in changes]  # before the catalogue is held
        with self._catalogue.writing() as connection:
            self._residency.check(connection, (change.call.tenant for change in changes))
            found = outcomes(connection, changes)
            due = [number for number, outcome in enumerate(found) if outcome is None]
            made = [changes[number] for number in due]
            latest = {document.artefact: document for number in due for document in sealed[number]}  # two of one call
            put_documents(connection, list(latest.values()), replace=True)
            complete = [row for change in made for row in _completed(change)]
            if complete:
                connection.execute(_COMPLETE, complete)
            set_states(connection, made)
            insert_jobs(connection, made)
        return found

    def identify(self, new: NewCall, found: Sequence[Identifier]) -> None:
        """Further identifiers that a saved call is found by from now on; Erased, NotFound."""
        identity = new.find(Kind.IDENTITY)
        with self._catalogue.reading() as connection:
            check_alive(connection, new.tenant, new.call, [identity.ref.artefact], self._tree.now())
            # So that no transaction waits for the provider:
            self._tree.open_leaves(connection, identity.ref.artefact, new.tenant)
        with self._catalogue.writing() as connection:
            check_alive(connection, new.tenant, new.call, [identity.ref.artefact], self._tree.now())
            self._tree.tag(connection, identity, found)

    def resume(self, tenant: TenantId, call: CallId) -> NewCall:
        """A saved call's keys again, after a restart; Erased, NotFound."""
        with self._catalogue.reading() as connection:
            check_alive(connection, tenant, call, (), self._tree.now())
            day = read_mark(connection, tenant, call).day  # on which it began: its buckets are that day's
            query = select(artefacts.c.id).where(artefacts.c.call == call).order_by(artefacts.c.serial)
            opened = [self._tree.open(connection, ArtefactId(found), tenant) for found in connection.scalars(query)]
        made = tuple(NewArtefact(found.ref, found.key, found.segment_bytes) for found in opened)
        return NewCall(tenant, call, day, made)

    def add_derived(
        self, tenant: TenantId, call: CallId, sources: Sequence[ArtefactId], items: Sequence[Derived]
    ) -> tuple[ArtefactId, ...]:
        """Stores what was derived, in the transaction that finds its sources alive; Erased if one is not, or if the
        consent that it would rest on is withdrawn; Expired of what only a hold keeps; Restricted.

        AlreadyExists, and nothing is stored, if one of the items is there already: two workers had the same job.
        """

        def check(connection: Connection) -> None:
            check_alive(connection, tenant, call, sources, self._tree.now())
            check_unrestricted(connection, call)
            check_sources(connection, call, sources, {item.purpose for item in items}, self._tree.now())
            check_absent(connection, call, [(item.participant, item.kind) for item in items])

        self._residency.enter(tenant)
        with self._catalogue.reading() as connection:
            check(connection)
        made = self._make(tenant, call, items)
        day, complete = day_of(self._clock()), ArtefactState.COMPLETE
        placings = [Placing(new, day, complete, len(item.data)) for new, item in zip(made, items, strict=True)]
        small, large = [], []
        for new, item in zip(made, items, strict=True):
            if len(item.data) <= INLINE_BYTES_MAX:
                small.append(_sealed(new, item.data))
            else:
                check_rating(new.ref, item.data)
                large.append(seal_object(new.ref, new.key, new.segment_bytes, item.data))

        def fill(connection: Connection) -> None:
            put_documents(connection, small, replace=False)
            insert_slices(connection, [sealed.row for sealed in large])

        try:
            for sealed in large:
                self._objects.put(sealed.name, sealed.sealed)
            self._place(placings, check, fill, of=call)
        except StoreError:
            self._withdraw(large)
            raise
        return tuple(new.ref.artefact for new in made)

    def _place(
        self,
        items: Sequence[Placing],
        before: Callable[[Connection], object],
        after: Callable[[Connection], None] = lambda _connection: None,
        of: CallId | None = None,
    ) -> None:
        """`of`: the call that they are of, where that is not new: it may be held, and have consents."""

        def write(connection: Connection, held: Held) -> None:
            self._residency.check(connection, (item.artefact.ref.tenant for item in items))
            check_keys_kept(connection, held.keys())
            before(connection)
            self._tree.place(connection, items, held)
            after(connection)

        if of is None:
            self._tree.write(items, write)
        else:
            self._keeper.place(of, items, write)

    def _withdraw(self, unused: Sequence[SealedObject]) -> None:
        """Best effort: what stays is an orphan whose key was never stored."""
        for sealed in unused:
            try:
                self._objects.delete(sealed.name)
            except Unavailable:
                return

    def _make(
        self, tenant: TenantId, call: CallId, wanted: Sequence[Wanted] | Sequence[Derived]
    ) -> tuple[NewArtefact, ...]:
        random = os.urandom((_ID_BYTES + KEY_BYTES) * len(wanted))  # one system call for all
        made, at = [], 0
        for item in wanted:
            middle, end = at + _ID_BYTES, at + _ID_BYTES + KEY_BYTES
            artefact = ArtefactId(random[at:middle].hex())
            check_purpose(item.kind, item.purpose)
            ref = ArtefactRef(tenant, call, item.participant, artefact, item.kind, self._checked(item.purpose))
            made.append(NewArtefact(ref, Secret(random[middle:end])))
            at = end
        return tuple(made)

    def _checked(self, purpose: str) -> str:
        if purpose not in self._purposes:
            if _PURPOSE.match(purpose) is None:
                raise Refused("a purpose is a word of up to 32 lower-case letters, digits and underscores")
            self._purposes.add(purpose)
        return purpose


def _sealed(artefact: NewArtefact, data: bytes) -> SealedDocument:
    check_rating(artefact.ref, data)
    return seal_document(artefact.ref, artefact.key, artefact.segment_bytes, data)


def _has(artefact: NewArtefact, documents: Mapping[ArtefactId, bytes]) -> bool:
    return artefact.ref.artefact in documents


def _found_by(artefact: NewArtefact, new: NewCall) -> tuple[Identifier, ...]:
    return new.identifiers if artefact.ref.kind is Kind.IDENTITY else ()


def _state_of(artefact: NewArtefact, documents: Mapping[ArtefactId, bytes]) -> tuple[ArtefactState, int]:
    """First state and size: complete with its document, unless it is a stream, which ends by the spool."""
    if artefact.ref.kind in STREAMS or not _has(artefact, documents):
        return ArtefactState.WRITING, 0
    return ArtefactState.COMPLETE, len(documents[artefact.ref.artefact])


def _documents(change: Change) -> list[SealedDocument]:
    return [_sealed(artefact, change.documents[artefact.ref.artefact]) for artefact in _named(change)]


def _completed(change: Change) -> list[dict[str, object]]:
    """What becomes complete by its document: everything but streams."""
    return [
        {"of": artefact.ref.artefact, "length": len(change.documents[artefact.ref.artefact])}
        for artefact in _named(change)
        if artefact.ref.kind not in STREAMS
    ]


def _named(change: Change) -> list[NewArtefact]:
    return [artefact for artefact in change.call.artefacts if _has(artefact, change.documents)]
