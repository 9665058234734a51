"""Ogg Opus (RFC 3533, RFC 7845): a track's Opus packets as they were received, in a file that players know.

Pages are made as packets come, so that a track of any length is never held as a whole. What was not received is put
in as RFC 7845 §4.1 wants it of a captured stream: packets of empty frames, for which a decoder conceals or is silent,
so that the file keeps the call's time. No packet is left out: where a clock runs fast, the file runs behind.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CHANNELS = 2  # RFC 7587 §4.1: a stream is decoded in stereo, whatever its packets are
RATE_HZ = 48_000
PAGE_TICKS = RATE_HZ  # RFC 7845 §3: a page should not last longer than a second
_SEGMENTS_MAX = 255  # of a page
_CELT_2_5_MS, _CELT_20_MS = 28, 31  # configurations of RFC 6716 Table 2, full band
_EMPTY_TICKS_LEAST, _EMPTY_TICKS = RATE_HZ // 400, RATE_HZ // 50
_EMPTY_FRAMES_MAX = 6  # of 20 ms: no packet lasts longer than 120 ms
_HEADER = struct.Struct("<4sBBqIIIB")
_BEGINS, _ENDS = 0x02, 0x04

_REVERSED = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))


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
    number, page, began, segments, position = 2, list[bytes](), 0, 0, 0
    for payload, ticks in _continuous(packets):
        needed = len(payload) // 255 + 1
        if page and (segments + needed > _SEGMENTS_MAX or position + ticks - began > PAGE_TICKS):
            yield _page(page, position, serial, number, 0)
            number, page, began, segments = number + 1, [], position, 0
        page.append(payload)
        segments, position = segments + needed, position + ticks
    yield _page(page, position, serial, number, _ENDS)


def _continuous(packets: Iterable[OpusPacket]) -> Iterator[tuple[bytes, int]]:
    """The packets and, where there is nothing, empty ones, each with its 48 kHz samples."""
    position = 0
    for packet in packets:
        for ticks, config in ((_EMPTY_TICKS, _CELT_20_MS), (_EMPTY_TICKS_LEAST, _CELT_2_5_MS)):
            while packet.start - position >= ticks:
                frames = min(_EMPTY_FRAMES_MAX, (packet.start - position) // ticks)
                # RFC 6716 §3.2.5: code 3, so many frames of equal size, here none.
                yield bytes([config << 3 | 3, frames]), frames * ticks
                position += frames * ticks
        yield packet.payload, packet.end - packet.start
        position += packet.end - packet.start


def _page(packets: list[bytes], granule: int, serial: int, number: int, flags: int) -> bytes:
    """One page of whole packets (RFC 3533 §6)."""
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    header = _HEADER.pack(b"OggS", 0, flags, granule, serial, number, 0, len(lacing)) + lacing
    page = bytearray(header + b"".join(packets))
    page[22:26] = _checksum(page).to_bytes(4, "little")
    return bytes(page)


def _checksum(page: bytearray) -> int:
    """RFC 3533's CRC, most significant bit first and from zero: zlib's of reversed octets, reversed."""
    reflected = ~zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")
