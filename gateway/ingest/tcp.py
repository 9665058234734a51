"""SIP's connections, TCP and TLS: who may have one, for how long, and by which of them a message goes.

A connection is closed when it is too slow (a message that does not end, a reader that does not read), too old without
use, or cannot be read on. What was on its way is then the transactions' business: their timers give up, and a reply
finds or opens another connection to where its Via says (RFC 3261 §18.2.2), if `reachable` allows that host.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from gateway.ingest.certificates import names_of
from gateway.ingest.handshakes import HANDSHAKE_S, SHUTDOWN_S, Handshakes
from gateway.sip.flow import Flow, Transport
from gateway.sip.framing import PONG, Broken, Framer, Message, Ping
from gateway.sip.grammar import Address

CONNECTIONS_MAX = 4096
"""Open at once, ours included: twice the default of calls, for peers that open one for each. Beyond it new ones are
closed at once."""

PER_SOURCE_MAX = 2048
"""Of those, from one address that is known: one border controller must not take the others' places."""

STRANGERS_MAX = 256
"""Of those, from addresses that are not known; they may only ask to be let in."""

PER_STRANGER_MAX = 8

MESSAGE_S = 10.0
"""From the start of a connection to its first whole message or ping, and from the first byte of a message to its last:
a round trip and a retransmission on a bad line, many times over."""

IDLE_S = 4 * 3600.0
"""Without anything received. As long as a call may be held: its BYE must find the connection."""

STRANGER_IDLE_S = 32.0
"""The same for strangers: the life of a transaction."""

WRITE_BUFFER_BYTES = 256 << 10
"""Written and not taken by the peer: some hundred answers. A peer that reads no faster is closed."""

CONNECT_S = 5.0
"""For a connection that we open; what waits for it is dropped with it."""

WAITING_BYTES_MAX = 64 << 10
"""For one connection that is being opened; more is dropped, as a network would."""

BACKLOG = 512
"""Connections the kernel keeps until we look: a second's worth of a busy minute, one a call."""

KEEPALIVE_S = 60
"""Between the kernel's probes of an idle connection, so that a peer that vanished is found before a BYE is due."""


class Known(Protocol):
    """Whether an address, or one of a certificate's names, belongs to a trunk or proxy."""

    def __call__(self, host: str, names: Sequence[str] = ()) -> bool: ...


class Connection(asyncio.Protocol):
    """One connection, accepted or opened; over TLS from the end of its handshake."""

    def __init__(self, streams: Streams, transport: Transport, local: Address, number: int) -> None:
        self.flow = Flow(transport, local, ("", 0), number)
        self.known = True
        self._streams = streams
        self._framer = Framer()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        remote = self._transport.get_extra_info("peername")  # None if it is gone already
        self.flow = self.flow.to((remote[0], remote[1]) if remote else self.flow.remote)
        if (encrypted := self._transport.get_extra_info("ssl_object")) is not None:
            self.flow = replace(self.flow, names=names_of(encrypted))
        if not remote or not self._streams.opened(self):
            self._transport.abort()
            return
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._wait(MESSAGE_S)
        self._check()

    def data_received(self, data: bytes) -> None:
        was_waiting = self._framer.waiting
        frames = self._framer.feed(data)
        for frame in frames:
            match frame:
                case Message():
                    self._streams.take(frame.data, self.flow)
                case Ping():
                    self.send(PONG)
                case Broken():
                    self._streams.counters["connections_broken"] += 1
                    self._streams.take(frame.data, self.flow)
                    self.close()
                    return
        if not self._framer.waiting:
            self._wait(IDLE_S if self.known else STRANGER_IDLE_S)
        elif frames or not was_waiting:
            self._wait(MESSAGE_S)

    def eof_received(self) -> None:
        self._streams.closed(self)  # asyncio closes it; a peer that is done sending is done

    def pause_writing(self) -> None:
        self._streams.counters["connections_too_slow"] += 1
        self._abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._streams.closed(self)

    def send(self, data: bytes) -> None:
        """Buffered, up to WRITE_BUFFER_BYTES."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """After what is written has gone; a peer that does not take it has MESSAGE_S for that."""
        self._streams.closed(self)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            self._wait(MESSAGE_S)

    def _abort(self) -> None:
        self._streams.closed(self)
        if self._transport is not None:
            self._transport.abort()

    def _wait(self, seconds: float) -> None:
        """At most so long until something else calls this. An earlier timer looks again, so this costs nothing."""
        self._due = asyncio.get_running_loop().time() + seconds
        if self._timer is not None and self._timer.when() > self._due:
            self._timer.cancel()
            self._check()

    def _check(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= self._due:
            self._streams.counters["connections_timed_out"] += 1
            self._abort()
        else:
            self._timer = loop.call_at(self._due, self._check)


class Streams:
    """All connections of one agent.

    `receive` gets each message and its way, `reachable` says whether we may open a connection to an address, `trusts`
    whether a certificate with these names is one to find there, `called` by which name we know it (RFC 6066 §3: its
    certificate may depend on that). Connections that we open are tasks of `tasks`.
    """

    def __init__(
        self,
        receive: Callable[[bytes, Flow], None],
        counters: Counter[str],
        tasks: asyncio.TaskGroup,
        *,
        known: Known,
        reachable: Callable[[str], bool],
        trusts: Callable[[str, Sequence[str]], bool],
        called: Callable[[str], str],
    ) -> None:
        self.take = receive
        self.counters = counters
        self._tasks = tasks
        self._known = known
        self._reachable = reachable
        self._trusts = trusts
        self._called = called
        self.handshakes = Handshakes(counters, tasks, known)
        self.hosts: dict[Address, str] = {}
        """Where we are bound, by what peers call it: connections that we open begin there."""
        self._numbers = itertools.count(1)
        self._servers: list[asyncio.Server] = []
        self._open: dict[int, Connection] = {}
        self._by_remote: dict[tuple[Transport, Address], Connection] = {}
        self._by_source: Counter[str] = Counter()
        self._strangers = 0
        self._waiting: dict[tuple[Transport, Address], list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def listen(self, sock: socket.socket, local: Address, transport: Transport = "tcp") -> None:
        """Accept connections on a bound socket."""

        def connection() -> Connection:
            return Connection(self, transport, local, next(self._numbers))

        if transport == "tls":
            self.handshakes.listen(sock, BACKLOG, connection)
            return
        server = await asyncio.get_running_loop().create_server(connection, sock=sock, backlog=BACKLOG)
        self._servers.append(server)

    def close(self) -> None:
        """Stop accepting, and close what is open."""
        for server in self._servers:
            server.close()
        self.handshakes.close()
        for connection in list(self._open.values()):
            connection.close()

    def send(self, data: bytes, flow: Flow) -> None:
        """By the flow's connection if it stands, else by one to its address, which is opened if it must and may be."""
        to = flow.transport, flow.remote
        connection = self._open.get(flow.connection or 0) or self._by_remote.get(to)
        if connection is not None:
            connection.send(data)
        elif to in self._waiting:
            waiting = self._waiting[to]
            if sum(map(len, waiting)) + len(data) <= WAITING_BYTES_MAX:
                waiting.append(data)
        elif len(self._open) + len(self._waiting) < CONNECTIONS_MAX and self._reachable(flow.remote[0]):
            self._waiting[to] = [data]
            self._tasks.create_task(self._connect(flow))
        else:
            self.counters["unreachable"] += 1

    def opened(self, connection: Connection) -> bool:
        """Whether there is room for it."""
        source = connection.flow.remote[0]
        connection.known = self._known(source, connection.flow.names)
        limit = PER_SOURCE_MAX if connection.known else PER_STRANGER_MAX
        full = len(self._open) >= CONNECTIONS_MAX or self._by_source[source] >= limit
        if full or (not connection.known and self._strangers >= STRANGERS_MAX):
            self.counters["connections_refused"] += 1
            return False
        assert connection.flow.connection is not None
        self.counters["connections"] += 1
        self._open[connection.flow.connection] = connection
        self._by_remote[connection.flow.transport, connection.flow.remote] = connection
        self._by_source[source] += 1
        self._strangers += not connection.known
        return True

    def closed(self, connection: Connection) -> None:
        """It takes no more messages; said more than once, also of one that was never let in."""
        if self._open.pop(connection.flow.connection or 0, None) is None:
            return
        self.counters["connections_closed"] += 1
        source = connection.flow.remote[0]
        to = connection.flow.transport, connection.flow.remote
        if self._by_remote.get(to) is connection:
            del self._by_remote[to]
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]
        self._strangers -= not connection.known

    async def _connect(self, flow: Flow) -> None:
        to = flow.transport, flow.remote
        connection = Connection(self, flow.transport, flow.local, next(self._numbers))
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, *flow.remote, local_addr=(self.hosts[flow.local], 0), **self._encryption(flow)
                )
        except (OSError, TimeoutError):
            self.counters["connections_failed"] += 1
        else:
            if flow.secure and not self._trusts(flow.remote[0], connection.flow.names):
                self.counters["certificates_refused"] += 1
                connection.close()
            for data in self._waiting[to]:
                connection.send(data)
        finally:
            del self._waiting[to]

    def _encryption(self, flow: Flow) -> dict[str, Any]:
        if not flow.secure:
            return {}
        if self.handshakes.contexts is None:
            raise ConnectionError("no certificate")
        return {
            "ssl": self.handshakes.contexts.client,
            "server_hostname": self._called(flow.remote[0]) or flow.remote[0],  # an address is not told to the peer
            "ssl_handshake_timeout": HANDSHAKE_S,
            "ssl_shutdown_timeout": SHUTDOWN_S,
        }
