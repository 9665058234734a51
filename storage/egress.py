"""The egress ledger: each copy that left this store, of which artefacts, to whom, when, and on what ground.

Who got it stands sealed, in a dossier of the tenant; in clear stand the dossier's id, the call's and the day, so that
the certificate of an erasure can count the copies that are out of reach, and name them without naming anybody. To each
of their recipients goes a signed request to delete: `notice`, made when it is asked for.

A copy that nobody may know of (an order with a gag) is recorded by whoever keeps that secret, under its own tenant and
without clear rows: neither a certificate nor the call's tenant learns of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update

from storage.catalogue import Catalogue
from storage.dossiers import DossierRecord, Dossiers
from storage.errors import Erased, NotReady, Refused
from storage.model import ArtefactId, CallId, CallState, Kind, TenantId, new_id
from storage.notices import NOTICE_FORMAT, NOTICE_LABEL
from storage.records import Day
from storage.signing import Signer, canonical
from storage.tables import calls, egress
from storage.tags import batches
from storage.times import day_of, utc

CALLS_AT_ONCE = 400
"""In one record: with some ten artefacts a call, half of what a dossier holds. A copy of more calls has several."""
NAMED_MAX = 1_000
"""Copies that a certificate names, in 34 KiB; more are counted."""
_CALLS_LOOKED_UP = 500
"""With one query: below SQLite's oldest limit of 999 values."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """What of one call is in a copy."""

    call: CallId
    artefacts: Sequence[ArtefactId]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a call that is out of reach: its record's id, and the day on which it left."""

    id: CallId
    day: Day


class EgressLedger:
    """All tenants' copies. Every method may raise Unavailable."""

    def __init__(self, catalogue: Catalogue, dossiers: Dossiers, signer: Signer, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._dossiers = dossiers
        self._signer = signer
        self._clock = clock

    def record(
        self, tenant: TenantId, leaving: Sequence[Leaving], about: Mapping[str, Any], *, hidden: bool = False
    ) -> list[CallId]:
        """Records a copy before its first byte leaves; gives the ids of its records, which are durable then.

        `about` (to whom, why, which parts) is sealed. Of what is `hidden` there are no clear rows.
        """
        if not leaving:
            raise Refused("a copy of nothing does not leave")
        made = []
        for first in range(0, len(leaving), CALLS_AT_ONCE):
            part = leaving[first : first + CALLS_AT_ONCE]
            id, now_s = CallId(new_id()), self._clock()
            body = {**about, "at": utc(now_s), "calls": {one.call: list(one.artefacts) for one in part}}
            rows = [
                {"id": id, "tenant": tenant, "call": one.call, "day": day_of(now_s), "settled": False} for one in part
            ]

            def also(connection: Connection, rows: Sequence[Mapping[str, Any]] = rows) -> None:
                if not hidden:
                    connection.execute(egress.insert(), rows)

            text = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
            made.append(self._dossiers.open(tenant, Kind.EGRESS, text, id=id, also=also))
        return made

    def read(self, tenant: TenantId, id: CallId) -> dict[str, Any]:
        """One record; NotFound, Erased."""
        body: dict[str, Any] = json.loads(self._dossiers.read(tenant, id, Kind.EGRESS))
        return body

    def records(self, tenant: TenantId, *, limit: int = 100, before: CallId | None = None) -> list[DossierRecord]:
        """The tenant's records, newest first."""
        return self._dossiers.list(tenant, Kind.EGRESS, limit=limit, before=before)

    def erased(self, tenant: TenantId, id: CallId) -> list[CallId]:
        """The calls of a record that are erased."""
        query = (
            select(egress.c.call)
            .join(calls, calls.c.id == egress.c.call)
            .where(egress.c.id == id, egress.c.tenant == tenant, calls.c.state == CallState.ERASED.value)
            .order_by(egress.c.serial)
        )
        with self._catalogue.reading() as connection:
            return [CallId(call) for call in connection.scalars(query)]

    def waiting(self, tenant: TenantId, *, limit: int = 1_000) -> list[Copy]:
        """Copies of erased calls whose recipients were not told, as far as is recorded; oldest first."""
        found: list[Copy] = []
        for copy in self._unsettled(tenant):
            told, erased = self._told(tenant, copy.id), self.erased(tenant, copy.id)
            if told is not None and set(erased) - told:
                found.append(copy)
                if len(found) == limit:
                    break
            else:  # a crash came between the record and its row; or the time of the record itself is over
                self._settle(tenant, copy.id, erased)
        return found

    def _unsettled(self, tenant: TenantId) -> Iterator[Copy]:
        query = (
            select(egress.c.id, egress.c.day)
            .join(calls, calls.c.id == egress.c.call)
            .where(egress.c.tenant == tenant, calls.c.state == CallState.ERASED.value, egress.c.settled.is_(False))
            .group_by(egress.c.id, egress.c.day)
            .order_by(egress.c.day, egress.c.id)
        )
        with self._catalogue.reading() as connection:
            rows = connection.execute(query).all()
        yield from (Copy(CallId(row.id), Day(row.day)) for row in rows)

    def notice(self, tenant: TenantId, id: CallId) -> dict[str, Any]:
        """The signed request to delete the erased calls of a copy, to its recipient; NotReady if none is erased."""
        body, erased = self.read(tenant, id), self.erased(tenant, id)
        if not erased:
            raise NotReady(f"no call of copy {id} is erased")
        statement = {**unsigned_notice(id, tenant, body, erased), "public_key": self._signer.public_key}
        return {**statement, "signature": self._signer.sign(NOTICE_LABEL, canonical(statement))}

    def told(self, tenant: TenantId, id: CallId, by: str, of: Collection[CallId] | None = None) -> None:
        """The recipient was told of these calls of the copy; by default of every one that is erased by now."""
        erased, at = self.erased(tenant, id), utc(self._clock())
        if of is not None:
            erased = [call for call in erased if call in of]
        if not erased:
            raise NotReady(f"no call of copy {id} is erased")

        def note(text: bytes) -> bytes:
            body = json.loads(text)
            earlier = body.get("told", {})
            body["told"] = {**{call: {"at": at, "by": by} for call in erased}, **earlier}
            body.pop("sending", None)
            return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

        self._dossiers.amend(tenant, id, Kind.EGRESS, note)
        self._settle(tenant, id, erased)

    def tried(self, tenant: TenantId, id: CallId, sending: Mapping[str, Any]) -> None:
        """How far telling the recipient has got: kept in the record, sealed, until it is told."""

        def note(text: bytes) -> bytes:
            body = {**json.loads(text), "sending": sending}
            return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

        self._dossiers.amend(tenant, id, Kind.EGRESS, note)

    def _told(self, tenant: TenantId, id: CallId) -> set[CallId] | None:
        """None: its record is gone, so nobody knows any more whom to tell."""
        try:
            return set(self.read(tenant, id).get("told", {}))
        except Erased:
            return None

    def _settle(self, tenant: TenantId, id: CallId, of: Sequence[CallId]) -> None:
        with self._catalogue.writing() as connection:
            for batch in batches(of, _CALLS_LOOKED_UP):
                rows = (egress.c.id == id, egress.c.tenant == tenant, egress.c.call.in_(batch))
                connection.execute(update(egress).where(*rows).values(settled=True))


def unsigned_notice(id: CallId, tenant: TenantId, body: Mapping[str, Any], erased: Sequence[CallId]) -> dict[str, Any]:
    """What a request to delete says of a copy with this record."""
    return {
        "format": NOTICE_FORMAT,
        "copy": id,
        "tenant": tenant,
        "left_at": body["at"],
        "to": body.get("to", ""),
        "ground_of_copy": body.get("ground", ""),
        "calls": {call: body["calls"].get(call, []) for call in erased},
        "asks": "These calls are erased. Please delete what you hold of them, and tell those whom you gave it to.",
    }


def copies_of(connection: Connection, tenant: TenantId, wanted: Sequence[CallId]) -> list[Copy]:
    """The copies of some calls that left, oldest first: what a certificate excepts. Hidden ones are not among them."""
    query = select(egress.c.id, egress.c.day).distinct().where(egress.c.tenant == tenant)
    found = {
        Copy(CallId(row.id), Day(row.day))
        for batch in batches(wanted, _CALLS_LOOKED_UP)
        for row in connection.execute(query.where(egress.c.call.in_(batch)))
    }
    return sorted(found, key=lambda copy: (copy.day, copy.id))


def exceptions_of(
    connection: Connection, tenant: TenantId, wanted: Sequence[CallId], *, everything: bool = False
) -> list[str]:
    """What a certificate says of the copies of its calls, or of all of the tenant's: how many there are and, of calls,
    the ids of their records. Nobody's name."""
    if everything:
        query = select(func.count(egress.c.id.distinct())).where(egress.c.tenant == tenant)
        count = connection.scalar(query) or 0
        return [f"{count} copies on record as having left"] if count else []
    copies = copies_of(connection, tenant, wanted)
    if not copies:
        return []
    named = ", ".join(copy.id for copy in copies[:NAMED_MAX])
    more = f" and {len(copies) - NAMED_MAX} more" if len(copies) > NAMED_MAX else ""
    return [f"{len(copies)} copies on record as having left: {named}{more}"]
