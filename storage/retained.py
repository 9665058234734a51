"""Why each artefact of a call is kept, until when, and by which rule; and of what is erased, since when and by what.

An artefact has a way for each purpose that it is kept for and for each hold; it is kept until the last of them ends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select

from storage.calls import read_mark
from storage.epochs import ALIVE
from storage.erasure.ways import DROPPED, WAYS
from storage.leaving import Closing, closing_of
from storage.liveness import IS_BURIED, IS_NEWEST
from storage.model import ArtefactId, ArtefactState, CallId, CallState, Kind, ParticipantId, Root, TenantId
from storage.policies import policy_of
from storage.policy.explaining import Explanation, HeldBy, explain
from storage.records import DERIVED_DAYS, Day
from storage.tables import artefact_keys, artefacts, buckets, calls, drops, erased_calls, erasures, holds, tombstones


@dataclass(frozen=True, slots=True)
class Kept:
    """One purpose that an artefact is kept for, in the bucket of a day, and what is to be said of that."""

    purpose: str
    day: Day
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Gone:
    """What erased it, and when its key was destroyed; `at` is "" while that is under way."""

    erasure: str
    scope: str
    at: str


@dataclass(frozen=True, slots=True)
class Retained:
    """One artefact. `until_s`: when the last of what keeps it ends; None: not by itself, or it is `gone`.

    What is neither kept nor gone is over: refused to readers, and destroyed within a day.
    """

    artefact: ArtefactId
    participant: ParticipantId
    kind: Kind
    state: ArtefactState
    until_s: int | None
    kept: tuple[Kept, ...]
    holds: tuple[HeldBy, ...]
    gone: Gone | None


@dataclass(frozen=True, slots=True)
class RetainedCall:
    """A call's artefacts, and the erasures that it is named in, oldest first. Of one that was erased by name the second
    is all there is."""

    zone: str
    profile: str
    state: CallState
    closing: Closing | None
    artefacts: tuple[Retained, ...]
    erasures: tuple[Gone, ...]


def retained(connection: Connection, tenant: TenantId, call: CallId) -> RetainedCall:
    """What there is to say of a call; NotFound also for another tenant's."""
    day = read_mark(connection, tenant, call).day
    query = select(artefacts).where(artefacts.c.call == call, artefacts.c.tenant == tenant)
    found = [_retained(connection, row, day) for row in connection.execute(query.order_by(artefacts.c.serial)).all()]
    named = select(erasures).join(erased_calls, erased_calls.c.erasure == erasures.c.id)
    rows = connection.execute(named.where(erased_calls.c.call == call).order_by(erasures.c.serial)).all()
    policy = policy_of(connection, tenant)
    return RetainedCall(
        policy.zone,
        policy.title,
        CallState(connection.scalars(select(calls.c.state).where(calls.c.id == call)).one()),
        closing_of(connection, tenant),
        tuple(found),
        tuple(map(_told, rows)),
    )


def _retained(connection: Connection, row: Row[Any], day: Day) -> Retained:
    ways = _ways(connection, row.id) if row.state in ALIVE else []
    held = [HeldBy(way.purpose, way.ground or "") for way in ways if way.root == Root.HOLD]
    kept = [_kept(connection, row, way, held) for way in ways if way.root != Root.HOLD]
    ends = [one.explanation.until_s for one in kept]
    endless = not ends or None in ends or bool(held)
    return Retained(
        ArtefactId(row.id),
        ParticipantId(row.participant),
        Kind(row.kind),
        ArtefactState(row.state),
        None if endless else max(end for end in ends if end is not None),
        tuple(kept),
        tuple(held),
        _gone(connection, row, day) if not kept and not held else None,
    )


def _ways(connection: Connection, artefact: str) -> Sequence[Any]:
    """The ways that are not dropped, due or not."""
    joined = WAYS.outerjoin(holds, holds.c.id == buckets.c.purpose)
    query = select(buckets.c.root, buckets.c.purpose, buckets.c.day, buckets.c.due, holds.c.ground).select_from(joined)
    open_ways = (IS_NEWEST, ~IS_BURIED, or_(buckets.c.due.is_(None), buckets.c.due != DROPPED))
    query = query.where(artefact_keys.c.artefact == artefact, *open_ways)
    return connection.execute(query.order_by(buckets.c.root, buckets.c.purpose)).all()


def _kept(connection: Connection, row: Row[Any], way: Any, held: Sequence[HeldBy]) -> Kept:
    tenant = TenantId(row.tenant)
    closing = closing_of(connection, tenant)
    explanation = explain(
        policy_of(connection, tenant),
        Kind(row.kind),
        way.purpose,
        Day(way.day),
        held,
        way.due,
        None if closing is None else closing.closed_s,
    )
    return Kept(way.purpose, Day(way.day), explanation)


def _gone(connection: Connection, row: Row[Any], day: Day) -> Gone | None:
    """The erasure that named the artefact, or else the last one that dropped a bucket it was in.

    Its wraps are gone, so the bucket is told by kind, purpose and day: of what was derived a day later, by the nearest.
    """
    named = select(tombstones.c.erasure).where(tombstones.c.artefact == row.id, tombstones.c.purpose == "")
    erasure = connection.scalar(named)
    if erasure is None and row.state == ArtefactState.ERASED:
        last = (date.fromisoformat(day) + timedelta(days=DERIVED_DAYS)).isoformat()
        slot = and_(drops.c.kind == row.kind, drops.c.purpose == row.purpose, drops.c.day.between(day, last))
        query = select(drops.c.erasure).where(drops.c.tenant == row.tenant, drops.c.root != Root.HOLD.value, slot)
        erasure = connection.scalar(query.order_by(drops.c.day, drops.c.serial.desc()).limit(1))
    if erasure is None:
        return None
    return _told(connection.execute(select(erasures).where(erasures.c.id == erasure)).one())


def _told(erasure: Row[Any]) -> Gone:
    at = "" if erasure.certificate is None else json.loads(erasure.certificate)["entries"][1]["body"]["at"]
    return Gone(erasure.id, erasure.scope, at)
