"""Who a request comes from: the gate of the SIP agent, by certificate, user, listener and network, in this order.

A trunk with names is known by its certificate alone, one with users by its password; their networks, if they name any,
must fit as well. A dialog that began over TLS goes on over TLS, by the same certificate if it was known by that.
A proxy's header counts only from a listed proxy, and only once in a request: a second one may be the caller's.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.calls.emergency import is_emergency_uri
from gateway.config import Settings
from gateway.ingest.parties import user_of
from gateway.sip.digest import Algorithm, Challenger, Verified
from gateway.sip.flow import Flow
from gateway.sip.gate import Granted, Verdict
from gateway.sip.grammar import Address
from gateway.sip.message import Request
from gateway.sip.screening import Refusal
from gateway.tenants import Directory


class Identity:
    """The gate. `directory` may be replaced while it works: calls that stand keep what they were granted."""

    def __init__(self, settings: Settings, directory: Directory, random: Callable[[int], bytes]) -> None:
        self.directory = directory
        self.counters: Counter[str] = Counter()
        self._sip = settings.sip
        self.listeners: dict[Address, str] = {}
        """Names of the listeners that have one, by the address where they listen."""
        self._challenger = Challenger(settings.sip.realm, self._hash, random)

    def admit(self, request: Request, flow: Flow, now: float, former: Granted | None = None) -> Verdict:
        source = self.source(request, flow)
        if source is None:
            self.counters["refused_proxy_header"] += 1
            return self._stranger()
        if former is not None and not _as_well_known(flow, former):
            self.counters["refused_less_secure"] += 1
            return Refusal(403)
        if former is not None and source == former.source:
            return former
        verdict = self._identify(request, source, flow, now)
        if former is not None and isinstance(verdict, Granted) and verdict.trunk != former.trunk:
            self.counters["refused_other_trunk"] += 1
            return Refusal(403)
        return verdict

    def urgent(self, request: Request, granted: Granted) -> bool:
        match = self.directory.within(granted.trunk, user_of(request.uri))
        return match is not None and any(is_emergency_uri(match, uri) for uri in (request.uri, request.to.uri))

    def hears(self, flow: Flow) -> bool:
        if self._sip.unknown == "refuse":
            return True
        source, listener = flow.remote[0], self.listeners.get(flow.local, "")
        directory = self.directory
        placed = directory.is_proxy(source) or directory.trunk(source, listener) or directory.asks(source, listener)
        return bool(placed or directory.of_names(flow.names))

    def reaches(self, trunk: str, host: str) -> bool:
        return self.directory.reaches(trunk, host)

    def knows(self, host: str, names: Sequence[str] = ()) -> bool:
        """Whether an address is a proxy's or in some trunk's networks, or a certificate some trunk's: connections come
        from there and go there."""
        return self.directory.known(host) or self.directory.of_names(names) is not None

    def trusts(self, host: str, names: Sequence[str]) -> bool:
        """Whether a certificate with these names is one to find at `host`."""
        return self.directory.trusts(host, names)

    def called(self, host: str) -> str:
        """The name by which we were given the peer at `host`; "" for none."""
        return self.directory.called(host)

    def source(self, request: Request, flow: Flow) -> str | None:
        """The caller's address: the packet's, or what a listed proxy says; None if that is not to be believed."""
        if not self.directory.is_proxy(flow.remote[0]):
            return flow.remote[0]
        told = request.headers.all(self._sip.proxy_header)
        if not told:
            return flow.remote[0]  # the proxy's own: a probe, or a trunk that lists the proxy itself
        try:
            return str(ipaddress.ip_address(told[0].strip("[]"))) if len(told) == 1 else None
        except ValueError:
            return None

    def _identify(self, request: Request, source: str, flow: Flow, now: float) -> Verdict:
        directory, listener = self.directory, self.listeners.get(flow.local, "")
        if (named := directory.of_names(flow.names)) is not None:
            name, trunk = named
            if directory.may(trunk, source, listener):
                return Granted(trunk.name, source, name, flow.secure)
            self.counters["refused_name_elsewhere"] += 1
            return Refusal(403)
        verdict = self._asked(request, source, listener, now)
        return replace(verdict, secure=flow.secure) if isinstance(verdict, Granted) else verdict

    def _asked(self, request: Request, source: str, listener: str, now: float) -> Verdict:
        """By password or by place."""
        directory = self.directory
        algorithms = directory.algorithms
        result = None
        if algorithms:
            result = self._challenger.verify(request.headers.all("Authorization"), request.method, now)
        if isinstance(result, Verified):
            trunk = directory.of_user(result.user, source, listener)
            if trunk is not None:
                return Granted(trunk.name, source)
            self.counters["refused_user_elsewhere"] += 1
            return Refusal(403)
        trunk = directory.trunk(source, listener)
        asked = directory.asks(source, listener) if trunk is None else bool(trunk.users)
        if asked and algorithms:
            stale = result is not None and result.stale
            if result is not None:
                self.counters["digest_stale" if stale else "digest_failed"] += 1
            return Refusal(401, self._challenger.challenge(now, algorithms, stale=stale))
        return self._stranger() if trunk is None else Granted(trunk.name, source)

    def _hash(self, user: str, algorithm: Algorithm) -> str | None:
        return self.directory.hash(user, algorithm)

    def _stranger(self) -> Verdict:
        self.counters["refused_unknown_source"] += 1
        return Refusal(403) if self._sip.unknown == "refuse" else None


def _as_well_known(flow: Flow, former: Granted) -> bool:
    """Whether a request inside a dialog comes as safely as the one that made it."""
    return (flow.secure or not former.secure) and (not former.name or former.name in flow.names)
