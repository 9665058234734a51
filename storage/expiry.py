"""Expiry: buckets whose time is over are dropped, with one change of epoch a tenant, however much is in them.

From a bucket's `due` on reads are refused; until its key is destroyed it is "expired, refused", not "shredded". That is
within a day: what has become due by the tenant's last night (03:00 in its zone) goes with the next run, so that a
tenant's epoch changes for expiry once a day at most, whatever hours its kinds and purposes end at, and a machine that
was off catches up at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, select

from storage.catalogue import Catalogue
from storage.clocks import Verdict
from storage.erasure import Eraser, Target
from storage.erasure.targets import DROPS_MAX, Drop
from storage.erasure.ways import DROPPED
from storage.errors import StoreError
from storage.liveness import IS_NEWEST
from storage.model import Kind, Root, TenantId
from storage.policies import policy_of
from storage.records import Day
from storage.retention import last_night
from storage.tables import buckets
from storage.timekeeper import Timekeeper

GROUND = "retention period over, Art. 5(1)(e) GDPR"
ACTOR = "retention"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """What waits to be dropped: buckets whose time is over by the host's clock, and since when the first of them."""

    buckets: int
    oldest_s: int | None


class Expiry:
    """Finds what is due, and has it erased."""

    def __init__(
        self, catalogue: Catalogue, eraser: Eraser, timekeeper: Timekeeper, clock: Callable[[], float]
    ) -> None:
        self._catalogue = catalogue
        self._eraser = eraser
        self._timekeeper = timekeeper
        self._clock = clock

    def due(self, until_s: float | None = None, *, nightly: bool = False) -> dict[TenantId, list[Drop]]:
        """Buckets whose time is over and whose keys are not destroyed, by tenant; oldest days first.

        Over by `until_s`, else by the host's clock; `nightly`: by the tenant's last night before that.
        """
        now_s = self._clock() if until_s is None else until_s
        query = select(buckets).where(IS_NEWEST, buckets.c.due > DROPPED, buckets.c.due <= int(now_s))
        found: dict[TenantId, list[Drop]] = {}
        nights: dict[TenantId, float] = {}
        with self._catalogue.reading() as connection:
            for row in connection.execute(query.order_by(buckets.c.day, buckets.c.serial)).all():
                tenant = TenantId(row.tenant)
                if nightly and row.due > _night(connection, tenant, now_s, nights):
                    continue
                drop = Drop(Root(row.root), Kind(row.kind), row.purpose, Day(row.day))
                found.setdefault(tenant, []).append(drop)
        return found

    def standing(self) -> Standing:
        """What waits, for metrics: one query."""
        query = select(buckets.c.due).where(IS_NEWEST, buckets.c.due > DROPPED, buckets.c.due <= int(self._clock()))
        with self._catalogue.reading() as connection:
            found = list(connection.scalars(query))
        return Standing(len(found), min(found, default=None))

    def run(self, verdict: Verdict | None = None, *, nightly: bool = False) -> int:
        """Drops what is due; gives how many buckets. What fails of one tenant is logged and tried at the next run.

        By the clocks' verdict: nothing, if they are in doubt. Without one the host's clock is taken at its word, which
        is for whoever has looked at it.
        """
        if verdict is not None and verdict.drop_until_s is None:
            return 0
        dropped = 0
        until_s = None if verdict is None else verdict.drop_until_s
        for tenant, drops in self.due(until_s, nightly=nightly).items():
            for start in range(0, len(drops), DROPS_MAX):
                part = drops[start : start + DROPS_MAX]
                try:
                    if verdict is not None and not self._timekeeper.agrees(tenant, verdict):
                        log.error("expiry waits: the clock of the tenant's provider is apart", extra={"tenant": tenant})
                        break
                    self._eraser.erase(tenant, Target.of_expiry(part), GROUND, ACTOR)
                except StoreError as error:
                    log.error("expiry not finished", extra={"tenant": tenant, "reason": type(error).__name__})
                    break
                dropped += len(part)
        return dropped


def _night(connection: Connection, tenant: TenantId, now_s: float, known: dict[TenantId, float]) -> float:
    if tenant not in known:
        known[tenant] = last_night(now_s, policy_of(connection, tenant).zone)
    return known[tenant]
