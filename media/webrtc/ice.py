"""ICE on one socket of ours (RFC 8445, 7675), by aioice: no other interface is looked at, and none is named.

We have one candidate, the socket's address, and take no candidates: pairs come from the peer's own checks, so that
nothing is sent to who has not shown our password. Datagrams are handed in, as they are drained elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol

UNREAD_MAX = 64  # datagrams for DTLS that wait to be read; a handshake's flight has some six


class Ice(Connection):
    """The answering end of one ICE session. Raises ConnectionError from `connect`, `recv` and `send` where it is over.

    The socket is ours from here on.
    """

    def __init__(self, sock: socket.socket, ufrag: str, password: str) -> None:
        super().__init__(ice_controlling=False)
        self.remote_username, self.remote_password = ufrag, password
        host, port = sock.getsockname()
        self._stun = StunProtocol(self)
        self._stun.connection_made(_Outlet(sock, self._stun))
        self._stun.local_candidate = Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=1,
            transport="udp",
            priority=candidate_priority(1, "host"),
            host=host,
            port=port,
            type="host",
        )
        self._protocols = [self._stun]
        self._local_candidates = [self._stun.local_candidate]
        self._local_candidates_end = True

    @property
    def path(self) -> tuple[str, int] | None:
        """Where the peer is, once that is agreed."""
        pair = self._nominated.get(1)
        return None if pair is None else pair.remote_addr

    def take_check(self, data: bytes, source: tuple[str, int]) -> None:
        """A STUN message."""
        self._stun.datagram_received(data, source)

    def take_data(self, data: bytes, source: tuple[str, int]) -> None:
        """Anything else that `recv` is to give; only of the peer that was agreed on, and not more than is read."""
        if source == self.path and self._queue.qsize() < UNREAD_MAX:
            super().data_received(data, 1)

    def data_received(self, data: bytes, component: int) -> None:
        """What looked like STUN and is none: nobody's."""


class _Outlet(asyncio.DatagramTransport):
    """What `StunProtocol` sends by. A datagram that the kernel does not take is lost, as datagrams are."""

    def __init__(self, sock: socket.socket, protocol: StunProtocol) -> None:
        super().__init__()
        self._sock = sock
        self._protocol = protocol

    def sendto(self, data: Any, addr: Any = None) -> None:
        with suppress(OSError):
            self._sock.sendto(data, addr)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._sock.close()
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
