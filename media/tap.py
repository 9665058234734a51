"""What comes to a leg from a process of ours: plain RTP with a trailer that says what the network's packet said.

A tap is a unix socket pair, so that nothing in clear can be seen on any network, loopback included. The process at its
far end has taken header extensions away; what the engine needs of them, and the kernel's stamp of the packet as it
came from the network, stand behind the payload.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from media.errors import Malformed
from media.receive import SLOT_BYTES, Batch
from media.rtp import HEADER_BYTES

LEVEL_UNKNOWN = 255
"""In place of an audio level where the sender told none."""

LOUD_DBOV, QUIET_DBOV = 30, 50
"""Levels at and beyond which nothing is decoded to know whether somebody speaks.

A talker in front of a browser's microphone, with its gain control, has some -15 to -30 dBov, a quiet room -60 and less.
"""

_TRAILER = struct.Struct("=qB")  # CLOCK_REALTIME in ns; level in -dBov, 0 the loudest, 127 silence
_STAMP_BYTES = 8
_EXTENDED, _SOURCES = 0x10, 0x0F
_ONE_BYTE = 0xBEDE  # RFC 8285 §4.2
_STOP_ID = 15
_EXTENSION = struct.Struct("!HH")


def tapped(packet: bytes, stamp_ns: int, level_id: int) -> bytes:
    """An RTP packet as a tap carries it: the header extension's element `level_id` (RFC 6464) moves to the trailer.

    Raises Malformed where the extension is longer than the packet, or there is no packet.
    """
    level = LEVEL_UNKNOWN
    if len(packet) < HEADER_BYTES:
        raise Malformed("RTP packet of impossible size")
    first = packet[0]
    if first & _EXTENDED:
        start = HEADER_BYTES + 4 * (first & _SOURCES)
        if start + _EXTENSION.size > len(packet):
            raise Malformed("RTP header extension is cut short")
        profile, words = _EXTENSION.unpack_from(packet, start)
        end = start + _EXTENSION.size + 4 * words
        if end > len(packet):
            raise Malformed("RTP header extension is longer than the packet")
        if profile == _ONE_BYTE and level_id:
            level = _level(packet[start + _EXTENSION.size : end], level_id)
        packet = bytes((first & ~_EXTENDED,)) + packet[1:start] + packet[end:]
    return packet + _TRAILER.pack(stamp_ns, level)


def untap(batch: Batch, octets: NDArray[np.uint8], taps: NDArray[np.bool_]) -> tuple[Batch, NDArray[np.uint8]]:
    """The batch with its taps' trailers taken off, and a level for each slot; `taps` says which keys are taps."""
    levels = np.full(int(batch.slots[-1]) + 1 if len(batch.slots) else 0, LEVEL_UNKNOWN, np.uint8)
    which = np.flatnonzero(taps[batch.keys] & (batch.lengths >= HEADER_BYTES + _TRAILER.size))
    if not len(which):
        return batch, levels
    ends = batch.slots[which] * SLOT_BYTES + batch.lengths[which]
    trailers = octets[(ends - _TRAILER.size)[:, None] + np.arange(_TRAILER.size)]
    levels[batch.slots[which]] = trailers[:, _STAMP_BYTES]
    stamps, lengths = batch.stamps_ns.copy(), batch.lengths.copy()
    stamps[which] = np.ascontiguousarray(trailers[:, :_STAMP_BYTES]).view(np.int64)[:, 0]
    lengths[which] -= _TRAILER.size
    return replace(batch, stamps_ns=stamps, lengths=lengths), levels


def voiced(level: int) -> bool | None:
    """Whether a packet of this level has a voice in it; None where only decoding can tell."""
    if level <= LOUD_DBOV:
        return True
    return False if QUIET_DBOV <= level < LEVEL_UNKNOWN else None


def _level(elements: bytes, level_id: int) -> int:
    """The level among one-byte header elements, where it is."""
    position = 0
    while position < len(elements):
        head = elements[position]
        if head == 0:  # padding
            position += 1
            continue
        number, length = head >> 4, (head & 0x0F) + 1
        if number == _STOP_ID or position + length >= len(elements):
            break
        if number == level_id:
            return elements[position + 1] & 0x7F
        position += 1 + length
    return LEVEL_UNKNOWN
