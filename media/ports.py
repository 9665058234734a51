"""The RTP ports of this host: even ports with RTCP one above, each resting before it is used again (RFC 3550 §11).

A sender of an ended call often goes on for a while. While a pair rests its sockets are closed, so such packets meet
nobody, and by the time of the next call on that port they are over in all but the worst cases; the engine's source
rules deal with those.
"""

from __future__ import annotations

import secrets
import socket
from collections import deque
from dataclasses import dataclass

from media.errors import Unavailable

REST_S = 60.0  # longer than gateways keep sending after a BYE they have not seen (64 × T1 = 32 s)
RECEIVE_BUFFER_BYTES = 256 * 1024  # some 250 packets: a worker may stand still for seconds without loss
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; not exported by the socket module
SO_RXQ_OVFL = 40  # the same: datagrams tell how many their socket's full buffer has cost before them
RESERVED_SHARE = 16  # one in so many ports is kept for callers that must not be refused, at most
RESERVED_MAX = 32
TRIES_MAX = 64  # ports found taken by other programs before one take gives up: bounds its time


@dataclass(frozen=True, slots=True)
class PortPair:
    """Two bound, non-blocking UDP sockets on `port` and `port + 1`; of a tap, ends of unix socket pairs, and port 0."""

    rtp_socket: socket.socket
    rtcp_socket: socket.socket
    port: int
    ipv6: bool = False

    def close(self) -> None:
        """Close both sockets; descriptors that were passed on stay open where they are."""
        self.rtp_socket.close()
        self.rtcp_socket.close()


class PortPool:
    """Even ports in [first, last) with their odd neighbours, handed out from a random start and in rotation.

    A port is taken on one address at a time: `address`, of IPv4, or `address6`, which may be left out.
    """

    def __init__(self, address: str, first: int, last: int, rest_s: float = REST_S, address6: str = "") -> None:
        self._address, self._address6 = address, address6
        self._rest_s = rest_s
        ports = list(range(first + first % 2, last, 2))
        self._reserved = min(RESERVED_MAX, len(ports) // RESERVED_SHARE)
        # Random, so that a restarted gateway does not meet its former calls' senders (RFC 7201 §5 has more reasons).
        start = secrets.randbelow(len(ports)) if ports else 0
        # Free ports in order of the instant (seconds of the caller's clock) from which they may be used.
        self._free: deque[tuple[float, int]] = deque((0.0, port) for port in ports[start:] + ports[:start])

    def take(self, now: float, *, urgent: bool = False, ipv6: bool = False) -> PortPair:
        """A pair of sockets whose port has rested; raises Unavailable when there is none. `now` in seconds.

        The last ones are kept for who is `urgent`.
        """
        if ipv6 and not self._address6:
            raise Unavailable("media is not received over IPv6")
        kept = 0 if urgent else self._reserved
        for _ in range(min(TRIES_MAX, len(self._free))):
            if len(self._free) <= kept or self._free[kept][0] > now:  # they are in the order in which they have rested
                break
            _, port = self._free.popleft()
            try:
                return self._bind(port, ipv6=ipv6)
            except OSError:
                # Another program has it: look again when it would have rested.
                self._free.append((now + self._rest_s, port))
        raise Unavailable("no RTP port is free")

    def release(self, pair: PortPair, now: float) -> None:
        """Close the pair's sockets and let its port rest."""
        pair.close()
        if pair.port:
            self._free.append((now + self._rest_s, pair.port))

    def _bind(self, port: int, *, ipv6: bool) -> PortPair:
        address = self._address6 if ipv6 else self._address
        rtp = _udp_socket(address, port)
        try:
            return PortPair(rtp, _udp_socket(address, port + 1), port, ipv6)
        except OSError:
            rtp.close()
            raise


def tap() -> tuple[PortPair, tuple[socket.socket, socket.socket]]:
    """The two sockets of a leg that a process of ours sends to (media/tap.py), and their far ends: RTP, RTCP."""
    ends = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    for near, far in ends:
        for sock in (near, far):
            sock.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        # What waits in a socket pair counts against its sender.
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BUFFER_BYTES)
    (rtp, far_rtp), (rtcp, far_rtcp) = ends
    return PortPair(rtp, rtcp, 0), (far_rtp, far_rtcp)


def _udp_socket(address: str, port: int) -> socket.socket:
    ipv6 = ":" in address
    sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # a source is of one family, by its socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
