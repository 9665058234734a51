"""What a breach was about: how much of each tenant's data lay within reach, and whether it can be read.

Counted from what stands in the catalogue in clear (days, kinds, random ids, sizes), so that no key is used and 10⁶
calls take seconds. How many people that are, is told by bounds: a call has at least two parties, people stand in many
calls, and who they are is sealed.

What opens: everything is sealed under keys that are wrapped by keys at the provider, and all wrapped keys are in the
catalogue. So something is readable only for who has a key provider's keys AND the catalogue (or a backup of it) AND,
of what lies in objects or in the spool, these. Whoever had a machine that works with calls had all of it: its memory
holds keys, and it may ask for more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select

from storage.calls import IS_CALL
from storage.catalogue import Catalogue
from storage.ledger import entry_of
from storage.model import NO_PARTICIPANT, CallId, CallState, TenantId
from storage.places import Part
from storage.records import DOSSIERS
from storage.regions import is_within
from storage.tables import (
    artefacts,
    calls,
    documents,
    erased_calls,
    erasures,
    identifiers,
    ledger,
    locations,
    own_keys,
    slices,
    tenants,
)
from storage.times import utc

CALLS_MAX = 800
"""Named in one case: a list has to fit into a body of 64 KiB."""
PARTIES_MIN = 2
"""Of every call: who called, and who was called; also where only one of them was recorded."""
_AT_ONCE = 400


class Reach(StrEnum):
    """What somebody may have got at."""

    OBJECTS = "objects"  # the object store, or a copy of it
    CATALOGUE = "catalogue"  # the database
    SPOOL = "spool"
    BACKUP = "backup"  # one version: catalogue, objects, spool
    WITNESS = "witness"  # the ledger, and key rows, wrapped
    QUEUE = "queue"  # ids of calls
    KEYS = "keys"  # at the installation's key provider
    TENANT_KEYS = "tenant-keys"  # at the providers of tenants that have their own
    MACHINE = "machine"  # one that runs `serve` or a media worker: its memory has keys, and calls as they are spoken
    TRANSCRIPTION = "transcription"  # one that runs a transcription worker: the same


ROWS = frozenset({Reach.CATALOGUE, Reach.BACKUP})
"""Where the rows are that hold wrapped keys and sealed documents."""
BYTES = frozenset({Reach.OBJECTS, Reach.SPOOL, Reach.BACKUP})
"""Where sealed sound is."""
ALL = frozenset({Reach.MACHINE, Reach.TRANSCRIPTION})

PARTS: dict[Reach, Part] = {
    Reach.OBJECTS: Part.OBJECTS,
    Reach.CATALOGUE: Part.CATALOGUE,
    Reach.SPOOL: Part.SPOOL,
    Reach.QUEUE: Part.QUEUE,
    Reach.KEYS: Part.KEYS,
    Reach.MACHINE: Part.CALLS,
    Reach.TRANSCRIPTION: Part.TRANSCRIPTION,
}
"""Those whose locations are on record; a backup and a witness are wherever somebody has put them."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a case is about. Empty: not narrowed by that. `since_s` is when it began, Unix time; 0: not known.

    `first` and `last` are UTC days of the calls that were within reach; a region narrows it to tenants whose data is or
    was there, by the locations on record.
    """

    reached: tuple[Reach, ...]
    tenants: tuple[TenantId, ...] = ()
    calls: tuple[CallId, ...] = ()
    first: str = ""
    last: str = ""
    region: str = ""
    since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What of one kind was within reach: bytes as they lie there, sealed; and whether they can be read."""

    kind: str
    artefacts: int
    objects: int
    object_bytes: int
    rows: int
    row_bytes: int
    opens: bool


@dataclass(frozen=True, slots=True)
class Touched:
    """One tenant's share. `people_max` is how many people at most; `people_min` at least: of one call two."""

    tenant: TenantId
    calls: int
    people_min: int
    people_max: int
    first: str
    last: str
    kinds: tuple[Kept, ...]
    own_keys: bool
    erased_since: int  # calls whose keys were destroyed after it began: what was copied before needs the old keys
    live: int  # calls that are being spoken now

    @property
    def opens(self) -> bool:
        """Whether anything of it is readable for who had all that was within reach."""
        return any(kept.opens for kept in self.kinds)


@dataclass(slots=True)
class _Sums:
    artefacts: int = 0
    objects: int = 0
    object_bytes: int = 0
    rows: int = 0
    row_bytes: int = 0


def survey(catalogue: Catalogue, scope: Scope) -> list[Touched]:
    """Each tenant that has anything within the scope. One look, some seconds with 10⁶ calls; Unavailable."""
    with catalogue.reading() as connection:
        own = {TenantId(row) for row in connection.scalars(select(own_keys.c.tenant))}
        named = set(scope.tenants) or {TenantId(row) for row in connection.scalars(select(tenants.c.id))}
        named = _in_region(connection, scope, named)
        since = _seq_since(connection, scope.since_s)
        found = [_touched(connection, scope, tenant, tenant in own, since) for tenant in sorted(named)]
    return [one for one in found if one.calls or one.erased_since or one.kinds]


def opens(reached: Collection[Reach], *, own: bool, in_bytes: bool) -> bool:
    """Whether something of a tenant can be read: see the module."""
    found = set(reached)
    if found & ALL:
        return True
    keys = Reach.TENANT_KEYS if own else Reach.KEYS
    return keys in found and bool(found & ROWS) and (not in_bytes or bool(found & BYTES))


def reaches(reached: Collection[Reach], *, in_bytes: bool) -> bool:
    """Whether what lies in objects and spool, or in rows, was within reach at all."""
    found = set(reached)
    return bool(found & (ALL | (BYTES if in_bytes else ROWS)))


def _touched(connection: Connection, scope: Scope, tenant: TenantId, own: bool, since: int) -> Touched:
    count, people, most, first, last, live = 0, 0, 0, "", "", 0
    sums: dict[str, _Sums] = {}
    for where in _wheres(scope, tenant):
        query = select(func.count(), func.min(calls.c.day), func.max(calls.c.day)).where(*where, IS_CALL)
        counted, earliest, latest = connection.execute(query.where(calls.c.state != CallState.ERASED.value)).one()
        count += counted
        first, last = min(filter(None, (first, earliest)), default=""), max(last, latest or "")
        live += connection.scalar(select(func.count()).where(*where, calls.c.state == CallState.LIVE.value)) or 0
        whole, biggest = _parties(connection, where, tenant)
        people, most = people + whole, max(most, biggest)
        _add(connection, where, tenant, sums)
    kinds = tuple(
        Kept(kind, *(found.artefacts, found.objects, found.object_bytes, found.rows, found.row_bytes), opens=opened)
        for kind, found in sorted(sums.items())
        if (opened := _opens(scope, found, own=own)) or _reached(scope, found)
    )
    gone = _erased_since(connection, scope, tenant, since)
    return Touched(tenant, count, most, people, first, last, kinds, own, gone, live)


def _opens(scope: Scope, found: _Sums, *, own: bool) -> bool:
    in_bytes = bool(found.objects) and opens(scope.reached, own=own, in_bytes=True)
    return in_bytes or (bool(found.rows) and opens(scope.reached, own=own, in_bytes=False))


def _reached(scope: Scope, found: _Sums) -> bool:
    return (bool(found.objects) and reaches(scope.reached, in_bytes=True)) or reaches(scope.reached, in_bytes=False)


def _wheres(scope: Scope, tenant: TenantId) -> Iterator[tuple[ColumnElement[bool], ...]]:
    """Which rows of `calls` are meant; several where calls are named."""
    narrowed = [calls.c.tenant == tenant]
    narrowed += [calls.c.day >= scope.first] * bool(scope.first) + [calls.c.day <= scope.last] * bool(scope.last)
    if not scope.calls:
        yield tuple(narrowed)
    for at in range(0, len(scope.calls), _AT_ONCE):
        yield (*narrowed, calls.c.id.in_(scope.calls[at : at + _AT_ONCE]))


def _meant(query: Select[Any], where: Sequence[ColumnElement[bool]], tenant: TenantId) -> Select[Any]:
    """The query for the artefacts of these calls; of a whole tenant without its calls, which is half the work."""
    if len(where) > 1:
        return query.join(calls, calls.c.id == artefacts.c.call).where(*where)
    return query.where(artefacts.c.tenant == tenant)


def _parties(connection: Connection, where: Sequence[ColumnElement[bool]], tenant: TenantId) -> tuple[int, int]:
    """How many people stand in these calls if nobody stands in two of them; and how many in the largest one."""
    own = func.count(case((artefacts.c.participant != NO_PARTICIPANT, artefacts.c.participant)).distinct())
    query = _meant(select(own.label("n")).select_from(artefacts), where, tenant)
    of_calls = artefacts.c.kind.not_in([kind.value for kind in DOSSIERS])
    inner = query.where(of_calls).group_by(artefacts.c.call).subquery()
    each = case((inner.c.n < PARTIES_MIN, PARTIES_MIN), else_=inner.c.n)
    whole, biggest = connection.execute(select(func.sum(each), func.max(each))).one()
    return int(whole or 0), int(biggest or 0)


def _add(
    connection: Connection, where: Sequence[ColumnElement[bool]], tenant: TenantId, sums: dict[str, _Sums]
) -> None:
    counted = _meant(select(artefacts.c.kind, func.count()).select_from(artefacts), where, tenant)
    for kind, count in connection.execute(counted.group_by(artefacts.c.kind)):
        sums.setdefault(kind, _Sums()).artefacts += count

    def sizes(key: Any, size: Any) -> Select[Any]:
        query = select(artefacts.c.kind, func.count(), func.sum(size)).select_from(artefacts)
        return _meant(query.join(key.table, key == artefacts.c.id), where, tenant).group_by(artefacts.c.kind)

    for kind, count, size in connection.execute(sizes(slices.c.artefact, slices.c.size)):
        found = sums.setdefault(kind, _Sums())
        found.objects, found.object_bytes = found.objects + count, found.object_bytes + int(size or 0)
    for key, sealed in ((documents.c.artefact, documents.c.sealed), (identifiers.c.artefact, identifiers.c.sealed)):
        for kind, count, size in connection.execute(sizes(key, func.length(sealed))):
            found = sums.setdefault(kind, _Sums())
            found.rows, found.row_bytes = found.rows + count, found.row_bytes + int(size or 0)


def _erased_since(connection: Connection, scope: Scope, tenant: TenantId, since: int) -> int:
    """Of the calls that are meant, those whose erasure was asked for after the breach began."""
    if not scope.since_s:
        return 0
    count = 0
    for where in _wheres(scope, tenant):
        query = select(func.count(erased_calls.c.call.distinct())).select_from(erased_calls)
        query = query.join(erasures, erasures.c.id == erased_calls.c.erasure)
        query = query.join(calls, calls.c.id == erased_calls.c.call)
        count += connection.scalar(query.where(*where, erasures.c.intent >= since)) or 0
    return count


def _seq_since(connection: Connection, since_s: float) -> int:
    """The number of the first entry of the ledger from then on: its times grow, so it is found by halving."""
    low, high = 1, (connection.scalar(select(func.max(ledger.c.seq))) or 0) + 1
    wanted = utc(since_s)
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(select(ledger).where(ledger.c.seq == middle)).one()
        low, high = (low, middle) if str(entry_of(row).body["at"]) >= wanted else (middle + 1, high)
    return low


def _in_region(connection: Connection, scope: Scope, named: Collection[TenantId]) -> set[TenantId]:
    """Those of which a part that was reached is or was in the region; all, where none is named or known of."""
    parts = {PARTS[reach].value for reach in scope.reached if reach in PARTS}
    if not scope.region or len(parts) < len(scope.reached):
        return set(named)
    rows = connection.execute(select(locations.c.tenant, locations.c.region).where(locations.c.part.in_(parts)))
    there = {row.tenant for row in rows if not row.region or is_within(row.region, [scope.region])}
    return {tenant for tenant in named if tenant in there}
