"""SIP's datagrams: one socket for each listening address."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import cast

from gateway.sip.flow import Flow
from gateway.sip.grammar import Address

RECEIVE_BUFFER_BYTES = 4 << 20  # some thousand INVITEs: the loop may stand still for a second without loss


class Datagrams(asyncio.DatagramProtocol):
    """One socket; `receive` gets each datagram and its way."""

    def __init__(self, local: Address, receive: Callable[[bytes, Flow], None], counters: Counter[str]) -> None:
        self._local = local
        self._receive = receive
        self._counters = counters
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, sock: socket.socket) -> None:
        """Take over a bound socket."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)

    def send(self, data: bytes, flow: Flow) -> None:
        """What the kernel does not take is lost like any datagram: transactions send it again."""
        if self._transport is not None:
            self._transport.sendto(data, flow.remote)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # Python 3.11's own is no subclass of it

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._counters["datagrams"] += 1
        self._receive(data, Flow("udp", self._local, (addr[0], addr[1])))

    def error_received(self, exc: Exception) -> None:
        self._counters["socket_errors"] += 1  # ICMP for something we sent: the transaction's timers deal with it
