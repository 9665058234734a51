"""Redundant audio (RFC 2198): its blocks, and frames that are recovered from them."""

from __future__ import annotations

import numpy as np
import pytest

from media.codecs import PCMA
from media.errors import Malformed
from media.redundancy import Block, parse

from .bench import Bench, Sender, first_sample, noise

RED = 121


def redundant(blocks: list[tuple[int, int, bytes]], primary: tuple[int, bytes]) -> bytes:
    """A payload of older blocks as (type, ticks before, octets), and the primary."""
    headers = b"".join(
        (0x80000000 | number << 24 | ticks << 10 | len(octets)).to_bytes(4, "big") for number, ticks, octets in blocks
    )
    return headers + bytes([primary[0]]) + b"".join(octets for *_, octets in blocks) + primary[1]


def test_blocks_are_read_the_oldest_first() -> None:
    payload = redundant([(8, 320, b"aa"), (0, 160, b"b")], (8, b"ccc"))
    assert parse(payload) == (Block(8, 320, 2, b"aa"), Block(0, 160, 1, b"b"), Block(8, 0, 0, b"ccc"))
    assert parse(b"\x08") == (Block(8, 0, 0, b""),)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x88",
        b"\x88\x00\x00\x01",  # no primary
        redundant([(8, 160, b"abc")], (8, b""))[:-1],  # cut short
        redundant([(8, 160, b"")] * 9, (8, b"x")),  # more than anybody sends
        b"\xff" * 40,
    ],
)
def test_what_is_no_redundant_audio_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        parse(payload)


def test_lost_frames_come_back_from_the_packets_after_them_and_others_are_kept_once() -> None:
    bench, sender = Bench(), Sender(payload_type=RED)
    bench.open(1, sender, red_pt=RED)
    audio = noise(2000)
    frames = [audio[at : at + 160] for at in range(0, len(audio), 160)]
    for index, frame in enumerate(frames):
        older = [(8, 160 * back, frames[index - back]) for back in (2, 1) if index >= back]
        data = sender.packet(redundant(older, (8, frame)), ticks=160)
        if index % 10 not in {4, 5}:
            bench.send(sender, data)
        bench.wait()
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], PCMA.decode(audio))
    assert (facts.tally.packets, facts.tally.lost, facts.tally.duplicate) == (100, 0, 0)
    assert len(facts.map) == 1


def test_what_is_not_repeated_is_lost_and_malformed_ones_are_counted() -> None:
    bench, sender = Bench(), Sender(payload_type=RED)
    bench.open(1, sender, red_pt=RED)
    for index in range(50):
        data = sender.packet(b"\xff" * 9 if index == 30 else redundant([], (8, noise(20, index))), ticks=160)
        if index != 20:
            bench.send(sender, data)
        bench.wait()
    tally = bench.close().tally
    assert (tally.packets, tally.lost, tally.discarded) == (48, 2, 1)
