"""RTP packets (RFC 3550 §5.1): bytes to values and back."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from media.errors import Malformed

HEADER_BYTES = 12
PACKET_BYTES_MAX = 65_507  # what a UDP datagram can carry over IPv4

_HEADER = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")
_VERSION = 2


def plain_header(payload_type: int, sequence: int, timestamp: int, ssrc: int, *, marker: bool = False) -> bytes:
    """The header of a packet without extension, contributing sources or padding."""
    return _HEADER.pack(_VERSION << 6, payload_type | (0x80 if marker else 0), sequence, timestamp, ssrc)


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet. `extension` is (profile, data); padding is neither kept nor made."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False
    csrc: tuple[int, ...] = ()
    extension: tuple[int, bytes] | None = None

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Packet:
        """Read one datagram; raises Malformed where it is no RTP packet of version 2."""
        if not HEADER_BYTES <= len(data) <= PACKET_BYTES_MAX:
            raise Malformed("RTP packet of impossible size")
        first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        if first >> 6 != _VERSION:
            raise Malformed("not RTP version 2")
        position = HEADER_BYTES + 4 * (first & 0x0F)
        if position > len(data):
            raise Malformed("RTP contributing sources are cut short")
        csrc = struct.unpack_from(f"!{first & 0x0F}I", data, HEADER_BYTES)
        extension = None
        if first & 0x10:
            extension, position = _read_extension(data, position)
        end = len(data)
        if first & 0x20:
            # RFC 3550 §5.1: the last octet counts the padding, itself included.
            padding = data[-1]
            if padding == 0 or padding > end - position:
                raise Malformed("RTP padding is longer than the packet")
            end -= padding
        payload = bytes(data[position:end])
        return cls(second & 0x7F, sequence, timestamp, ssrc, payload, bool(second & 0x80), csrc, extension)

    def to_bytes(self) -> bytes:
        """The packet as a datagram; `parse` is its inverse."""
        first = _VERSION << 6 | len(self.csrc) | (0x10 if self.extension is not None else 0)
        second = self.payload_type | (0x80 if self.marker else 0)
        parts = [_HEADER.pack(first, second, self.sequence, self.timestamp, self.ssrc)]
        parts.append(struct.pack(f"!{len(self.csrc)}I", *self.csrc))
        if self.extension is not None:
            profile, data = self.extension
            if len(data) % 4:
                raise ValueError("an RTP header extension is whole 32-bit words")
            parts += [_EXTENSION.pack(profile, len(data) // 4), data]
        parts.append(self.payload)
        return b"".join(parts)


def _read_extension(data: bytes | memoryview, position: int) -> tuple[tuple[int, bytes], int]:
    if position + _EXTENSION.size > len(data):
        raise Malformed("RTP header extension is cut short")
    profile, words = _EXTENSION.unpack_from(data, position)
    start = position + _EXTENSION.size
    end = start + 4 * words
    if end > len(data):
        raise Malformed("RTP header extension is longer than the packet")
    return (profile, bytes(data[start:end])), end
