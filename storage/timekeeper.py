"""Looks at the clocks: this machine's, the database's and the key providers', and keeps the heartbeat."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from storage.catalogue import Catalogue
from storage.clocks import APART_MAX_S, Doubt, Reading, Verdict
from storage.errors import Unavailable
from storage.heartbeat import host_reading, look
from storage.latest import LatestClock
from storage.model import TenantId
from storage.providers import KeyProvider

log = logging.getLogger(__name__)

ReadHost = Callable[[float, int | None, int | None], Reading]
"""This machine's clocks beside others': time, database's, provider's."""


class Timekeeper:
    """One look is a query, and one request to a key provider that is a server; thread-safe."""

    def __init__(
        self,
        catalogue: Catalogue,
        provider: KeyProvider,
        clock: Callable[[], float],
        latest: LatestClock,
        read_host: ReadHost = host_reading,
    ) -> None:
        self._catalogue = catalogue
        self._provider = provider
        self._clock = clock
        self._latest = latest
        self.read_host = read_host

    def look(self) -> Verdict:
        """What the clocks allow; the heartbeat is kept, and from here on reads are refused by the latest clock.

        A provider that has a clock and does not tell it is a doubt: nothing may be dropped.
        """
        asked_s, silent = None, False
        try:
            asked_s = self._provider.clock()
        except Unavailable as error:
            log.warning("the key provider does not tell its time", extra={"reason": type(error).__name__})
            silent = True
        database_s = self._catalogue.clock()
        with self._catalogue.writing() as connection:
            verdict = look(connection, self.read_host(self._clock(), database_s, asked_s))
        self._latest.hear(verdict.beat)
        if silent:
            return replace(verdict, drop_until_s=None, doubts=(*verdict.doubts, Doubt.SILENT))
        return verdict

    def agrees(self, tenant: TenantId, verdict: Verdict) -> bool:
        """Whether the clock of the tenant's own key provider is near the others; yes if it has none. Unavailable."""
        told_s = self._provider.behind(tenant).clock()
        return told_s is None or abs(told_s - verdict.beat.host_s) <= APART_MAX_S
