"""The native generator against real sockets: what it says it sent is what arrives, from where it should."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import select
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import native
from media.rtcp import SenderReport, SourceDescription, parse
from media.rtp import Packet
from media.sdp import SUITES
from media.srtp import AUTHENTIC, Protection

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

SPEECH = native.frames_of(bytes(number % 251 for number in range(160 * 7)))
PACKETS = 260  # one more sender report than none: it goes with the 250th packet
START_NS = 100_000_000
PORT = 12_000 + os.getpid() % 10_000 * 4  # on an address that nobody else uses, and not that of another run
ROLLING = next(n for n in range(1 << 20) if (n * 40_503 & 0xFFFFFFFF) >> 16 > 65_536 - 200)  # by first_sequence()
needs_openssl = pytest.mark.skipif(
    not Path("/usr/include/openssl/evp.h").exists(), reason="NO OPENSSL HEADERS: apt-get install libssl-dev"
)


@pytest.fixture
def receivers() -> Iterator[list[socket.socket]]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for receiver in sockets:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.setblocking(False)
    yield sockets
    for receiver in sockets:
        receiver.close()


def received(receiver: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
    found = []
    while select.select([receiver], [], [], 0)[0]:
        found.append(receiver.recvfrom(2048))
    return found


def leg(receivers: list[socket.socket], which: int, packets: int) -> native.Leg:
    return native.Leg(
        source=("127.0.0.3", PORT + 2 * which),
        destination=receivers[which].getsockname(),
        control_port=receivers[2].getsockname()[1],
        ssrc=77 + which,
        payload_type=8,
        first_ns=time.monotonic_ns() - packets * native.PACKET_NS + START_NS,  # mostly due already: no need to wait
        packets=packets,
        frame=which,
    )


def test_every_packet_arrives_in_order_from_the_legs_own_port(receivers: list[socket.socket]) -> None:
    with native.generator(SPEECH) as generator:
        sent = generator.start([leg(receivers, 0, PACKETS), leg(receivers, 1, 40)]).wait(time.monotonic_ns())
    assert (sent.scheduled, sent.sent, sent.sent_by_leg) == (PACKETS + 40, PACKETS + 40, (PACKETS, 40))
    for which, count in ((0, PACKETS), (1, 40)):
        arrived = received(receivers[which])
        assert {source for _, source in arrived} == {("127.0.0.3", PORT + 2 * which)}
        packets = [Packet.parse(data) for data, _ in arrived]
        assert len(packets) == count
        assert [packet.marker for packet in packets] == [True] + [False] * (count - 1)
        first = packets[0]
        for number, packet in enumerate(packets):
            at = (which + number) % 7
            assert (packet.payload_type, packet.ssrc) == (8, 77 + which)
            assert packet.sequence == (first.sequence + number) % 2**16
            assert packet.timestamp == (first.timestamp + 160 * number) % 2**32
            assert packet.payload == SPEECH[at]


def test_sender_reports_come_from_the_port_above(receivers: list[socket.socket]) -> None:
    with native.generator(SPEECH) as generator:
        sent = generator.start([leg(receivers, 0, PACKETS)]).wait(time.monotonic_ns())
    ((data, source),) = received(receivers[2])
    report, description = parse(data)
    assert sent.reports == 1
    assert source == ("127.0.0.3", PORT + 1)
    assert isinstance(report, SenderReport)
    assert (report.ssrc, report.octets) == (77, 160 * report.packets)
    assert isinstance(description, SourceDescription)
    assert description.cnames == ((77, "0000004d@generator"),)


@needs_openssl
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("extension", [b"", b"\xbe\xde\0\1\x10\x2a\0\0"])
def test_what_is_encrypted_is_opened_by_another_library(
    receivers: list[socket.socket], suite: str, extension: bytes
) -> None:
    key = os.urandom(SUITES[suite])
    frames = [extension + frame[: 100 + number] for number, frame in enumerate(SPEECH)]
    keys = Protection({"suite": suite, "ours": os.urandom(SUITES[suite]).hex(), "theirs": key.hex()})
    with native.generator(frames, encrypting=True) as generator:
        plain = leg(receivers, 0, PACKETS)  # not before it is compiled: its packets are due at once
        encrypted = dataclasses.replace(plain, suite=suite, key=key, ssrc=ROLLING, extension=len(extension))
        sent = generator.start([encrypted]).wait(time.monotonic_ns())
    arrived = [data for data, _ in received(receivers[0])]
    assert sent.sent == len(arrived) == PACKETS
    packets = [Packet.parse(opened(keys, data)) for data in arrived]
    for number, packet in enumerate(packets):
        assert packet.payload == frames[number % 7][len(extension) :]
        assert packet.extension == ((0xBEDE, extension[4:]) if extension else None)
    assert packets[-1].sequence < packets[0].sequence, "the counter went round"
    ((data, _),) = received(receivers[2])
    (report, _) = parse(keys.open_reports(data) or b"")
    assert isinstance(report, SenderReport)
    assert report.octets == sum(len(frames[number % 7]) - len(extension) for number in range(report.packets))


def test_an_inherited_socket_is_the_source_of_packets_and_reports(receivers: list[socket.socket]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, native.generator(SPEECH) as generator:
        sender.bind(("127.0.0.1", 0))
        to = receivers[0].getsockname()
        inherited = dataclasses.replace(leg(receivers, 0, PACKETS), inherited=sender.fileno(), control_port=to[1])
        generator.start([inherited]).wait(time.monotonic_ns())
        arrived = received(receivers[0])
        assert {source for _, source in arrived} == {sender.getsockname()}
    assert sum(data[1] & 0x7F == 8 for data, _ in arrived) == PACKETS
    assert sum(data[1] == 200 for data, _ in arrived) == 1


def opened(keys: Protection, data: bytes) -> bytes:
    slot = ctypes.create_string_buffer(data, 2048)
    length = ctypes.c_int(len(data))
    ssrc = int.from_bytes(data[8:12], "big")
    verdict = keys.open(ctypes.c_void_p(ctypes.addressof(slot)), ctypes.c_void_p(ctypes.addressof(length)), ssrc)
    assert verdict == AUTHENTIC
    return slot.raw[: length.value]


def test_packets_sent_behind_their_schedule_are_counted_and_void_the_run(receivers: list[socket.socket]) -> None:
    with native.generator(SPEECH) as generator:
        sent = generator.start([leg(receivers, 0, PACKETS)]).wait(time.monotonic_ns())
    assert sent.sent == PACKETS
    assert sent.on_time < PACKETS
    assert sent.void


def test_an_unusable_plan_is_refused(receivers: list[socket.socket]) -> None:
    wrong = dataclasses.replace(leg(receivers, 0, 1), payload_type=200)
    with native.generator(SPEECH) as generator, pytest.raises(native.GeneratorFailed, match="plan"):
        generator.start([wrong]).wait(time.monotonic_ns())


def test_a_generator_that_is_stopped_reports_what_it_did(receivers: list[socket.socket]) -> None:
    endless = dataclasses.replace(leg(receivers, 0, 1), packets=100_000)
    with native.generator(SPEECH) as generator:
        running = generator.start([endless])
        assert select.select([receivers[0]], [], [], 5)[0]
        running.stop()
        sent = running.wait(time.monotonic_ns())
    assert sent.scheduled == 100_000
    assert 0 < sent.sent < 100_000
