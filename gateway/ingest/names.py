"""The names of trunks' peers, asked of DNS at start and again when their answers are old; the home of dnspython.

Rules: the last good answer stands until there is another, whatever becomes of DNS, and an alarm says so meanwhile. A
name stands for its addresses alone, so many at most, and never for those that are nobody's. DNS is not authenticated:
what an address is worth without TLS or a password, a name is worth no more.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from gateway.peers import PeerName
from gateway.sip.grammar import Address
from gateway.tenants import Answers

log = logging.getLogger(__name__)

LOOKUPS_MAX = 16
"""At once; more wait for their turn."""

ADDRESSES_MAX = 32
"""Of one name; a carrier's largest pool has a dozen. What comes after them is left out."""

TARGETS_MAX = 8
"""Hosts of one service that are asked for their addresses, the preferred first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often DNS is asked, in seconds."""

    age_min: float = 30.0
    """An answer is kept so long whatever its TTL: DNS for failover has a few seconds, and we are no load on it."""
    age_max: float = 300.0
    """And no longer than this: a peer that moves is found in minutes."""
    retry: float = 15.0
    """After a question without an answer."""
    lookup: float = 4.0
    """For one question, retransmissions and further servers included."""


USUAL = Pace()


class _Unanswered(Exception):
    """DNS does not answer, or says that there is nothing."""


@dataclass(slots=True)
class _Kept:
    """One name: its last good answer, when it is asked again, and whether that was in vain last time."""

    addresses: tuple[Address, ...] = ()
    due: float = 0.0
    failing: bool = False


class Names:
    """Answers for the names that are wanted. `servers` are DNS servers, none of them for the system's.

    `changed` is called whenever an answer is another one; `failing` after each round, with whether any name has none
    and the time.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        changed: Callable[[], None],
        failing: Callable[[bool, float], None],
        pace: Pace = USUAL,
    ) -> None:
        self._servers = servers
        self._changed = changed
        self._failing = failing
        self._kept: dict[PeerName, _Kept] = {}
        self._wanted = asyncio.Event()
        self._room = asyncio.Semaphore(LOOKUPS_MAX)
        self._pace = pace
        self._resolver: dns.asyncresolver.Resolver | None = None

    @property
    def answers(self) -> Answers:
        """The last good ones."""
        return {name: kept.addresses for name, kept in self._kept.items()}

    def want(self, names: Iterable[PeerName]) -> None:
        """These and no others, from now on."""
        self._kept = {name: self._kept.get(name, _Kept()) for name in names}
        self._wanted.set()

    async def look(self) -> None:
        """Ask whatever is due; a round takes as long as its slowest question."""
        now = time.monotonic()
        due = [(name, kept) for name, kept in self._kept.items() if kept.due <= now]
        before = self.answers
        await asyncio.gather(*(self._ask(name, kept) for name, kept in due))
        self._failing(any(kept.failing for kept in self._kept.values()), time.monotonic())
        if self.answers != before:
            self._changed()

    async def run(self) -> None:
        """Look whenever something is due, until cancelled."""
        while True:
            self._wanted.clear()
            await self.look()
            at = min((kept.due for kept in self._kept.values()), default=None)
            try:
                async with asyncio.timeout(None if at is None else max(0.0, at - time.monotonic())):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _ask(self, name: PeerName, kept: _Kept) -> None:
        async with self._room:
            try:
                addresses, ttl_s = await self._answer(name)
            except _Unanswered:
                kept.failing, kept.due = True, time.monotonic() + self._pace.retry
                return
        kept.failing, kept.due = False, time.monotonic() + self._age_s(ttl_s)
        if addresses != kept.addresses:
            kept.addresses = addresses
            log.info("a peer's name has other addresses", extra={"kind": name.kind, "addresses": len(addresses)})

    def _age_s(self, ttl_s: float) -> float:
        return min(max(ttl_s, self._pace.age_min), self._pace.age_max)

    async def _answer(self, name: PeerName) -> tuple[tuple[Address, ...], float]:
        """Addresses, the preferred first, and for how long they are good."""
        if name.kind == "host":
            return await self._host(name.host, 0)
        try:
            return await self._service(name.name)
        except _Absent:
            if name.kind == "srv":
                raise
            return await self._host(name.host, 0)

    async def _service(self, name: str) -> tuple[tuple[Address, ...], float]:
        """A service's hosts in the order of RFC 2782, but without its lottery: equal ones by weight, then by name."""
        records, ttl_s = await self._records(name, "SRV")
        rows = sorted((row.priority, -row.weight, row.target.to_text(), row.port) for row in records)
        targets = [(target, port) for _, _, target, port in rows if target != "."][:TARGETS_MAX]
        found: list[Address] = []
        for target, port in targets:
            try:
                addresses, target_ttl_s = await self._host(target, port)
            except _Absent:
                continue  # the others are still good
            ttl_s = min(ttl_s, target_ttl_s)
            found += addresses
        if not found:
            raise _Unanswered
        return tuple(dict.fromkeys(found))[:ADDRESSES_MAX], ttl_s

    async def _host(self, name: str, port: int) -> tuple[tuple[Address, ...], float]:
        found: list[Address] = []
        ttl_s = self._pace.age_max
        for kind in ("A", "AAAA"):
            try:
                records, age_s = await self._records(name, kind)
            except _Absent:
                continue
            ttl_s = min(ttl_s, age_s)
            found += [(row.address, port) for row in records if _is_somebody(row.address)]
        if not found:
            raise _Absent
        return tuple(sorted(set(found), key=_by_family)[:ADDRESSES_MAX]), ttl_s

    async def _records(self, name: str, kind: str) -> tuple[dns.resolver.Answer, float]:
        """Raises _Absent where DNS says that there are none, _Unanswered where it says nothing."""
        try:
            answer = await self._asked().resolve(name, kind, lifetime=self._pace.lookup, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
            raise _Absent from error
        except (dns.exception.DNSException, OSError) as error:
            raise _Unanswered from error
        return answer, answer.chaining_result.minimum_ttl

    def _asked(self) -> dns.asyncresolver.Resolver:
        if self._resolver is None:
            self._resolver = dns.asyncresolver.Resolver(configure=not self._servers)
            if self._servers:
                self._resolver.nameservers = [dns.nameserver.Do53Nameserver(*server) for server in self._servers]
        return self._resolver


class _Absent(_Unanswered):
    """DNS says that there is no such name, or nothing of the kind."""


def _by_family(address: Address) -> tuple[bool, str]:
    return ":" in address[0], address[0]


def _is_somebody(text: str) -> bool:
    """Whether it is one host's: not "any", not everybody's."""
    address = ipaddress.ip_address(text)
    return not (address.is_unspecified or address.is_multicast or text == "255.255.255.255")
