"""Published statistics: rows that are written once, and the calls of a period, with what is known of them.

What stands in a row counts calls, in numbers too large to tell of one (that is its writer's business). So it is no
artefact of any call: no erasure touches it, nor does the end of its tenant's keys, as it is sealed under a secret of
the installation. All rows have one length, which would else tell how much is in them.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, exists, func, select

from storage.catalogue import Catalogue
from storage.content import open_document
from storage.envelope import length_prefixed
from storage.errors import DataError, Refused
from storage.keys import unwrap, wrap
from storage.keytree import KeyTree, Opened
from storage.model import ArtefactId, CallId, CallState, Kind, Secret, TenantId
from storage.records import Day
from storage.tables import artefacts, calls, documents, statistics

BODY_BYTES_MAX = 4096
"""Of one period's JSON: some fifty cells have 1 KiB. Rows are filled up to it."""

CALLS_AT_ONCE = 100
"""Opened between two looks at the catalogue."""

_KINDS = (Kind.CALL_DETAIL.value, Kind.AUDIO.value)
_LABEL = b"callvault statistics v1"
_PERIOD = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])(?:-\d\d)?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Described:
    """A living call, its detail, and the facts of its tracks as its writer sealed them; None where nothing is told."""

    state: CallState
    detail: bytes | None
    tracks: tuple[bytes, ...]


def days_of(period: str) -> tuple[Day, Day]:
    """The first and last day of a period, `YYYY-MM-DD` or `YYYY-MM`; Refused for anything else."""
    if _PERIOD.match(period):
        year, month, *day = map(int, period.split("-"))
        last = calendar.monthrange(max(year, 1), month)[1]
        if not day:
            return Day(f"{period}-01"), Day(f"{period}-{last:02}")
        if 1 <= day[0] <= last:
            return Day(period), Day(period)
    raise Refused("a period is a day, YYYY-MM-DD, or a month, YYYY-MM")


class Statistics:
    """The published statistics of all tenants. Every method may raise Unavailable."""

    def __init__(self, catalogue: Catalogue, tree: KeyTree, key: Secret) -> None:
        self._catalogue = catalogue
        self._tree = tree
        self._key = key

    def publish(self, tenant: TenantId, period: str, body: bytes) -> None:
        """Writes a period's row, for good; AlreadyExists if it has one, Refused if the body is too long."""
        if len(body) > BODY_BYTES_MAX:
            raise Refused(f"statistics of {len(body)} bytes; {BODY_BYTES_MAX} is the limit")
        days_of(period)
        sealed = wrap(self._key.reveal(), body.ljust(BODY_BYTES_MAX), _aad(tenant, period))
        with self._catalogue.writing() as connection:
            connection.execute(statistics.insert(), {"tenant": tenant, "period": period, "sealed": sealed})

    def read(self, tenant: TenantId, periods: Sequence[str]) -> dict[str, bytes]:
        """What was published of these periods, of a month's days at most; those without a row are left out."""
        query = select(statistics.c.period, statistics.c.sealed).where(statistics.c.tenant == tenant)
        with self._catalogue.reading() as connection:
            rows = connection.execute(query.where(statistics.c.period.in_(periods))).all()
        return {row.period: unwrap(self._key.reveal(), row.sealed, _aad(tenant, row.period)).rstrip() for row in rows}

    def periods(self, tenant: TenantId) -> list[str]:
        """The periods that have been published, in order."""
        query = select(statistics.c.period).where(statistics.c.tenant == tenant).order_by(statistics.c.serial)
        with self._catalogue.reading() as connection:
            return list(connection.scalars(query))

    def first_day(self, tenant: TenantId) -> Day | None:
        """The day of the tenant's first call, erased or not."""
        with self._catalogue.reading() as connection:
            found = connection.scalar(select(func.min(calls.c.day)).where(calls.c.tenant == tenant))
        return None if found is None else Day(found)

    def settled(self, tenant: TenantId, period: str) -> bool:
        """Whether every call of the period has its last state."""
        first, last = days_of(period)
        of_period = (calls.c.tenant == tenant, calls.c.day >= first, calls.c.day <= last)
        with self._catalogue.reading() as connection:
            return not connection.scalar(select(exists().where(*of_period, calls.c.closed.is_(False))))

    def described(self, tenant: TenantId, period: str) -> Iterator[Described]:
        """The calls of a period that are over and not erased. What of one does not open is left out of it."""
        first, last = days_of(period)
        serial = 0
        while True:
            with self._catalogue.reading() as connection:
                query = select(calls.c.serial, calls.c.id, calls.c.state).where(
                    calls.c.tenant == tenant, calls.c.day >= first, calls.c.day <= last, calls.c.serial > serial
                )
                rows = connection.execute(query.order_by(calls.c.serial).limit(CALLS_AT_ONCE)).all()
                living = [row for row in rows if row.state not in (CallState.ERASED, CallState.LIVE)]
                told = self._told(connection, [CallId(row.id) for row in living])
            for row in living:
                detail, tracks = told.get(row.id, (None, ()))
                yield Described(CallState(row.state), detail, tuple(tracks))
            if len(rows) < CALLS_AT_ONCE:
                return
            serial = rows[-1].serial

    def _told(self, connection: Connection, wanted: Sequence[CallId]) -> dict[CallId, tuple[bytes | None, list[bytes]]]:
        query = select(artefacts.c.id, artefacts.c.kind, documents.c.stream_id, documents.c.sealed)
        query = query.join(documents, documents.c.artefact == artefacts.c.id)
        query = query.where(artefacts.c.call.in_(wanted), artefacts.c.kind.in_(_KINDS))
        rows = connection.execute(query.order_by(artefacts.c.serial)).all()
        keys = self._tree.open_each(connection, [ArtefactId(row.id) for row in rows])
        found: dict[CallId, tuple[bytes | None, list[bytes]]] = {}
        for row in rows:
            opened = keys[row.id]
            if not isinstance(opened, Opened):
                continue  # erased since its call's row was read, or damaged: the audit's business, not ours
            try:
                document = open_document(opened, row.stream_id, row.sealed)
            except DataError:
                continue
            detail, tracks = found.get(opened.ref.call, (None, []))
            if row.kind == Kind.CALL_DETAIL.value:
                detail = document
            else:
                tracks.append(document)
            found[opened.ref.call] = (detail, tracks)
        return found


def _aad(tenant: str, period: str) -> bytes:
    return length_prefixed(_LABEL, tenant.encode(), period.encode())
