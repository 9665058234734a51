"""A test caller: places one call over SIP and UDP, plays audio in real time, hangs up, and says exactly what it sent.

One m-line for each track. A single track is a plain trunk's call (sendrecv); several are offered sendonly with labels,
as a recorder's client offers them. What the other side sends is not listened to.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gateway.errors import GatewayError
from gateway.sip.events import Settings
from gateway.sip.flow import Flow
from gateway.sip.outcomes import Answered, CallerEvent, Failed, HungUp
from gateway.sip.uac import Caller
from media.codecs import BY_NAME, Codec
from media.errors import MediaError
from media.resample import upsampled
from media.rtcp import Goodbye, Report, SenderReport, SourceDescription
from media.rtcp import to_bytes as rtcp_bytes
from media.rtp import Packet
from media.sdp import Direction, OfferedMedia, SessionDescription, offer, parse

PORT_TRIES = 100
"""Ports drawn until an even one with a free neighbour is found; a loaded machine needs two or three."""

END_S_MAX = 40.0
"""For our BYE: longer than its transaction may take (64*T1)."""

CANCEL_S_MAX = 2.0
"""For the answer to our CANCEL, when the caller of this code has lost its patience."""

REPORT_S = 5.0
"""Between sender reports (RFC 3550 §6.2's minimum)."""

NTP_EPOCH_S = 2_208_988_800
"""Seconds from 1900, where NTP counts from, to 1970."""

RATE_HZ = 8000
"""Of the samples that callers bring."""

PTIMES_MS = (10, 20, 30, 40, 50, 60)


class CallFailed(GatewayError):
    """The call was not established, or its answer cannot be used; `status` is the peer's, or 0."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(f"call failed: {status} {reason}" if status else f"call failed: {reason}")
        self.status = status


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
    local_address: str = "127.0.0.1",
    from_user: str = "caller",
    to_user: str = "service",
    offerless: bool = False,
) -> CallResult:
    """Calls `target` (address and port) and plays all tracks to their ends, in step.

    `offerless` leaves the offer to the other side and answers it in the ACK; that takes a single track.
    Raises `CallFailed` if the call is refused or not answered, `ValueError` for arguments that make no call.
    """
    if not tracks or ptime_ms not in PTIMES_MS or codec not in BY_NAME:
        raise ValueError(f"a call needs a track, a codec of {', '.join(BY_NAME)} and a ptime of {PTIMES_MS} ms")
    if offerless and len(tracks) > 1:
        raise ValueError("an offer that is left to the other side has one m-line")
    streams: list[_Stream] = []
    signalling: _Signalling | None = None
    try:
        for track in tracks:
            streams.append(_Stream(track, BY_NAME[codec], ptime_ms, local_address))  # noqa: PERF401 - closed if one fails
        loop = asyncio.get_running_loop()
        _, signalling = await loop.create_datagram_endpoint(_Signalling, local_addr=(local_address, 0))
        description = offer(_offered(streams), origin_id=secrets.randbits(48), origin_version=1, address=local_address)
        began = time.monotonic()
        answered = await signalling.call(target, description.to_bytes(), from_user, to_user, offerless=offerless)
        answered_at = signalling.answered_at
        try:
            _connect(streams, parse(answered.body))
            await _play(streams, ptime_ms / 1000, signalling)
        finally:
            await signalling.hang_up()
    except MediaError as error:
        raise CallFailed(f"the answer cannot be used: {error}") from error
    finally:
        if signalling is not None:
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

    def __init__(self, track: Track, codec: Codec, ptime_ms: int, address: str) -> None:
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

    @property
    def port(self) -> int:
        """The RTP port."""
        port: int = self._rtp.getsockname()[1]
        return port

    @property
    def sent(self) -> bytes:
        """The coded audio that was sent."""
        return b"".join(self._payloads[: self.packets])

    def connect(self, remote: tuple[str, int] | None) -> None:
        """Where to send; None for a refused m-line, whose track is not sent."""
        self._remote = remote

    def send_next(self) -> bool:
        """The next packet; False when there is none."""
        if self._remote is None or self.packets >= len(self._payloads):
            return False
        payload = self._payloads[self.packets]
        number = self.codec.offered_as
        sequence = (self._sequence + self.packets) & 0xFFFF
        packet = Packet(number, sequence, self._now(), self._ssrc, payload, marker=self.packets == 0)
        self._rtp.sendto(packet.to_bytes(), self._remote)
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
        self._rtcp.sendto(rtcp_bytes(reports), (self._remote[0], self._remote[1] + 1))

    def close(self) -> None:
        self._rtp.close()
        self._rtcp.close()

    def _now(self) -> int:
        return (self._timestamp + self.packets * self.ptime_ms * self.codec.clock_hz // 1000) & 0xFFFFFFFF


class _Signalling(asyncio.DatagramProtocol):
    """The socket and the clock around a `Caller` with one call."""

    def __init__(self) -> None:
        self.answered_at = 0.0
        self.over_at = 0.0
        self.over_by = "us"
        self.over = asyncio.Event()
        self._caller: Caller | None = None
        self._call = 0
        self._answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._local = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # Python 3.11's own is no subclass of it
        self._local = transport.get_extra_info("sockname")[:2]
        self._caller = Caller(Settings(server_name="callvault-caller"), secrets.token_bytes)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._caller is not None:
            self._caller.receive(data, Flow("udp", self._local, addr), time.monotonic())
            self._pump(self._caller)

    async def call(
        self, target: tuple[str, int], body: bytes, from_user: str, to_user: str, *, offerless: bool
    ) -> Answered:
        """INVITE until it is answered. The transaction limits the wait; given up from outside, it is cancelled."""
        assert self._caller is not None
        self._call = self._caller.invite(
            f"sip:{to_user}@{target[0]}:{target[1]}",
            Flow("udp", self._local, target),
            b"" if offerless else body,
            time.monotonic(),
            caller=f"sip:{from_user}@{self._local[0]}:{self._local[1]}",
            answer=body,
        )
        self._pump(self._caller)
        try:
            return await self._answer
        except asyncio.CancelledError:
            await self.hang_up(CANCEL_S_MAX)
            raise

    async def hang_up(self, wait_s: float = END_S_MAX) -> None:
        """BYE or CANCEL, if the call is not over yet; returns when that is answered, or after `wait_s`."""
        assert self._caller is not None
        if self._caller.hang_up(self._call, time.monotonic()):
            self.over_at = time.monotonic()
            self._pump(self._caller)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.over.wait()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._caller = None
        self._transport.close()

    def _on_timer(self) -> None:
        self._timer = None
        if self._caller is not None:
            self._caller.timers(time.monotonic())
            self._pump(self._caller)

    def _pump(self, caller: Caller) -> None:
        for event in caller.take_events():
            self._on_event(event)
        for data, flow in caller.take_outgoing():
            self._transport.sendto(data, flow.remote)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = caller.next_deadline()
        if deadline is not None:
            delay_s = max(0.0, deadline - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _on_event(self, event: CallerEvent) -> None:
        match event:
            case Answered():
                self.answered_at = time.monotonic()
                if not self._answer.done():
                    self._answer.set_result(event)
            case Failed():
                self.over.set()
                if not self._answer.done():
                    self._answer.set_exception(CallFailed(event.reason, event.status))
            case HungUp():
                self.over_at = self.over_at or time.monotonic()
                self.over_by = event.by
                self.over.set()
            case _:
                pass


def _port_pair(address: str) -> tuple[socket.socket, socket.socket]:
    """Sockets on an even port and the next."""
    for _ in range(PORT_TRIES):
        first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        second = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
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


def _offered(streams: Sequence[_Stream]) -> list[OfferedMedia]:
    several = len(streams) > 1
    direction = Direction.SENDONLY if several else Direction.SENDRECV
    return [
        OfferedMedia(
            stream.port,
            (stream.codec,),
            direction,
            stream.label or (str(number) if several else None),
            stream.ptime_ms,
        )
        for number, stream in enumerate(streams, 1)
    ]


def _connect(streams: Sequence[_Stream], answer: SessionDescription) -> None:
    if len(answer.media) != len(streams):
        raise CallFailed("the answer has another number of m-lines")
    for stream, media in zip(streams, answer.media, strict=True):
        address = answer.address(media)
        stream.connect((address, media.port) if address and media.port else None)


async def _play(streams: Sequence[_Stream], interval_s: float, signalling: _Signalling) -> None:
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
