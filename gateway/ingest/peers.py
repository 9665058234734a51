"""Who and where the trunks are, kept at what the configuration and DNS say: the directory, and our registrations."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from gateway.addresses import parse_address
from gateway.config import Settings
from gateway.ingest.names import Names
from gateway.ingest.registrars import Accounts, wanted
from gateway.ingest.sip import SipIngest
from gateway.tenants import Directory

FIRST_S = 5.0
"""That a start waits for DNS; trunks whose names are not known by then are let in once they are."""

LEAVE_S = 4.0
"""For registrars to take our leave, once calls are over; three retransmissions."""


class Peers:
    """`failing` is told whether some name is without an answer. `apply` comes first, then `look`, then `run`."""

    def __init__(self, settings: Settings, sip: SipIngest, failing: Callable[[bool, float], None]) -> None:
        self._settings = settings
        self._sip = sip
        self._accounts: Accounts = {}
        self._names = Names([parse_address(text) for text in settings.sip.nameservers], self.place, failing)

    def apply(self, settings: Settings, accounts: Accounts) -> None:
        """A configuration, and the accounts that it has: in effect at once, for names as soon as DNS has answered."""
        self._settings, self._accounts = settings, accounts
        self._names.want(name for trunk in settings.trunks for name in trunk.names)
        self.place()

    async def look(self) -> None:
        """Wait for DNS, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                await self._names.look()

    async def run(self) -> None:
        """Keep names at what DNS says, until cancelled."""
        await self._names.run()

    async def leave(self) -> None:
        """Wait until registrars have taken our leave, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._sip.unregistered.wait()

    def place(self) -> None:
        """Put what is known now into effect: calls that stand keep what they were granted."""
        answers = self._names.answers
        self._sip.directory = Directory(self._settings, answers)
        self._sip.register(wanted(self._settings, self._accounts, answers, self._sip.named))
