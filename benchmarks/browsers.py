"""Senders over WebRTC without a browser: real ICE, DTLS and SRTP, and nothing that costs where packets are sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import pylibsrtp
from aioice import Candidate
from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCDtlsTransport

from media.sdp import Media, parse
from media.webrtc.ice import Ice

CONNECT_S = 20.0
LEVEL_ID = 1
OPUS, PCMU = 111, 0
CODECS = {OPUS: "opus/48000/2", PCMU: "PCMU/8000"}
OPUS_SAYS = "minptime=10;useinbandfec=1"
SUITES = {
    b"SRTP_AES128_CM_SHA1_80": ("AES_CM_128_HMAC_SHA1_80", 16, 14),
    b"SRTP_AEAD_AES_128_GCM": ("AEAD_AES_128_GCM", 16, 12),
    b"SRTP_AEAD_AES_256_GCM": ("AEAD_AES_256_GCM", 32, 12),
}
"""SRTP's suites by what DTLS calls them, with the octets of their keys and salts."""


def describe(
    ufrag: str, password: str, fingerprint: str, codecs: Mapping[int, str] = CODECS, says: str = OPUS_SAYS
) -> bytes:
    """An offer of one sendonly stream in these codecs, by payload type, with what is said of Opus (RFC 7587)."""
    lines = [
        *("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0"),
        f"m=audio 9 UDP/TLS/RTP/SAVPF {' '.join(str(number) for number in codecs)}",
        *("c=IN IP4 0.0.0.0", "a=mid:0", "a=sendonly", "a=rtcp-mux", "a=setup:actpass"),
        *(f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{password}", f"a=fingerprint:sha-256 {fingerprint}"),
        f"a=extmap:{LEVEL_ID} urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        *(f"a=rtpmap:{number} {name}" for number, name in codecs.items()),
    ]
    if OPUS in codecs:
        lines.append(f"a=fmtp:{OPUS} {says}")
    return "\r\n".join([*lines, ""]).encode()


@dataclass(slots=True)
class _Path:
    """The transport that DTLS runs over, as aiortc asks for it."""

    ice: Ice
    role: str = "controlling"

    async def _recv(self) -> bytes:
        return await self.ice.recv()

    async def _send(self, data: bytes) -> None:
        await self.ice.send(data)


class Browser:
    """One sender. `offer`, then `connect` with the answer, then `send`; `close` at the end."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setblocking(False)
        self._udp.bind((address, 0))
        self._ice = Ice(self._udp, "", "")
        self._ice.ice_controlling = True
        self.certificate = RTCCertificate.generateCertificate()
        self._dtls = RTCDtlsTransport(_Path(self._ice), [self.certificate])  # type: ignore[arg-type]  # what it uses
        self._protect = pylibsrtp.Session()
        self._path = (address, 0)
        self.reports: list[bytes] = []

    def offer(self, codecs: Mapping[int, str] = CODECS, says: str = OPUS_SAYS, fingerprint: str = "") -> bytes:
        """An offer of what `describe` says; another's `fingerprint` promises a certificate that is not shown."""
        found = next(f for f in self.certificate.getFingerprints() if f.algorithm == "sha-256")
        ice = self._ice
        return describe(ice.local_username, ice.local_password, fingerprint or found.value, codecs, says)

    async def connect(self, answer: bytes) -> str:
        """Come to where the answer says; the state of DTLS in the end. Raises ConnectionError, TimeoutError."""
        (media,) = parse(answer).media
        self._ice.remote_username, self._ice.remote_password = media.value("ice-ufrag"), media.value("ice-pwd")
        asyncio.get_running_loop().add_reader(self._udp, self._receive)
        await self._ice.add_remote_candidate(Candidate.from_sdp(media.value("candidate") or ""))
        await self._ice.add_remote_candidate(None)
        async with asyncio.timeout(CONNECT_S):
            await self._ice.connect()
            assert self._ice.path is not None
            self._path = self._ice.path
            self._dtls._set_role("client")
            await self._dtls.start(RTCDtlsParameters([_fingerprint(media)]))
        self._protect = self._dtls._tx_srtp
        return str(self._dtls.state)

    @property
    def state(self) -> str:
        """Of DTLS: `connected` until either end closes."""
        return str(self._dtls.state)

    @property
    def socket(self) -> socket.socket:
        """What it sends from; others may send from it too."""
        return self._udp

    @property
    def path(self) -> tuple[str, int]:
        """Where it sends to, once it is connected."""
        return self._path

    def keys(self) -> tuple[str, bytes]:
        """What it protects its packets with, once it is connected: the suite, and key and salt (RFC 5764 §4.2)."""
        encrypted = self._dtls._ssl
        assert encrypted is not None, "it is connected"
        suite, octets, salt = SUITES[encrypted.get_selected_srtp_profile()]
        view = encrypted.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (octets + salt))
        return suite, view[:octets] + view[2 * octets : 2 * octets + salt]

    def send(self, packet: bytes) -> None:
        """Protect one RTP packet and send it."""
        self._udp.sendto(self._protect.protect(packet), self._path)

    def send_report(self, compound: bytes) -> None:
        """The same for RTCP."""
        self._udp.sendto(self._protect.protect_rtcp(compound), self._path)

    def send_raw(self, datagram: bytes) -> None:
        """Send what is no packet of this session."""
        self._udp.sendto(datagram, self._path)

    async def close(self) -> None:
        """Say goodbye by DTLS."""
        loop = asyncio.get_running_loop()
        await self._dtls.stop()
        loop.remove_reader(self._udp)
        await self._ice.close()

    def vanish(self) -> None:
        """Be gone without a word."""
        asyncio.get_running_loop().remove_reader(self._udp)
        self._udp.close()

    def _receive(self) -> None:
        try:
            data, source = self._udp.recvfrom(2048)
        except OSError:
            return
        if data[:1] < b"\x04":
            self._ice.take_check(data, source)
        elif b"\x14" <= data[:1] < b"\x40":
            self._ice.take_data(data, source)
        elif self.state == "connected" and source == self._path:  # a machine has other senders
            self.reports.append(self._dtls._rx_srtp.unprotect_rtcp(data))


def _fingerprint(media: Media) -> RTCDtlsFingerprint:
    name, _, value = (media.value("fingerprint") or "").partition(" ")
    return RTCDtlsFingerprint(name, value)
