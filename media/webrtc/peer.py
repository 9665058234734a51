"""One peer: ICE, then DTLS with the certificate its offer promised, then SRTP, of which what it holds goes to the taps.

ICE and DTLS are aioice's and aiortc's; they are slow and rarely needed. Media passes them by: SRTP is opened here,
where the datagram came in, and handed on at once.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pylibsrtp
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport
from aiortc.rtcdtlstransport import SRTPProtectionProfile
from OpenSSL import SSL

from media.endpoints import host_and_port
from media.errors import Malformed
from media.rtcp import SHARED_TYPES
from media.tap import tapped
from media.webrtc.ice import Ice
from media.webrtc.messages import Accept

CONNECT_S = 30.0  # for a client to come with its checks and its certificate: browsers give up after as long
CLOSE_S = 2.0
DTLS_1_2 = 0xFEFD  # RFC 8827 §6.5

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """Packets of all peers of a worker."""

    packets: int = 0
    refused: int = 0
    overflowed: int = 0


class Peer:
    """One session's peer. `udp` is where it sends to, `rtp` and `rtcp` are the far ends of its leg's taps.

    The sockets are the peer's from here on: `run`, and then `close`.
    """

    def __init__(
        self, terms: Accept, udp: socket.socket, rtp: socket.socket, rtcp: socket.socket, counts: Counts
    ) -> None:
        for sock in (udp, rtp, rtcp):
            sock.setblocking(False)
        self._terms = terms
        self._udp, self._rtp, self._rtcp = udp, rtp, rtcp
        self._counts = counts
        self._certificate = _Certificate.generateCertificate()
        self._ice = Ice(udp, terms.ufrag, terms.password)
        self._dtls = RTCDtlsTransport(_Path(self._ice), [self._certificate])  # type: ignore[arg-type]  # as much as it uses
        self._incoming: pylibsrtp.Session | None = None
        self._over = asyncio.Event()
        self._why = "the peer has gone"

    @property
    def parameters(self) -> tuple[str, str, tuple[str, str]]:
        """Our user fragment, password and fingerprint."""
        found = next(f for f in self._certificate.getFingerprints() if f.algorithm == "sha-256")
        return self._ice.local_username, self._ice.local_password, (found.algorithm, found.value)

    async def run(self, connected: Callable[[], None]) -> str:
        """Receive until the peer goes, or `end`; why it was over. `connected` is called once media may come."""
        asyncio.get_running_loop().add_reader(self._rtcp, self._report)
        self._dtls.on("statechange", self._look)
        if await self._connect():
            connected()
            await self._over.wait()
        return self._why

    async def close(self) -> None:
        """Say goodbye, and close the sockets, which nobody may drain any more."""
        asyncio.get_running_loop().remove_reader(self._rtcp)
        self._incoming = None
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._dtls.stop()
                await self._ice.close()
        for sock in (self._udp, self._rtp, self._rtcp):
            sock.close()

    def end(self, why: str) -> None:
        """Let it go."""
        if not self._over.is_set():
            self._why = why
            self._over.set()

    def receive(self, data: bytes, source: int, stamp_ns: int) -> None:
        """One datagram, of a source by its number (RFC 7983 tells them apart by the first octet)."""
        first = data[0] if data else 255
        if 128 <= first < 192:
            if self._incoming is not None:
                self._take_media(self._incoming, data, stamp_ns)
        elif first < 4:
            self._ice.take_check(data, host_and_port(source))
        elif 20 <= first < 64:
            self._ice.take_data(data, host_and_port(source))

    async def _connect(self) -> bool:
        """Whether the peer came and is who it said."""
        waiting = asyncio.ensure_future(self._over.wait())
        connecting = asyncio.ensure_future(self._handshake())
        try:
            await asyncio.wait({waiting, connecting}, timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
            if self._over.is_set():
                return False
            if not connecting.done():
                self._why = "the peer did not come"
                return False
            return connecting.result()
        finally:
            for task in (waiting, connecting):
                task.cancel()
            await asyncio.gather(waiting, connecting, return_exceptions=True)

    async def _handshake(self) -> bool:
        try:
            await self._ice.connect()
        except ConnectionError:
            self._why = "ICE failed"
            return False
        promised = [RTCDtlsFingerprint(name, value) for name, value in self._terms.fingerprints]
        self._dtls._set_role("server")
        await self._dtls.start(RTCDtlsParameters(promised))
        if self._dtls.state != "connected":
            self._why = "DTLS failed"
            return False
        self._incoming = self._dtls._rx_srtp
        return True

    def _look(self) -> None:
        if self._dtls.state in ("closed", "failed"):
            self.end("the peer has gone")

    def _take_media(self, session: pylibsrtp.Session, data: bytes, stamp_ns: int) -> None:
        """SRTP or SRTCP, told apart by RFC 5761 §4."""
        try:
            if len(data) > 1 and data[1] in SHARED_TYPES:
                self._rtcp.send(session.unprotect_rtcp(data))
            else:
                self._rtp.send(tapped(session.unprotect(data), stamp_ns, self._terms.level_id))
                self._counts.packets += 1
        except (pylibsrtp.Error, Malformed):
            self._counts.refused += 1
        except BlockingIOError:
            self._counts.overflowed += 1
        except OSError:
            self.end("the leg was closed")

    def _report(self) -> None:
        """The engine's receiver report, for the peer."""
        try:
            data = self._rtcp.recv(1500)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._rtcp)
            return
        path = self._ice.path
        if path is not None and self._incoming is not None:
            with suppress(OSError, pylibsrtp.Error):
                self._udp.sendto(self._dtls._tx_srtp.protect_rtcp(data), path)


class _Path:
    """The transport that DTLS runs over, as aiortc asks for it."""

    role = "controlled"

    def __init__(self, ice: Ice) -> None:
        self._recv, self._send = ice.recv, ice.send


class _Certificate(RTCCertificate):
    """Of one session, so that two of them are not known for the same host's; nothing older than DTLS 1.2 is spoken."""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_min_proto_version(DTLS_1_2)
        return context
