"""A tap hands plain RTP on within the host: the network's stamp and the sender's level come, extensions do not."""

from __future__ import annotations

import struct
import time
from dataclasses import replace

import numpy as np
import pytest

from media.codecs import PCMA
from media.endpoints import UNNAMED
from media.errors import Malformed, Unavailable
from media.ports import PortPool, tap
from media.receive import SLOT_BYTES, Arena, Sources
from media.rtcp import ReceiverReport, SenderReport, parse, to_bytes
from media.rtp import Packet
from media.tap import LEVEL_UNKNOWN, tapped, untap, voiced

from .bench import Bench, Sender, first_sample, noise

STAMP_NS = 1_795_727_000_123_456_789
LEVEL_ID = 3


def extended(data: bytes, profile: int = 0xBEDE, csrc: tuple[int, ...] = ()) -> bytes:
    return Packet(111, 7, 960, 0xCAFE, b"payload", True, csrc, (profile, data)).to_bytes()


def through(packet: bytes, level_id: int = LEVEL_ID) -> tuple[bytes, int, int]:
    """What the engine's end sees: the datagram, its stamp and its level."""
    near, (far, far_rtcp) = tap()
    with near.rtp_socket, near.rtcp_socket, far, far_rtcp:
        far.send(tapped(packet, STAMP_NS, level_id))
        arena = Arena(4)
        batch = arena.receive(Sources({2: near.rtp_socket.fileno()}))
        assert batch.sources.tolist() == [UNNAMED]
        taps = np.array([False, False, True])
        batch, levels = untap(batch, arena.octets, taps)
        return arena.octets[: int(batch.lengths[0])].tobytes(), int(batch.stamps_ns[0]), int(levels[0])


@pytest.mark.parametrize(
    ("elements", "level"),
    [
        (bytes([LEVEL_ID << 4, 0x80 | 42, 0, 0]), 42),
        (bytes([LEVEL_ID << 4, 127, 0, 0]), 127),
        (bytes([0x12, 1, 2, 3, 0, LEVEL_ID << 4, 9, 0]), 9),  # after another element, and padding
        (bytes([0x50, 1, 0, 0]), LEVEL_UNKNOWN),
        (bytes([0xF0, LEVEL_ID << 4, 9, 0]), LEVEL_UNKNOWN),  # 15 ends the elements (RFC 8285 §4.2)
        (bytes([0x1F, 0, 0, 0]), LEVEL_UNKNOWN),  # an element longer than the extension
        (bytes([0, 0, 0, LEVEL_ID << 4]), LEVEL_UNKNOWN),  # and one without its data
    ],
)
def test_the_level_comes_along_and_the_extension_does_not(elements: bytes, level: int) -> None:
    plain = Packet(111, 7, 960, 0xCAFE, b"payload", True, (1, 2)).to_bytes()
    assert through(extended(elements, csrc=(1, 2))) == (plain, STAMP_NS, level)


def test_a_packet_without_extension_comes_as_it_is_and_its_level_is_unknown() -> None:
    plain = Packet(111, 7, 960, 0xCAFE, b"payload").to_bytes()
    assert through(plain) == (plain, STAMP_NS, LEVEL_UNKNOWN)


@pytest.mark.parametrize(("profile", "level_id"), [(0x1000, LEVEL_ID), (0xBEDE, 0)])
def test_a_level_that_was_not_agreed_on_is_unknown(profile: int, level_id: int) -> None:
    assert through(extended(bytes([LEVEL_ID << 4, 9, 0, 0]), profile), level_id)[2] == LEVEL_UNKNOWN


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x80" * 11,
        extended(b"")[:14],
        b"\x90" + bytes(11) + struct.pack("!HH", 0xBEDE, 2) + bytes(4),
        b"\x9f" + bytes(11) + bytes(20),
    ],
)
def test_what_is_cut_short_is_malformed(packet: bytes) -> None:
    with pytest.raises(Malformed):
        tapped(packet, STAMP_NS, LEVEL_ID)


def test_other_sockets_datagrams_are_left_alone() -> None:
    near, (far, far_rtcp) = tap()
    with near.rtp_socket, near.rtcp_socket, far, far_rtcp:
        far.send(b"nothing of a tap's, and long enough")
        arena = Arena(4)
        batch = arena.receive(Sources({1: near.rtp_socket.fileno()}))
        same, levels = untap(batch, arena.octets, np.array([True, False]))
        assert same is batch
        assert levels.tolist() == [LEVEL_UNKNOWN]
        assert arena.octets[: int(batch.lengths[0])].tobytes() == b"nothing of a tap's, and long enough"
        assert batch.lengths[0] < SLOT_BYTES


def test_a_tapped_leg_is_recorded_by_the_networks_stamps_and_its_reports_are_answered() -> None:
    bench, sender = Bench(), Sender()
    near, (far, far_rtcp) = tap()
    with far, far_rtcp:
        bench.open(1, sockets=(near.rtp_socket, near.rtcp_socket), tapped=True)
        audio = noise(800)
        for ms in range(0, 800, 20):
            packet = sender.packet(audio[ms * 8 : ms * 8 + 160])
            far.send(tapped(packet, time.time_ns() - (900 - ms) * 1_000_000, 0))
        bench.late(1000)  # all are read in one tick
        far_rtcp.send(to_bytes((SenderReport(sender.ssrc, 1 << 40, 0, 50, 8000),)))
        bench.wait(1000)
        far_rtcp.setblocking(False)
        assert any(isinstance(report, ReceiverReport) for report in parse(far_rtcp.recv(1500)))
        facts = bench.close()
    at = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[at : at + len(audio)], PCMA.decode(audio))
    assert (facts.tally.packets, facts.tally.lost, facts.tally.foreign) == (40, 0, 0)
    assert facts.tally.jitter_us < 5_000


def test_a_taps_release_frees_no_port() -> None:
    pool = PortPool("127.0.0.1", 20_000, 20_002)
    near, ends = tap()
    for end in ends:
        end.close()
    pool.release(near, 0.0)
    assert near.rtp_socket.fileno() == -1
    pool.take(0.0).close()
    with pytest.raises(Unavailable):
        pool.take(1e9)


@pytest.mark.parametrize(
    ("level", "speaks"), [(20, True), (30, True), (50, False), (127, False), (40, False), (LEVEL_UNKNOWN, False)]
)
def test_a_level_far_from_the_threshold_stands_in_for_decoding(level: int, speaks: bool) -> None:
    bench, sender = Bench(), Sender(payload_type=111)
    near, (far, far_rtcp) = tap()
    with far, far_rtcp:
        bench.open(1, sockets=(near.rtp_socket, near.rtcp_socket), tapped=True, codecs={111: "opus"})
        for _ in range(50):
            # 20 ms of SILK by its first octet, and nothing that any decoder would hear a voice in.
            plain = Packet.parse(sender.packet(b"\x08" + bytes(20), ticks=960))
            extension = None if level == LEVEL_UNKNOWN else (0xBEDE, bytes([LEVEL_ID << 4, level, 0, 0]))
            packet = replace(plain, extension=extension).to_bytes()
            far.send(tapped(packet, time.time_ns(), LEVEL_ID))
            bench.wait(20)
        facts = bench.close()
    assert facts.tally.packets == 50
    assert bool(bench.speech) is speaks


@pytest.mark.parametrize(
    ("level", "voice"),
    [(0, True), (30, True), (31, None), (49, None), (50, False), (127, False), (LEVEL_UNKNOWN, None)],
)
def test_only_levels_between_need_decoding(level: int, voice: bool | None) -> None:
    assert voiced(level) is voice
