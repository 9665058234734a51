"""Dossiers: sealed records that belong to no call, such as requests of the people who were recorded.

A dossier is a row of `calls` in a state of its own, with one artefact, whose document is the record. So it is sealed,
kept, held and erased like everything else; it is never listed, searched, counted or closed as a call. In clear stand
its random id, its kind and its day. It stands under its tenant's statutory root: an answer to a request for erasure
outlives what was erased.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select, update

from storage.calls import check_alive
from storage.catalogue import Catalogue
from storage.content import open_document, put_documents, seal_document, sealed_document
from storage.errors import NotFound, NotReady, Refused, Unavailable
from storage.intake import Intake
from storage.keytree import KeyTree
from storage.model import NO_PARTICIPANT, ArtefactId, CallId, CallState, Kind, TenantId, new_id
from storage.records import DOSSIERS, Day, Wanted
from storage.tables import artefacts, calls
from storage.witness.pending import Kept, note

DOSSIERS_AT_ONCE_MAX = 1_000
"""The longest page of a listing."""

_ATTEMPTS = 16
"""How often a change is made again because another one came first: people make them, so one is rare."""


@dataclass(frozen=True, slots=True)
class DossierRecord:
    """A dossier as the catalogue knows it."""

    id: CallId
    tenant: TenantId
    kind: Kind
    day: Day


class Dossiers:
    """All tenants' dossiers; thread-safe. Every method may raise Unavailable."""

    def __init__(
        self,
        catalogue: Catalogue,
        tree: KeyTree,
        intake: Intake,
        keep: Callable[[str], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`keep` puts a record into the witness, if that is there."""
        self._keep = keep
        self._clock = clock
        self._catalogue = catalogue
        self._tree = tree
        self._intake = intake

    def open(
        self,
        tenant: TenantId,
        kind: Kind,
        body: bytes,
        *,
        id: CallId | None = None,
        also: Callable[[Connection], None] = lambda _connection: None,
    ) -> CallId:
        """Seals a new record (up to 256 KiB) and gives its id, `id` if one is given; AlreadyExists if that is taken.

        `also` writes what is to stand in the same transaction. Once the id is given the witness has it too, if it is
        there: else it is noted, an alarm stands, and a restore from before would not know of it.
        """
        if kind not in DOSSIERS:
            raise Refused(f"no dossier is of kind {kind.value}")
        begun = self._intake.begin(tenant, id or CallId(new_id()), [Wanted(NO_PARTICIPANT, kind, kind.value)])
        new = replace(begun, state=CallState.DOSSIER)
        record = new.artefacts[0].ref.artefact

        def both(connection: Connection) -> None:
            also(connection)
            note(connection, tenant, Kept.RECORD, record)

        self._intake.save([new], {record: body}, both)
        self._keep(record)
        return new.call

    def read(self, tenant: TenantId, id: CallId, kind: Kind) -> bytes:
        """A record; NotFound also for another tenant's and for another kind, Erased once its time is over."""
        with self._catalogue.reading() as connection:
            opened = self._tree.open(connection, _artefact(connection, tenant, id, kind), tenant)
            found = sealed_document(connection, opened.ref.artefact)
        if found is None:
            raise NotReady(f"dossier {id} has no content")
        return open_document(opened, *found)

    def amend(self, tenant: TenantId, id: CallId, kind: Kind, change: Callable[[bytes], bytes]) -> bytes:
        """Replaces a record by what `change` makes of it, and gives that; nobody's change gets lost."""
        with self._catalogue.reading() as connection:
            artefact = _artefact(connection, tenant, id, kind)
        return self.amend_artefact(tenant, artefact, change)

    def amend_artefact(self, tenant: TenantId, artefact: ArtefactId, change: Callable[[bytes], bytes]) -> bytes:
        """The same of a record by its artefact's id, also where it is a call's: an annotation. NotReady if it has no
        document."""
        body = _amend(self._catalogue, self._tree, tenant, artefact, change, self._clock)
        self._keep(artefact)
        return body

    def list(
        self, tenant: TenantId, kind: Kind, *, limit: int = DOSSIERS_AT_ONCE_MAX, before: CallId | None = None
    ) -> list[DossierRecord]:
        """The tenant's dossiers of a kind, newest first; NotFound if `before` is no dossier of it."""
        query = _OF_KIND.where(calls.c.tenant == tenant, artefacts.c.kind == kind.value)
        with self._catalogue.reading() as connection:
            if before is not None:
                mark = select(calls.c.serial).where(calls.c.id == before, calls.c.tenant == tenant)
                serial = connection.scalar(mark)
                if serial is None:
                    raise NotFound(f"no dossier {before}")
                query = query.where(calls.c.serial < serial)
            newest = query.order_by(calls.c.serial.desc()).limit(min(limit, DOSSIERS_AT_ONCE_MAX))
            return [_record(row) for row in connection.execute(newest)]


def _amend(
    catalogue: Catalogue,
    tree: KeyTree,
    tenant: TenantId,
    artefact: ArtefactId,
    change: Callable[[bytes], bytes],
    clock: Callable[[], float],
) -> bytes:
    """Replaces the document of an artefact by what `change` makes of it: read, sealed, and written only where nobody
    has written meanwhile, else all of it again. NotFound, Erased; NotReady if there is no document."""
    for _ in range(_ATTEMPTS):
        with catalogue.reading() as connection:
            opened = tree.open(connection, artefact, tenant)
            found = sealed_document(connection, artefact)
        if found is None:
            raise NotReady(f"artefact {artefact} has no document")
        body = change(open_document(opened, *found))
        sealed = seal_document(opened.ref, opened.key, opened.segment_bytes, body)
        with catalogue.writing() as connection:
            check_alive(connection, tenant, opened.ref.call, [artefact], clock())
            now = sealed_document(connection, artefact)
            if now is None or now[0] != found[0]:
                continue
            put_documents(connection, [sealed], replace=True)
            connection.execute(update(artefacts).where(artefacts.c.id == artefact).values(size=len(body)))
            note(connection, tenant, Kept.RECORD, artefact)
            return body
    raise Unavailable("a document does not come to rest; try again")


_OF_KIND = (
    select(calls.c.id, calls.c.tenant, calls.c.day, artefacts.c.kind, artefacts.c.id.label("artefact"))
    .join(artefacts, artefacts.c.call == calls.c.id)
    .where(calls.c.state == CallState.DOSSIER.value)
)


def _artefact(connection: Connection, tenant: TenantId, id: CallId, kind: Kind) -> ArtefactId:
    query = _OF_KIND.where(calls.c.id == id, calls.c.tenant == tenant, artefacts.c.kind == kind.value)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"no {kind.value} {id}")
    return ArtefactId(row.artefact)


def _record(row: Any) -> DossierRecord:
    return DossierRecord(CallId(row.id), TenantId(row.tenant), Kind(row.kind), Day(row.day))
