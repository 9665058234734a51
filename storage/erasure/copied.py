"""The calls of an erasure that copies left of: those it names, and those that lost something with a bucket it drops.

A day's expiry may drop a million artefacts in the time of a few buckets, so nobody goes through them: it is asked from
the other side, of the calls of those days that copies are on record of.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from sqlalchemy import Connection, select

from storage.erasure.targets import Target
from storage.erasure.ways import WAYS
from storage.model import CallId, TenantId
from storage.records import DERIVED_DAYS
from storage.tables import artefacts, buckets, calls, drops, egress, tombstones
from storage.tags import ROWS_AT_ONCE, batches

_SLOT = ("root", "kind", "purpose", "day")


def calls_copied(connection: Connection, tenant: TenantId, erasure: str, target: Target) -> Sequence[CallId]:
    """In no order. Before the sweep: then the rows are gone that tell what was in a bucket."""
    if target.calls:
        return target.calls
    named = select(egress.c.call).distinct().join(tombstones, tombstones.c.call == egress.c.call)
    found = set(connection.scalars(named.where(tombstones.c.erasure == erasure, egress.c.tenant == tenant)))
    return [CallId(call) for call in found | _dropped(connection, tenant, erasure)]


def _dropped(connection: Connection, tenant: TenantId, erasure: str) -> set[str]:
    query = select(*(drops.c[name] for name in _SLOT)).where(drops.c.erasure == erasure, drops.c.tenant == tenant)
    dropped = {tuple(row) for row in connection.execute(query)}
    if not dropped:
        return set()
    days = [day for *_, day in dropped]
    first = (date.fromisoformat(min(days)) - timedelta(days=DERIVED_DAYS)).isoformat()  # derived later than its call
    copied = select(egress.c.call).distinct().join(calls, calls.c.id == egress.c.call)
    copied = copied.where(calls.c.tenant == tenant, calls.c.day.between(first, max(days)))
    ways = select(artefacts.c.call, *(buckets.c[name] for name in _SLOT)).distinct().select_from(WAYS)
    return {
        row.call
        for batch in batches(connection.scalars(copied).all(), ROWS_AT_ONCE)
        for row in connection.execute(ways.where(artefacts.c.call.in_(batch)))
        if tuple(row)[1:] in dropped
    }
