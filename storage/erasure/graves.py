"""The rows that refuse: tombstones of artefacts and of single wraps, drops of buckets.

A grave stands for ever, since a restored backup must not bring back what it names. From the transaction that writes
it reads are refused: the artefact is ERASING, the dropped bucket's time is over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.calls import IS_CALL, close_calls
from storage.epochs import ALIVE
from storage.erasure.targets import Drop, Scope, Target
from storage.erasure.ways import DROPPED, OPEN_WAY, WAYS, of_change, open_at
from storage.errors import Erased, NotFound, NotReady, OnHold, Refused
from storage.jobs import forget_jobs
from storage.liveness import IS_BURIED, IS_NEWEST
from storage.model import NO_PARTICIPANT, ArtefactId, ArtefactState, CallId, CallState, Root, TenantId
from storage.records import ROOTS, STREAMS
from storage.tables import artefact_keys, artefacts, buckets, calls, drops, erased_calls, holds, tenants, tombstones
from storage.tags import batches
from storage.times import day_of

AT_ONCE = 500
"""Ids in one query: below SQLite's oldest limit of 999 values."""

CONTENT = [kind.value for kind, root in ROOTS.items() if root is Root.CONTENT]
"""Kinds that the erasure of a call means. What the law wants kept has no content and no far party, and outlives it."""


def bury(connection: Connection, erasure: str, tenant: TenantId, target: Target, now_s: float) -> set[CallId]:
    """Writes the graves of an erasure; gives the calls that it has ended, beside those that a sweep will find.

    NotFound, Erased, NotReady, OnHold, Refused: then nothing is written.
    """
    over = set[CallId]()
    if target.scope in (Scope.EXPIRY, Scope.RELEASE, Scope.TENANT):
        _drop(connection, erasure, tenant, _of_buckets(tenant, target))
    elif target.scope is Scope.PURPOSE:
        over = _bury_purpose(connection, erasure, tenant, target, now_s)
    else:
        over = _bury_artefacts(connection, erasure, tenant, target, now_s)
    if target.scope is Scope.RELEASE:
        connection.execute(update(holds).where(holds.c.id == target.hold).values(released=True))
    raise_fence(connection, tenant)
    return over


def name_calls(connection: Connection, erasure: str, named: Collection[CallId]) -> None:
    """Of these calls the erasure's certificate speaks."""
    rows = [{"call": call, "erasure": erasure} for call in named]
    if rows:
        connection.execute(erased_calls.insert(), rows)


def raise_fence(connection: Connection, tenant: str) -> None:
    """Tells every process that what it holds of this tenant's keys may be out of date."""
    connection.execute(update(tenants).where(tenants.c.id == tenant).values(fence=tenants.c.fence + 1))


def holds_of(connection: Connection, tenant: TenantId, wanted: Sequence[CallId], now_s: float) -> dict[ArtefactId, str]:
    """Which artefacts of these calls a hold keeps, each with the ground of one of its holds."""
    found: dict[ArtefactId, str] = {}
    query = select(artefact_keys.c.artefact, holds.c.ground).select_from(
        WAYS.join(holds, holds.c.id == buckets.c.purpose)
    )
    # By the artefacts' tenant: by the buckets' a database begins with all that the tenant has.
    query = query.where(IS_NEWEST, artefacts.c.tenant == tenant, buckets.c.root == Root.HOLD.value, open_at(now_s))
    for batch in batches(wanted, AT_ONCE):
        found |= {
            ArtefactId(row.artefact): row.ground for row in connection.execute(query.where(artefacts.c.call.in_(batch)))
        }
    return found


def close_graves(connection: Connection, change: str) -> None:
    """The key is destroyed: what was ERASING is ERASED."""
    buried = of_change(change, select(tombstones.c.artefact), tombstones.c.erasure).where(tombstones.c.purpose == "")
    where = (artefacts.c.id.in_(buried), artefacts.c.state == ArtefactState.ERASING.value)
    connection.execute(update(artefacts).where(*where).values(state=ArtefactState.ERASED.value))


def _of_buckets(tenant: TenantId, target: Target) -> ColumnElement[bool]:
    """Which buckets a target of whole buckets means."""
    of_tenant = buckets.c.tenant == tenant
    match target.scope:
        case Scope.RELEASE:
            return and_(of_tenant, buckets.c.root == Root.HOLD.value, buckets.c.purpose == target.hold)
        case Scope.TENANT:
            return and_(of_tenant, buckets.c.root == Root.CONTENT.value)
        case _:
            return and_(of_tenant, or_(*(_is(drop) for drop in target.drops)))


def _is(drop: Drop) -> ColumnElement[bool]:
    slot = (buckets.c.kind == drop.kind.value, buckets.c.purpose == drop.purpose, buckets.c.day == drop.day)
    return and_(buckets.c.root == drop.root.value, *slot)


def _drop(connection: Connection, erasure: str, tenant: TenantId, which: ColumnElement[bool]) -> None:
    """Buckets die whole; what is in them and nowhere else is found when it is swept."""
    rows = connection.execute(select(buckets).where(IS_NEWEST, which)).all()
    fields = ("root", "kind", "purpose", "day")
    if rows:
        graves = [
            {name: getattr(row, name) for name in fields} | {"tenant": tenant, "erasure": erasure} for row in rows
        ]
        connection.execute(drops.insert(), graves)
    for batch in batches([row.serial for row in rows], AT_ONCE):
        connection.execute(update(buckets).where(buckets.c.serial.in_(batch)).values(due=DROPPED))


def _bury_purpose(connection: Connection, erasure: str, tenant: TenantId, target: Target, now_s: float) -> set[CallId]:
    """What is kept for one purpose: days that are over as whole buckets, what may still grow wrap by wrap."""
    of_purpose = and_(buckets.c.root == Root.CONTENT.value, buckets.c.purpose == target.purpose)
    growing = buckets.c.day >= day_of(now_s)
    if not target.calls:
        _drop(connection, erasure, tenant, and_(buckets.c.tenant == tenant, of_purpose, ~growing))
    query = select(artefacts).select_from(WAYS)
    query = query.where(IS_NEWEST, of_purpose, artefacts.c.state.in_(ALIVE), ~IS_BURIED)
    if target.participant is not None:
        query = query.where(artefacts.c.participant == target.participant)
    if target.calls:
        _check_calls(connection, tenant, target.calls)
        rows = [
            row
            for batch in batches(target.calls, AT_ONCE)
            for row in connection.execute(query.where(artefacts.c.call.in_(batch)))
        ]
    else:
        rows = list(connection.execute(query.where(buckets.c.tenant == tenant, growing)))
    kept = _kept_otherwise(connection, [row.id for row in rows], target.purpose, now_s)
    _write(connection, erasure, [row for row in rows if row.id in kept], target.purpose)
    return _write(connection, erasure, [row for row in rows if row.id not in kept])


def _kept_otherwise(connection: Connection, wanted: Sequence[str], purpose: str, now_s: float) -> set[str]:
    """Those of these artefacts that something else than this purpose keeps."""
    query = select(artefact_keys.c.artefact).select_from(WAYS).where(OPEN_WAY, open_at(now_s))
    query = query.where(buckets.c.purpose != purpose)
    return {
        found
        for batch in batches(wanted, AT_ONCE)
        for found in connection.scalars(query.where(artefact_keys.c.artefact.in_(batch)))
    }


def _bury_artefacts(
    connection: Connection, erasure: str, tenant: TenantId, target: Target, now_s: float
) -> set[CallId]:
    states = _check_calls(connection, tenant, target.calls)
    if target.scope in (Scope.ARTEFACT, Scope.PARTICIPANT):
        if CallState.LIVE in states:
            raise NotReady(f"call {target.calls[0]} is live: erase it whole, or wait for its end")
        if CallState.ERASED in states:
            raise Erased(f"call {target.calls[0]} is erased")
    held = holds_of(connection, tenant, target.calls, now_s)
    rows = _rows(connection, target)
    if target.scope is Scope.ARTEFACT:
        _check_artefacts(connection, target, [row.id for row in rows])
    elif target.scope is Scope.PARTICIPANT and not any(row.participant == target.participant for row in rows):
        raise NotFound(f"call {target.calls[0]} has no participant {target.participant} that is not erased")
    on_hold = [row for row in rows if row.id in held]
    if on_hold and target.scope is not Scope.PERSON:
        raise OnHold(f"call {on_hold[0].call} is held, ground: {held[on_hold[0].id]}")
    if target.scope is Scope.CALL and not rows:  # its keys are away: what is in memory finds no row to come back to
        return end_calls(connection, target.calls)
    return _write(connection, erasure, [row for row in rows if row.id not in held])


def _rows(connection: Connection, target: Target) -> list[Row[Any]]:
    """The living artefacts that a target of calls means."""
    rows: list[Row[Any]] = []
    for batch in batches(target.calls, AT_ONCE):
        query = select(artefacts).where(artefacts.c.call.in_(batch), artefacts.c.state.in_(ALIVE))
        rows += connection.execute(query.where(_within(target))).all()
    return rows


def _within(target: Target) -> ColumnElement[bool]:
    if target.scope is Scope.ARTEFACT:
        return artefacts.c.id.in_(target.artefacts)
    content = artefacts.c.kind.in_(CONTENT)
    if target.scope is Scope.PARTICIPANT:
        return and_(content, artefacts.c.participant.in_((target.participant, NO_PARTICIPANT)))
    return content


def _check_artefacts(connection: Connection, target: Target, found: Sequence[str]) -> None:
    for missing in set(target.artefacts).difference(found):
        query = select(artefacts.c.id).where(artefacts.c.id == missing, artefacts.c.call == target.calls[0])
        if connection.scalar(query) is not None:
            raise Erased(f"artefact {missing} is erased")
        raise NotFound(f"call {target.calls[0]} has no artefact {missing}")
    query = select(artefacts.c.kind).where(artefacts.c.id.in_(found), artefacts.c.kind.not_in(CONTENT))
    if (kind := connection.scalar(query)) is not None:
        raise Refused(f"a {kind} stands under the statutory root: it is kept as long as the law obliges, and no longer")


def _check_calls(connection: Connection, tenant: TenantId, wanted: Sequence[CallId]) -> set[CallState]:
    states: dict[str, str] = {}
    for batch in batches(wanted, AT_ONCE):
        query = select(calls.c.id, calls.c.state).where(calls.c.id.in_(batch), calls.c.tenant == tenant, IS_CALL)
        states |= {row.id: row.state for row in connection.execute(query)}
    for call in wanted:
        if call not in states:
            raise NotFound(f"no call {call}")
    return {CallState(state) for state in states.values()}


def _write(connection: Connection, erasure: str, rows: Sequence[Any], purpose: str = "") -> set[CallId]:
    """Tombstones; where whole artefacts die, of calls that have no content left an end, and of jobs without audio."""
    if not rows:
        return set()
    facts = {"purpose": purpose, "erasure": erasure}
    graves = [{"artefact": row.id, "tenant": row.tenant, "call": row.call} | facts for row in rows]
    connection.execute(tombstones.insert(), graves)
    if purpose:
        return set()
    for ids in batches([row.id for row in rows], AT_ONCE):
        where = artefacts.c.id.in_(ids)
        connection.execute(update(artefacts).where(where).values(state=ArtefactState.ERASING.value))
    return end_calls(connection, {CallId(row.call) for row in rows})


def end_calls(connection: Connection, touched: Collection[CallId]) -> set[CallId]:
    """Those of these calls that have no content left become ERASED; those without audio lose their jobs."""
    living: dict[str, set[str]] = {}
    for batch in batches(touched, AT_ONCE):
        of_calls = connection.scalars(select(calls.c.id).where(calls.c.id.in_(batch), IS_CALL))
        living |= {call: set() for call in of_calls}  # a dossier is no call, and does not become one by its end
        query = select(artefacts.c.call, artefacts.c.kind).distinct().where(artefacts.c.call.in_(batch))
        for row in connection.execute(query.where(artefacts.c.kind.in_(CONTENT), artefacts.c.state.in_(ALIVE))):
            if row.call in living:
                living[row.call].add(row.kind)
    over = {CallId(call) for call, kinds in living.items() if not kinds}
    for dead in batches(over, AT_ONCE):
        close_calls(connection, dead, CallState.ERASED)
    for silent in batches([call for call, kinds in living.items() if not kinds & STREAMS], AT_ONCE):
        forget_jobs(connection, silent)
    return over


def bury_again(connection: Connection, erasure: str, tenant: TenantId, target: Target, now_s: float) -> list[CallId]:
    """The same after a restore, at the time of the erasure: what it named is buried as far as it is there.

    Nothing refuses: that was decided then. Gives the calls that are not there.
    """
    here: set[str] = set()
    for batch in batches(target.calls, AT_ONCE):
        query = select(calls.c.id).where(calls.c.id.in_(batch), calls.c.tenant == tenant)
        here |= set(connection.scalars(query))
    missing = [call for call in target.calls if call not in here]
    if target.calls and not here:
        return missing
    found = replace(target, calls=tuple(call for call in target.calls if call in here))
    if found.scope in (Scope.EXPIRY, Scope.RELEASE, Scope.TENANT, Scope.PURPOSE):
        bury(connection, erasure, tenant, found, now_s)
        name_calls(connection, erasure, found.calls)
        return missing
    held = holds_of(connection, tenant, found.calls, now_s)
    _write(connection, erasure, [row for row in _rows(connection, found) if row.id not in held])
    end_calls(connection, found.calls)
    name_calls(connection, erasure, found.calls)
    raise_fence(connection, tenant)
    return missing
