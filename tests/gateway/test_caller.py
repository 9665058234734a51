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
        self._agent = UserAgent(Settings(*self.address), Random(1).randbytes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._transport.close()
        for each in self.rtp + self.rtcp:
            each.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._agent.receive(data, addr, self.address, self._loop.time())
        for event in self._agent.take_events():
            if isinstance(event, Invited):
                self._invited(event)
            elif isinstance(event, Ended):
                self.ends.append(event.why)
        self._flush()

    def _flush(self) -> None:
        for data, destination, _ in self._agent.take_datagrams():
            self._transport.sendto(data, destination)

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


async def test_call(ptime_ms: int = 20) -> None:
    """Not collected: see the tests below."""
