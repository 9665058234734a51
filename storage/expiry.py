"""Expiry: buckets whose time is over are dropped, with one change of epoch a tenant, however much is in them.

From a bucket's `due` on reads are refused; until its key is destroyed it is "expired, refused", not "shredded".
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import select

from storage.catalogue import Catalogue
from storage.erasure import Eraser, Target
from storage.erasure.targets import DROPS_MAX, Drop
from storage.erasure.ways import DROPPED
from storage.errors import StoreError
from storage.liveness import IS_NEWEST
from storage.model import Kind, Root, TenantId
from storage.records import Day
from storage.tables import buckets

GROUND = "retention period over, Art. 5(1)(e) GDPR"
ACTOR = "retention"

log = logging.getLogger(__name__)


class Expiry:
    """Finds what is due, and has it erased."""

    def __init__(self, catalogue: Catalogue, eraser: Eraser, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._eraser = eraser
        self._clock = clock

    def due(self) -> dict[TenantId, list[Drop]]:
        """Buckets whose time is over and whose keys are not destroyed, by tenant; oldest days first."""
        query = select(buckets).where(IS_NEWEST, buckets.c.due > DROPPED, buckets.c.due <= int(self._clock()))
        found: dict[TenantId, list[Drop]] = {}
        with self._catalogue.reading() as connection:
            for row in connection.execute(query.order_by(buckets.c.day, buckets.c.serial)):
                drop = Drop(Root(row.root), Kind(row.kind), row.purpose, Day(row.day))
                found.setdefault(TenantId(row.tenant), []).append(drop)
        return found

    def run(self) -> int:
        """Drops what is due; gives how many buckets. What fails of one tenant is logged and tried at the next run."""
        dropped = 0
        for tenant, drops in self.due().items():
            for start in range(0, len(drops), DROPS_MAX):
                part = drops[start : start + DROPS_MAX]
                try:
                    self._eraser.erase(tenant, Target.of_expiry(part), GROUND, ACTOR)
                except StoreError as error:
                    log.error("expiry not finished", extra={"tenant": tenant, "reason": type(error).__name__})
                    break
                dropped += len(part)
        return dropped
