"""What lives on of an erasure's target, and by what right: for its certificate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from storage.epochs import ALIVE
from storage.erasure.graves import AT_ONCE, CONTENT, holds_of
from storage.erasure.targets import Scope, Target
from storage.erasure.ways import WAYS, open_at
from storage.liveness import IS_NEWEST
from storage.model import Root, TenantId
from storage.tables import artefact_keys, artefacts, buckets, holds
from storage.tags import batches


@dataclass(frozen=True, slots=True)
class Survivors:
    """How many artefacts of the target live on: by the law, by a hold, by kind where neither is why."""

    statutory: int
    held: Mapping[str, int]  # by the hold's ground
    others: Mapping[str, int]  # by kind

    def facts(self) -> dict[str, Any]:
        """For ledger and certificate."""
        return {"statutory": self.statutory, "held": dict(self.held), "others": dict(self.others)}

    def words(self) -> list[str]:
        """The same as exceptions that people read."""
        found = [f"{self.statutory} records kept under the statutory root"] if self.statutory else []
        found += [f"{count} artefacts held, ground: {ground}" for ground, count in sorted(self.held.items())]
        return found + [f"{count} {kind} not erased" for kind, count in sorted(self.others.items())]


def survivors(connection: Connection, tenant: TenantId, target: Target, now_s: float) -> Survivors:
    """Counted when the keys are destroyed; for a tenant that is closed, all that it has by law and hold."""
    if not target.calls:
        return _of_tenant(connection, tenant, now_s) if target.scope is Scope.TENANT else Survivors(0, {}, {})
    held = holds_of(connection, tenant, target.calls, now_s)
    statutory, others = 0, Counter[str]()
    for batch in batches(target.calls, AT_ONCE):
        query = select(artefacts.c.id, artefacts.c.kind).where(
            artefacts.c.call.in_(batch), artefacts.c.state.in_(ALIVE)
        )
        for row in connection.execute(query):
            if row.kind not in CONTENT:
                statutory += 1
            elif row.id not in held:
                others[row.kind] += 1
    return Survivors(statutory, Counter(held.values()), others)


def _of_tenant(connection: Connection, tenant: TenantId, now_s: float) -> Survivors:
    wraps = (
        select(artefact_keys.c.artefact).select_from(WAYS).where(IS_NEWEST, open_at(now_s), buckets.c.tenant == tenant)
    )
    statutory = set(connection.scalars(wraps.where(buckets.c.root == Root.STATUTORY.value)))
    held = select(artefact_keys.c.artefact, holds.c.ground).select_from(
        WAYS.join(holds, holds.c.id == buckets.c.purpose)
    )
    held = held.where(IS_NEWEST, buckets.c.tenant == tenant, buckets.c.root == Root.HOLD.value, open_at(now_s))
    grounds = {row.artefact: row.ground for row in connection.execute(held)}
    return Survivors(len(statutory), Counter(grounds.values()), {})
