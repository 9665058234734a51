"""Published statistics: rows that are written once, and the calls of a period, with what is known of them.

What stands in a row counts calls, in numbers too large to tell of one: which may be told is its writer's business, that
there is nothing but counts is seen to here. So it is no artefact of any call: no erasure touches it, nor does the end
of its tenant's keys, as it is sealed under a secret of the installation. All rows have one length, which would else
tell how much is in them.
"""

from __future__ import annotations

import calendar
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, exists, func, select

from storage.calls import IS_CALL
from storage.catalogue import Catalogue
from storage.content import open_document
from storage.envelope import length_prefixed
from storage.errors import DataError, Refused
from storage.keys import unwrap, wrap
from storage.keytree import KeyTree, Opened
from storage.model import ArtefactId, CallId, CallState, Kind, Secret, TenantId
from storage.records import Day
from storage.standing import restricted_among
from storage.tables import artefacts, calls, documents, statistics

BODY_BYTES_MAX = 4096
"""Of one period's JSON: some fifty cells have 1 KiB. Rows are filled up to it."""

VERSION = 1
STEP_MIN = 10
"""Counts are told in steps of as many calls at least."""

CALLS_AT_ONCE = 100
"""Opened between two looks at the catalogue."""

_KINDS = (Kind.CALL_DETAIL.value, Kind.AUDIO.value)
_LABEL = b"callvault statistics v1"
_NAME = re.compile(r"[A-Za-z0-9_<>=.-]{1,16}\Z")
_LIKE_AN_IDENTIFIER = re.compile(r"[0-9a-fA-F]{7}|\d{5}")
"""A part of a hash, or of a number."""
_PERIOD = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])(?:-\d\d)?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Described:
    """A living call, its detail, and the facts of its tracks as its writer sealed them; None where nothing is told."""

    state: CallState
    detail: bytes | None
    tracks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """What is published of a period: how many calls, and how many in each cell of each table, all in `step`s."""

    step: int
    calls: int
    tables: Mapping[str, Mapping[str, int]]


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

    def publish(self, tenant: TenantId, period: str, counted: Counted) -> None:
        """Writes a period's row, for good; AlreadyExists if it has one, Refused if it is more than counts."""
        days_of(period)
        sealed = wrap(self._key.reveal(), _body(counted).ljust(BODY_BYTES_MAX), _aad(tenant, period))
        with self._catalogue.writing() as connection:
            connection.execute(statistics.insert(), {"tenant": tenant, "period": period, "sealed": sealed})

    def read(self, tenant: TenantId, periods: Sequence[str]) -> dict[str, Counted]:
        """What was published of these periods, of a month's days at most; those without a row are left out."""
        query = select(statistics.c.period, statistics.c.sealed).where(statistics.c.tenant == tenant)
        with self._catalogue.reading() as connection:
            rows = connection.execute(query.where(statistics.c.period.in_(periods))).all()
        return {row.period: _read(unwrap(self._key.reveal(), row.sealed, _aad(tenant, row.period))) for row in rows}

    def periods(self, tenant: TenantId) -> list[str]:
        """The periods that have been published, in order."""
        query = select(statistics.c.period).where(statistics.c.tenant == tenant).order_by(statistics.c.serial)
        with self._catalogue.reading() as connection:
            return list(connection.scalars(query))

    def first_day(self, tenant: TenantId) -> Day | None:
        """The day of the tenant's first call, erased or not."""
        with self._catalogue.reading() as connection:
            found = connection.scalar(select(func.min(calls.c.day)).where(calls.c.tenant == tenant, IS_CALL))
        return None if found is None else Day(found)

    def settled(self, tenant: TenantId, period: str) -> bool:
        """Whether every call of the period has its last state."""
        first, last = days_of(period)
        of_period = (calls.c.tenant == tenant, calls.c.day >= first, calls.c.day <= last)
        with self._catalogue.reading() as connection:
            return not connection.scalar(select(exists().where(*of_period, calls.c.closed.is_(False))))

    def described(self, tenant: TenantId, period: str) -> Iterator[Described]:
        """The calls of a period that are over, not erased and not restricted. What of one does not open is left out."""
        first, last = days_of(period)
        serial = 0
        while True:
            with self._catalogue.reading() as connection:
                query = select(calls.c.serial, calls.c.id, calls.c.state).where(
                    *(calls.c.tenant == tenant, calls.c.day >= first, calls.c.day <= last, calls.c.serial > serial),
                    IS_CALL,
                )
                rows = connection.execute(query.order_by(calls.c.serial).limit(CALLS_AT_ONCE)).all()
                restricted = restricted_among(connection, [CallId(row.id) for row in rows])
                living = [
                    row
                    for row in rows
                    if row.state not in (CallState.ERASED, CallState.LIVE, CallState.KEYLESS)
                    and row.id not in restricted
                ]
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


def _body(counted: Counted) -> bytes:
    """As JSON. Refused where anything but steps is counted, or a name could be more than a cell's: a hash is one."""
    names = [name for table, cells in counted.tables.items() for name in (table, *cells)]
    counts = [counted.calls, *(count for cells in counted.tables.values() for count in cells.values())]
    if not all(_NAME.match(name) and not _LIKE_AN_IDENTIFIER.search(name) for name in names):
        raise Refused("statistics have names of tables and cells, and no others")
    if counted.step < STEP_MIN or any(count < 0 or count % counted.step for count in counts):
        raise Refused(f"statistics count in steps of {STEP_MIN} or more")
    body = {"version": VERSION, "step": counted.step, "calls": counted.calls, "tables": counted.tables}
    found = json.dumps(body, separators=(",", ":")).encode()
    if len(found) > BODY_BYTES_MAX:
        raise Refused(f"statistics of {len(found)} bytes; {BODY_BYTES_MAX} is the limit")
    return found


def _read(body: bytes) -> Counted:
    found = json.loads(body)
    return Counted(found["step"], found["calls"], found["tables"])


def _aad(tenant: str, period: str) -> bytes:
    return length_prefixed(_LABEL, tenant.encode(), period.encode())
