"""The sockets of the SIP agent: UDP, TCP and TLS on `sip.listen` and on each of `sip.listeners`."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager

from gateway.addresses import parse_address, parse_advertised
from gateway.config import Settings
from gateway.ingest.certificates import Contexts
from gateway.ingest.identity import Identity
from gateway.ingest.tcp import Streams
from gateway.ingest.udp import Datagrams
from gateway.sip.flow import Flow, Transport
from gateway.sip.grammar import Address

_Bound = tuple[Transport, socket.socket]

TRIES_MAX = 16  # for a port of the system's choice that is free for UDP and TCP alike


class Listeners:
    """Every way in and out. `receive` gets each message and its way."""

    def __init__(
        self, settings: Settings, identity: Identity, receive: Callable[[bytes, Flow], None], counters: Counter[str]
    ) -> None:
        self.address: Address = ("", 0)
        """Where `sip.listen` is bound, once it is open."""
        self.secure_address: Address = ("", 0)
        """The same for its TLS."""
        self.named: dict[str, dict[Transport, Address]] = {}
        """What peers call each listener, for each of its transports; "" is `sip.listen`."""
        self._contexts: Contexts | None = None
        self._settings = settings
        self._identity = identity
        self._receive = receive
        self._counters = counters
        self._datagrams: dict[Address, Datagrams] = {}
        self._streams: Streams | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen until the end of the context. Raises OSError if an address cannot be had."""
        sip, identity = self._settings.sip, self._identity
        with ExitStack() as sockets:
            main = _bound(sip.listen, sip.transports, sip.tls_port, sockets)
            further = [
                (row.name, row.advertised, _bound(row.address, row.transports, row.tls_port, sockets))
                for row in sip.listeners
            ]
            async with asyncio.TaskGroup() as tasks:
                with ExitStack() as stack:
                    streams = Streams(
                        *(self._receive, self._counters, tasks),
                        known=identity.knows,
                        reachable=identity.knows,
                        trusts=identity.trusts,
                        called=identity.called,
                    )
                    self._streams = streams
                    streams.handshakes.contexts = self._contexts
                    stack.callback(streams.close)
                    self.address = main[0][1].getsockname()[:2]
                    for name, advertised, bound in (("", sip.advertised, main), *further):
                        await self._listen(streams, name, advertised, bound, stack)
                    yield

    def send(self, data: bytes, flow: Flow) -> None:
        """By the flow's way; what has none is dropped, and the transactions' timers deal with it."""
        if flow.reliable:
            if self._streams is not None:
                self._streams.send(data, flow)
        elif (datagrams := self._datagrams.get(flow.local)) is not None:
            datagrams.send(data, flow)
        else:
            self._counters["unreachable"] += 1

    def secure(self, contexts: Contexts | None) -> None:
        """Certificates of connections over TLS, from the next one on."""
        self._contexts = contexts
        if self._streams is not None:
            self._streams.handshakes.contexts = contexts

    async def _listen(
        self, streams: Streams, name: str, advertised: str, bound: Sequence[_Bound], stack: ExitStack
    ) -> None:
        told = self.named[name] = {}
        for transport, sock in bound:
            place = sock.getsockname()[:2]
            local = told[transport] = self._named(place, advertised, beside=transport == "tls" and len(bound) > 1)
            streams.hosts[local] = place[0]
            if name:
                self._identity.listeners[local] = name
            elif transport == "tls":
                self.secure_address = place
            if transport == "udp":
                datagrams = self._datagrams[local] = Datagrams(local, self._receive, self._counters)
                stack.callback(datagrams.close)
                await datagrams.open(sock)
            else:
                await streams.listen(sock, local, transport)

    def _named(self, bound: Address, advertised: str, *, beside: bool) -> Address:
        """What peers call a bound address: one that stands for all of ours is no name, the media's then is.

        A port that is advertised is not that of TLS `beside` other transports.
        """
        if advertised:
            host, port = parse_advertised(advertised)
            return host, bound[1] if beside else port or bound[1]
        if ipaddress.ip_address(bound[0]).is_unspecified:
            media = self._settings.media
            return (media.named6 if ":" in bound[0] and media.named6 else media.named), bound[1]
        return bound


def _bound(listen: str, transports: Sequence[Transport], tls_port: int, sockets: ExitStack) -> list[_Bound]:
    """A socket for each transport: UDP and TCP on one port, also when the system chooses it, TLS on its own."""
    address = parse_address(listen)
    for left in reversed(range(TRIES_MAX if address[1] == 0 else 1)):
        with ExitStack() as held:
            try:
                bound = _bound_once(address, transports, tls_port, held)
            except OSError:
                if not left:
                    raise
            else:
                sockets.push(held.pop_all())
                return bound
    raise AssertionError("the last try returns or raises")


def _bound_once(wanted: Address, transports: Sequence[Transport], tls_port: int, held: ExitStack) -> list[_Bound]:
    bound: list[_Bound] = []
    for transport in sorted(transports, key="udp tcp tls".index):  # the free port of "udp" is free for "tcp" more often
        if transport == "tls" and bound:
            wanted = wanted[0], tls_port
        sock = bound_socket(wanted, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        held.callback(sock.close)
        bound.append((transport, sock))
        wanted = sock.getsockname()[:2]
    return bound


def bound_socket(address: Address, kind: socket.SocketKind) -> socket.socket:
    """A bound socket that does not block. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind)
    try:
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
