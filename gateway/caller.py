"""A test caller: places one call over UDP or TLS, plays audio in real time, hangs up, and says exactly what it sent.

One m-line for each track. A single track is a plain trunk's call (sendrecv); several are offered sendonly with labels,
as a recorder's client offers them; over SRTP each has a key of its own. What the other side sends is not listened to.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.signalling import CallFailed, Signalling
from media.codecs import BY_NAME, Codec
from media.errors import MediaError
from media.resample import upsampled
from media.rtcp import Goodbye, Report, SenderReport, SourceDescription
from media.rtcp import to_bytes as rtcp_bytes
from media.rtp import Packet
from media.sdp import (
    PLAIN_RTP,
    SECURE_RTP,
    SUITES,
    Crypto,
    Direction,
    MasterKey,
    Media,
    OfferedMedia,
    SessionDescription,
    answering,
    crypto_of,
    offer,
    parse,
    shares_port,
    taken_up,
)
from media.srtp import Protection

__all__ = ["CallFailed", "CallResult", "Track", "place_call"]

PORT_TRIES = 100
"""Ports drawn until an even one with a free neighbour is found; a loaded machine needs two or three."""

REPORT_S = 5.0
"""Between sender reports (RFC 3550 §6.2's minimum)."""

NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900, where NTP counts from, to 1970."""

RATE_HZ = 8000
"""Of the samples that callers bring."""

PTIMES_MS = (10, 20, 30, 40, 50, 60)


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """What one participant says: int16 samples at 8 kHz. A last packet that is not full is filled with silence."""

    pcm: NDArray[np.int16]
    label: str | None = None
    """SDP label; of several tracks those without one are numbered from 1."""


@dataclass(frozen=True, slots=True)
class CallResult:
    """What happened, and what was sent."""

    call_id: str
    """The SIP Call-ID."""
    setup_ms: float
    """INVITE sent to 200 received."""
    payloads: tuple[bytes, ...]
    """For each track the coded audio of all packets that were sent, in order."""
    packets: int
    """RTP packets sent, all tracks."""
    answered_at: float
    """`time.monotonic()` when the 200 came."""
    hung_up_at: float
    """`time.monotonic()` when our BYE was sent, or the peer's came."""
    hung_up_by: str
    """`us`, `peer` or `lost`."""


async def place_call(
    target: tuple[str, int],
    tracks: Sequence[Track],
    *,
    codec: str = "PCMA",
    ptime_ms: int = 20,
    local_address: str = "",
    from_user: str = "caller",
    to_user: str = "service",
    offerless: bool = False,
    secure: ssl.SSLContext | None = None,
    srtp: str = "",
    mux: bool = False,
) -> CallResult:
    """Calls `target` (address and port) and plays all tracks to their ends, in step.

    `offerless` leaves the offer to the other side and answers it in the ACK; that takes a single track. `secure` makes
    it a call over TLS, `srtp` names the suite that its media is encrypted with; with `mux` it offers one port for audio
    and reports. All of it goes from `local_address`, by default loopback in the target's family.
    Raises `CallFailed` if the call is refused or not answered, `ValueError` for arguments that make no call.
    """
    if not tracks or ptime_ms not in PTIMES_MS or codec not in BY_NAME:
        raise ValueError(f"a call needs a track, a codec of {', '.join(BY_NAME)} and a ptime of {PTIMES_MS} ms")
    if offerless and (len(tracks) > 1 or srtp):
        raise ValueError("an offer that is left to the other side has one m-line, and no key of ours")
    if srtp and srtp not in SUITES:
        raise ValueError(f"an SRTP suite is one of {', '.join(SUITES)}")
    local_address = local_address or ("::1" if ":" in target[0] else "127.0.0.1")
    streams: list[_Stream] = []
    signalling = Signalling()
    try:
        for track in tracks:
            streams.append(_Stream(track, BY_NAME[codec], ptime_ms, local_address, srtp))  # noqa: PERF401 - closed if one fails
        await signalling.open(target, local_address, secure)
        description = offer(
            _offered(streams, mux=mux), origin_id=secrets.randbits(48), origin_version=1, address=local_address
        )
        began = time.monotonic()
        answered = await signalling.call(description.to_bytes(), from_user, to_user, offerless=offerless)
        answered_at = signalling.answered_at
        try:
            _connect(streams, parse(answered.body), description)
            await _play(streams, ptime_ms / 1000, signalling)
        finally:
            await signalling.hang_up()
    except MediaError as error:
        raise CallFailed(f"the answer cannot be used: {error}") from error
    finally:
        signalling.close()
        for stream in streams:
            stream.close()
    payloads = tuple(stream.sent for stream in streams)
    packets = sum(stream.packets for stream in streams)
    setup_ms = (answered_at - began) * 1000
    return CallResult(
        answered.call_id, setup_ms, payloads, packets, answered_at, signalling.over_at, signalling.over_by
    )


class _Stream:
    """One track on its way out: RTP on an even port, reports on the next."""

    def __init__(self, track: Track, codec: Codec, ptime_ms: int, address: str, suite: str) -> None:
        pcm = upsampled(np.asarray(track.pcm, dtype=np.int16), codec.sample_hz // RATE_HZ)
        self.label = track.label
        self.codec = codec
        self.ptime_ms = ptime_ms
        self._payloads = codec.packets(pcm, ptime_ms)
        self.octets = 0
        self.packets = 0
        self._ssrc = secrets.randbits(32)
        self._sequence = secrets.randbits(16)
        self._timestamp = secrets.randbits(32)
        self._rtp, self._rtcp = _port_pair(address)
        self._remote: tuple[str, int] | None = None
        self._muxed = False
        self.keys = (Crypto(1, suite, MasterKey(secrets.token_bytes(SUITES[suite]))),) if suite else ()
        self._protection: Protection | None = None

    @property
    def port(self) -> int:
        """The RTP port."""
        port: int = self._rtp.getsockname()[1]
        return port

    @property
    def sent(self) -> bytes:
        """The coded audio that was sent."""
        return b"".join(self._payloads[: self.packets])

    def connect(self, remote: tuple[str, int] | None, *, muxed: bool) -> None:
        """Where to send, reports too if they are `muxed`; None for a refused m-line, whose track is not sent."""
        self._remote, self._muxed = remote, muxed

    def protect(self, answered: Media) -> None:
        """Agree on keys, if we have offered one."""
        for ours in self.keys:
            theirs = crypto_of(answered)
            if theirs is None:
                raise CallFailed("the answer takes up no key of ours")
            keys = {"ours": ours.key.reveal().hex(), "theirs": theirs.key.reveal().hex()}
            self._protection = Protection({"suite": ours.suite, **keys})

    def send_next(self) -> bool:
        """The next packet; False when there is none."""
        if self._remote is None or self.packets >= len(self._payloads):
            return False
        payload = self._payloads[self.packets]
        number = self.codec.offered_as
        sequence = (self._sequence + self.packets) & 0xFFFF
        packet = Packet(number, sequence, self._now(), self._ssrc, payload, marker=self.packets == 0)
        data = packet.to_bytes()
        self._rtp.sendto(data if self._protection is None else self._protection.protect(data), self._remote)
        self.octets += len(payload)
        self.packets += 1
        return True

    def report(self, cname: str, *, goodbye: bool = False) -> None:
        """A sender report with the CNAME, and at the end a BYE."""
        if self._remote is None:
            return
        wall_ns = time.time_ns()
        ntp = ((wall_ns // 10**9 + NTP_EPOCH_S) << 32) | (((wall_ns % 10**9) << 32) // 10**9)
        reports: tuple[Report, ...] = (
            SenderReport(self._ssrc, ntp, self._now(), self.packets, self.octets),
            SourceDescription(((self._ssrc, cname),)),
        )
        if goodbye:
            reports += (Goodbye((self._ssrc,)),)
        data = rtcp_bytes(reports)
        protected = data if self._protection is None else self._protection.protect_reports(data)
        if self._muxed:
            self._rtp.sendto(protected, self._remote)
        else:
            self._rtcp.sendto(protected, (self._remote[0], self._remote[1] + 1))

    def close(self) -> None:
        self._rtp.close()
        self._rtcp.close()

    def _now(self) -> int:
        return (self._timestamp + self.packets * self.ptime_ms * self.codec.clock_hz // 1000) & 0xFFFFFFFF


def _port_pair(address: str) -> tuple[socket.socket, socket.socket]:
    """Sockets on an even port and the next."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(PORT_TRIES):
        first = socket.socket(family, socket.SOCK_DGRAM)
        second = socket.socket(family, socket.SOCK_DGRAM)
        try:
            first.bind((address, 0))
            port = first.getsockname()[1]
            if port % 2 == 0:
                second.bind((address, port + 1))
                first.setblocking(False)
                second.setblocking(False)
                return first, second
        except OSError:
            pass  # the neighbour is taken
        first.close()
        second.close()
    raise CallFailed("no pair of free ports")


def _offered(streams: Sequence[_Stream], *, mux: bool) -> list[OfferedMedia]:
    several = len(streams) > 1
    direction = Direction.SENDONLY if several else Direction.SENDRECV
    return [
        OfferedMedia(
            stream.port,
            (stream.codec,),
            direction,
            stream.label or (str(number) if several else None),
            stream.ptime_ms,
            SECURE_RTP if stream.keys else PLAIN_RTP,
            stream.keys,
            mux,
        )
        for number, stream in enumerate(streams, 1)
    ]


def _connect(streams: Sequence[_Stream], answer: SessionDescription, ours: SessionDescription) -> None:
    if len(answer.media) != len(streams):
        raise CallFailed("the answer has another number of m-lines")
    answer = answering(taken_up(answer, ours), [stream.keys for stream in streams])
    for stream, media in zip(streams, answer.media, strict=True):
        address = answer.address(media)
        if media.port:
            stream.protect(media)
        stream.connect((address, media.port) if address and media.port else None, muxed=shares_port(media))


async def _play(streams: Sequence[_Stream], interval_s: float, signalling: Signalling) -> None:
    """Sends every track on one schedule, from now on; late packets are caught up. Ends early if the call does."""
    cname = secrets.token_hex(8)
    began = time.monotonic()
    next_report = began
    tick = 0
    while not signalling.over.is_set():
        sent = [stream.send_next() for stream in streams]
        if not any(sent):
            break
        if time.monotonic() >= next_report:
            next_report += REPORT_S
            for stream in streams:
                stream.report(cname)
        tick += 1
        await asyncio.sleep(max(0.0, began + tick * interval_s - time.monotonic()))
    for stream in streams:
        stream.report(cname, goodbye=True)
