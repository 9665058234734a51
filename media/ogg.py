"""Ogg Opus (RFC 3533, RFC 7845): a track's Opus packets as they were received, in a file that players know.

Pages are made as packets come, so that a track of any length is never held as a whole. The granule position counts
48 kHz samples of the call's clock: what was not received between two packets is simply not there, and players keep the
time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CHANNELS = 2  # RFC 7587 §4.1: a stream is decoded in stereo, whatever its packets are
RATE_HZ = 48_000
PAGE_TICKS = RATE_HZ  # RFC 7845 §3: a page should not last longer than a second
_SEGMENTS_MAX = 255  # of a page
_HEADER = struct.Struct("<4sBBqIIIB")
_BEGINS, _ENDS = 0x02, 0x04
_POLYNOMIAL = 0x04C11DB7


def _table() -> tuple[int, ...]:
    entries = []
    for octet in range(256):
        value = octet << 24
        for _ in range(8):
            value = (value << 1 ^ (_POLYNOMIAL if value & 0x80000000 else 0)) & 0xFFFFFFFF
        entries.append(value)
    return tuple(entries)


_CRC = _table()


@dataclass(frozen=True, slots=True)
class OpusPacket:
    """A packet, and where it begins and ends in 48 kHz samples since the file's beginning."""

    start: int
    end: int
    payload: bytes


def muxed(packets: Iterable[OpusPacket], serial: int, vendor: str) -> Iterator[bytes]:
    """The file, page by page; packets in order. `serial` names the stream, any number will do."""
    # RFC 7845 §5.1: version, channels, pre-skip, input rate, gain, mapping family. Nothing is skipped: a call that is
    # joined has no encoder delay that we know of.
    yield _page([struct.pack("<8sBBHIhB", b"OpusHead", 1, CHANNELS, 0, RATE_HZ, 0, 0)], 0, serial, 0, _BEGINS)
    name = vendor.encode()
    yield _page([struct.pack("<8sI", b"OpusTags", len(name)) + name + bytes(4)], 0, serial, 1, 0)
    number, waiting, segments = 2, list[OpusPacket](), 0
    for packet in packets:
        needed = len(packet.payload) // 255 + 1
        full = waiting and (segments + needed > _SEGMENTS_MAX or packet.end - waiting[0].start > PAGE_TICKS)
        # A page's granule position is that of its end alone: what follows a gap begins a page of its own.
        if full or (waiting and packet.start != waiting[-1].end):
            yield _page([entry.payload for entry in waiting], waiting[-1].end, serial, number, 0)
            number, waiting, segments = number + 1, [], 0
        waiting.append(packet)
        segments += needed
    end = waiting[-1].end if waiting else 0
    yield _page([entry.payload for entry in waiting], end, serial, number, _ENDS)


def _page(packets: list[bytes], granule: int, serial: int, number: int, flags: int) -> bytes:
    """One page of whole packets (RFC 3533 §6)."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    header = _HEADER.pack(b"OggS", 0, flags, granule, serial, number, 0, len(lacing)) + lacing
    page = bytearray(header + b"".join(packets))
    page[22:26] = _checksum(page).to_bytes(4, "little")
    return bytes(page)


def _checksum(page: bytearray) -> int:
    value = 0
    for octet in page:
        value = (value << 8 ^ _CRC[value >> 24 ^ octet]) & 0xFFFFFFFF
    return value
