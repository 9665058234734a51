"""A worker takes who shows the certificate that the offer promised, hands on what SRTP vouches for, and tells the end.

The peers are real ones over loopback, the worker runs in the test's own loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from benchmarks.browsers import LEVEL_ID, Browser
from media.ports import SO_TIMESTAMPNS, PortPair, tap
from media.rtcp import ReceiverReport, parse, to_bytes
from media.rtp import Packet
from media.sdp import parse as parse_sdp
from media.tap import LEVEL_UNKNOWN
from media.webrtc.answer import Ours, write_answer
from media.webrtc.messages import (
    MESSAGE_BYTES_MAX,
    Accept,
    Accepted,
    Connected,
    HangUp,
    Message,
    Over,
    Ready,
    decode,
    encode,
)
from media.webrtc.offer import read_offer
from media.webrtc.worker import Worker

LIMIT_S = 20.0
TRAILER_BYTES = 9


@dataclass
class Gateway:
    """The gateway's end."""

    control: socket.socket
    taps: list[tuple[PortPair, tuple[socket.socket, socket.socket]]]

    def send(self, message: Message, *sockets: socket.socket) -> None:
        socket.send_fds(self.control, [encode(message)], [sock.fileno() for sock in sockets])

    async def hear(self) -> Message:
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.control, MESSAGE_BYTES_MAX), LIMIT_S)
        return decode(data)

    async def hear_until(self, kind: type[Message]) -> Message:
        while not isinstance(found := await self.hear(), kind):
            pass
        return found

    async def accept(self, browser: Browser, session: int = 1, *, fingerprint: str = "") -> bytes:
        """Have the worker take a browser; the answer for it."""
        offer = read_offer(parse_sdp(browser.offer({0: "PCMU/8000"}, fingerprint=fingerprint)))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        udp.bind(("127.0.0.1", 0))
        pair, ends = tap()
        self.taps.append((pair, ends))
        with udp:
            self.send(Accept(session, offer.ufrag, offer.password, offer.fingerprints, offer.level_id), udp, *ends)
            accepted = await self.hear_until(Accepted)
            assert isinstance(accepted, Accepted)
            ours = Ours("127.0.0.1", udp.getsockname()[1], accepted.ufrag, accepted.password, accepted.fingerprint)
        return write_answer(offer, ours, origin_id=1)


@asynccontextmanager
async def worker() -> AsyncIterator[Gateway]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    gateway = Gateway(ours, [])
    with ours, theirs:
        running = asyncio.create_task(Worker(theirs).run())
        assert await gateway.hear() == Ready()
        yield gateway
        ours.close()
        await asyncio.wait_for(running, LIMIT_S)
    for pair, ends in gateway.taps:
        pair.close()
        for end in ends:
            end.close()


def run(test: Callable[[Gateway], Awaitable[None]]) -> None:
    async def within() -> None:
        async with worker() as gateway:
            await test(gateway)

    asyncio.run(within())


async def received(sock: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 2048), LIMIT_S)


def packet(number: int, payload: bytes = b"payload", level: int | None = None) -> bytes:
    extension = None if level is None else (0xBEDE, bytes([LEVEL_ID << 4, level, 0, 0]))
    return Packet(0, number, 160 * number, 0xCAFE, payload, extension=extension).to_bytes()


def test_what_a_peer_sends_comes_over_the_tap_and_its_reports_over_the_other() -> None:
    async def test(gateway: Gateway) -> None:
        browser = Browser()
        assert await browser.connect(await gateway.accept(browser)) == "connected"
        assert await gateway.hear_until(Connected) == Connected(1)
        rtp, rtcp = gateway.taps[0][0].rtp_socket, gateway.taps[0][0].rtcp_socket
        for number, level in ((1, 42), (2, None)):
            browser.send(packet(number, level=level))
            data = await received(rtp)
            assert data[:-TRAILER_BYTES] == packet(number)
            assert data[-1] == (LEVEL_UNKNOWN if level is None else level)
        report = to_bytes((ReceiverReport(0xCAFE),))
        browser.send_report(report)
        assert await received(rtcp) == report
        ours = to_bytes((ReceiverReport(0xBEEF),))
        rtcp.send(ours)
        async with asyncio.timeout(LIMIT_S):
            while not browser.reports:
                await asyncio.sleep(0.01)
        assert parse(browser.reports[0]) == (ReceiverReport(0xBEEF),)
        await browser.close()

    run(test)


def test_what_srtp_does_not_vouch_for_is_not_handed_on() -> None:
    async def test(gateway: Gateway) -> None:
        browser, stranger = Browser(), Browser()
        await browser.connect(await gateway.accept(browser))
        await stranger.connect(await gateway.accept(stranger, 2))
        browser.send_raw(packet(1))  # in clear
        stranger._path = browser._path
        stranger.send(packet(2))  # under another session's key
        for data in (b"\x80", b"\x80\xc8", b"", b"\x00\x01", b"\x16\xfe\xfd", b"\xff" * 40):
            browser.send_raw(data)
        browser.send(packet(3))
        data = await received(gateway.taps[0][0].rtp_socket)
        assert Packet.parse(data[:-TRAILER_BYTES]).sequence == 3
        await browser.close()
        await stranger.close()

    run(test)


def test_who_shows_another_certificate_than_the_offers_is_not_taken() -> None:
    async def test(gateway: Gateway) -> None:
        browser, promised = Browser(), Browser()
        promised.vanish()
        other = next(f for f in promised.certificate.getFingerprints() if f.algorithm == "sha-256")
        await browser.connect(await gateway.accept(browser, fingerprint=other.value))
        browser.send(packet(1))
        assert await gateway.hear_until(Over) == Over(1, "DTLS failed")
        with pytest.raises(BlockingIOError):
            gateway.taps[0][0].rtp_socket.recv(2048)
        browser.vanish()

    run(test)


def test_a_session_ends_when_its_peer_closes_or_when_it_is_told_to() -> None:
    async def test(gateway: Gateway) -> None:
        leaving, staying = Browser(), Browser()
        await leaving.connect(await gateway.accept(leaving, 1))
        await staying.connect(await gateway.accept(staying, 2))
        await leaving.close()
        assert await gateway.hear_until(Over) == Over(1, "the peer has gone")
        assert staying.state == "connected"
        gateway.send(HangUp(2))
        assert await gateway.hear_until(Over) == Over(2, "hung up")
        async with asyncio.timeout(LIMIT_S):
            while staying.state != "closed":
                await asyncio.sleep(0.01)
        staying.vanish()

    run(test)


def test_a_session_can_be_hung_up_before_its_peer_came() -> None:
    async def test(gateway: Gateway) -> None:
        browser = Browser()
        await gateway.accept(browser, 1)
        browser.vanish()
        gateway.send(HangUp(1))
        assert await gateway.hear_until(Over) == Over(1, "hung up")

    run(test)


def test_what_is_no_command_is_refused_and_its_descriptors_are_closed() -> None:
    async def test(gateway: Gateway) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            socket.send_fds(gateway.control, [b"{}"], [udp.fileno()])
            gateway.send(Accept(7, "ufrag", "p" * 22, (("sha-256", "AB"),)), udp)  # without its taps
        browser = Browser()
        await gateway.accept(browser, 8)
        browser.vanish()
        gateway.send(HangUp(8))
        assert await gateway.hear_until(Over) == Over(8, "hung up")

    run(test)
