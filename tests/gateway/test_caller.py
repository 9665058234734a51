"""The test caller: what it says it sent is what arrives, in step and in time; failures are told."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.caller import CallFailed, Track, place_call
from gateway.sip.events import Ended, Invited, Settings
from gateway.sip.flow import Flow
from gateway.sip.uas import UserAgent
from media.codecs.g711 import decode_alaw, encode_ulaw
from media.rtcp import Goodbye, SenderReport
from media.rtcp import parse as parse_rtcp
from media.rtp import Packet
from media.sdp import Direction, LocalMedia, SessionDescription, answer, parse

HOST = "127.0.0.1"


@dataclass(eq=False)
class Switch(asyncio.DatagramProtocol):
    """A server on the running loop: accepts or rejects, and keeps what comes in as media."""

    status: int = 200
    hang_up_after_s: float | None = None
    offer: SessionDescription | None = None
    ends: list[str] = field(default_factory=list)
    rtp: list[socket.socket] = field(default_factory=list)
    rtcp: list[socket.socket] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._transport, _ = await self._loop.create_datagram_endpoint(lambda: self, local_addr=(HOST, 0))
        self.address: tuple[str, int] = self._transport.get_extra_info("sockname")
        self._agent = UserAgent(Settings(), Random(1).randbytes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._transport.close()
        for each in self.rtp + self.rtcp:
            each.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._agent.receive(data, Flow("udp", self.address, addr), self._loop.time())
        for event in self._agent.take_events():
            if isinstance(event, Invited):
                self._invited(event)
            elif isinstance(event, Ended):
                self.ends.append(event.why)
        self._flush()

    def _flush(self) -> None:
        for data, flow in self._agent.take_outgoing():
            self._transport.sendto(data, flow.remote)

    def _invited(self, event: Invited) -> None:
        now = self._loop.time()
        if self.status != 200:
            self._agent.reject(event.dialog, self.status, "", now)
            return
        self.offer = parse(event.body)
        for _ in self.offer.media:
            first, second = media_pair()
            self.rtp.append(first)
            self.rtcp.append(second)
        local = [LocalMedia(each.getsockname()[1]) for each in self.rtp]
        description = answer(self.offer, local, origin_id=1, origin_version=1, address=HOST, receive_only=False)
        self._agent.accept(event.dialog, description.to_bytes(), now)
        if self.hang_up_after_s is not None:
            self._loop.call_later(self.hang_up_after_s, self._hang_up, event.dialog)

    def _hang_up(self, dialog: int) -> None:
        self._agent.bye(dialog, self._loop.time())
        self._flush()

    def heard(self, track: int) -> list[Packet]:
        """The RTP packets of a track, in the order they came."""
        return [Packet.parse(data) for data in drained(self.rtp[track])]


def media_pair() -> tuple[socket.socket, socket.socket]:
    """An even port and the next, with room for what a short call sends."""
    while True:
        first, second = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        first.bind((HOST, 0))
        port = first.getsockname()[1]
        try:
            if port % 2 == 0:
                second.bind((HOST, port + 1))
                return first, second
        except OSError:
            pass
        first.close()
        second.close()


def drained(each: socket.socket) -> list[bytes]:
    """Everything that waits in a socket."""
    each.setblocking(False)
    found = []
    try:
        while True:
            found.append(each.recv(2048))
    except BlockingIOError:
        return found


def tone(milliseconds: int, seed: int) -> NDArray[np.int16]:
    """Samples that no other track has."""
    return np.random.default_rng(seed).integers(-20000, 20000, 8 * milliseconds, dtype=np.int16)


def test_reports_share_the_audios_port_where_that_is_agreed_on() -> None:
    async def scenario() -> None:
        async with Switch() as switch:
            result = await place_call(switch.address, [Track(tone(190, 1))], mux=True)
            received = drained(switch.rtp[0])
            audio = [data for data in received if not 192 <= data[1] < 224]
            reports = [parse_rtcp(data) for data in received if 192 <= data[1] < 224]
            assert b"".join(Packet.parse(data).payload for data in audio) == result.payloads[0]
            assert isinstance(reports[0][0], SenderReport)
            assert isinstance(reports[-1][-1], Goodbye)
            assert drained(switch.rtcp[0]) == []

    asyncio.run(scenario())


def test_what_was_sent_is_what_arrives() -> None:
    async def scenario() -> None:
        pcm = tone(190, 1)
        async with Switch() as switch:
            result = await place_call(switch.address, [Track(pcm)], from_user="alice", to_user="bob")
            packets = switch.heard(0)
            assert b"".join(packet.payload for packet in packets) == result.payloads[0]
            assert len(packets) == result.packets == 10
            assert [packet.marker for packet in packets] == [True] + [False] * 9
            assert {packet.payload_type for packet in packets} == {8}
            steps = np.diff([packet.timestamp for packet in packets]) % 2**32
            assert set(steps.tolist()) == {160}
            assert set((np.diff([packet.sequence for packet in packets]) % 65536).tolist()) == {1}
            assert np.array_equal(decode_alaw(result.payloads[0])[1520:], decode_alaw(b"\xd5" * 80))
            assert switch.offer is not None
            assert switch.offer.direction(switch.offer.media[0]) is Direction.SENDRECV
            assert (switch.ends, result.hung_up_by) == (["bye"], "us")
            assert 0.19 <= result.hung_up_at - result.answered_at < 2
            assert 0 < result.setup_ms < 1000

    asyncio.run(scenario())


@pytest.mark.parametrize("ptime_ms", [10, 30, 60])
def test_tracks_go_in_step_on_an_m_line_each(ptime_ms: int) -> None:
    async def scenario() -> None:
        tracks = [Track(tone(180, 1)), Track(tone(120, 2), label="callee")]
        async with Switch() as switch:
            result = await place_call(switch.address, tracks, codec="PCMU", ptime_ms=ptime_ms)
            assert switch.offer is not None
            media = switch.offer.media
            assert [switch.offer.direction(each) for each in media] == [Direction.SENDONLY] * 2
            assert [(each.label, each.ptime_ms) for each in media] == [("1", ptime_ms), ("callee", ptime_ms)]
            for number, track in enumerate(tracks):
                packets = switch.heard(number)
                assert b"".join(packet.payload for packet in packets) == encode_ulaw(track.pcm)
                assert {len(packet.payload) for packet in packets} == {8 * ptime_ms}
            assert result.packets == 300 // ptime_ms

    asyncio.run(scenario())


def test_reports_tell_the_clock_and_the_end() -> None:
    async def scenario() -> None:
        async with Switch() as switch:
            result = await place_call(switch.address, [Track(tone(60, 1))])
            first, last = (parse_rtcp(raw) for raw in drained(switch.rtcp[0]))
            assert isinstance(first[0], SenderReport)
            assert isinstance(last[0], SenderReport)
            assert isinstance(last[-1], Goodbye)
            assert (last[0].packets, last[0].octets) == (result.packets, len(result.payloads[0]))
            assert (last[0].timestamp - switch.heard(0)[0].timestamp) % 2**32 == 480

    asyncio.run(scenario())


def test_hang_up_of_the_other_side_ends_the_playing() -> None:
    async def scenario() -> None:
        async with Switch(hang_up_after_s=0.1) as switch:
            result = await place_call(switch.address, [Track(tone(30_000, 1))])
            assert result.hung_up_by == "peer"
            assert 1 <= result.packets < 1500
            assert b"".join(packet.payload for packet in switch.heard(0)) == result.payloads[0]
            async with asyncio.timeout(5):
                while not switch.ends:  # our 200 to its BYE may still be on its way
                    await asyncio.sleep(0.01)
            assert switch.ends == ["local"]

    asyncio.run(scenario())


def test_refused_call_says_the_status() -> None:
    async def scenario() -> None:
        async with Switch(status=403) as switch:
            with pytest.raises(CallFailed, match="403 Forbidden") as caught:
                await place_call(switch.address, [Track(tone(20, 1))])
            assert caught.value.status == 403

    asyncio.run(scenario())


def test_caller_that_is_stopped_hangs_up() -> None:
    async def scenario() -> None:
        async with Switch() as switch:
            task = asyncio.create_task(place_call(switch.address, [Track(tone(30_000, 1))]))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert switch.ends == ["bye"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("tracks", "codec", "ptime_ms"),
    [([], "PCMA", 20), ([Track(tone(20, 1))], "G729", 20), ([Track(tone(20, 1))], "PCMA", 25)],
)
def test_arguments_that_make_no_call_are_refused(tracks: list[Track], codec: str, ptime_ms: int) -> None:
    with pytest.raises(ValueError, match="a call needs"):
        asyncio.run(place_call((HOST, 9), tracks, codec=codec, ptime_ms=ptime_ms))
