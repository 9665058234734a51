"""RTCP (RFC 3550 §6): sender and receiver reports, source descriptions, goodbyes, and the compound that holds them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

from media.errors import Malformed

COMPOUND_BYTES_MAX = 65_507  # a UDP datagram over IPv4
PACKETS_MAX = 64  # packets of one compound; a conference's has a handful

SHARED_TYPES = range(192, 224)
"""Packet types on a port that RTP shares (RFC 5761 §4), which no RTP packet may look like."""

_SENDER_REPORT, _RECEIVER_REPORT, _DESCRIPTION, _GOODBYE = 200, 201, 202, 203
_CNAME = 1
_HEADER = struct.Struct("!BBH")
_SENDER = struct.Struct("!IQIII")
_BLOCK = struct.Struct("!IIIIII")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """How one source arrives, in RFC 3550 §6.4.1's units: jitter in RTP ticks, delay in 1/65536 s."""

    ssrc: int
    fraction_lost: int
    packets_lost: int  # signed 24 bits
    highest_sequence: int  # extended by its cycles
    jitter: int
    last_report: int
    delay: int


@dataclass(frozen=True, slots=True)
class SenderReport:
    """SR: ties the sender's RTP clock to its NTP clock (64-bit, 32.32 fixed point)."""

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """RR."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """SDES: the CNAME of each source; other items are passed over."""

    cnames: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """BYE: these sources have ended. The reason text is passed over."""

    sources: tuple[int, ...]


Report: TypeAlias = SenderReport | ReceiverReport | SourceDescription | Goodbye


def parse(data: bytes) -> tuple[Report, ...]:
    """The packets of a compound that we know, in order; raises Malformed where its framing is broken."""
    if not _HEADER.size <= len(data) <= COMPOUND_BYTES_MAX:
        raise Malformed("RTCP compound of impossible size")
    reports: list[Report] = []
    position, seen = 0, 0
    while position < len(data):
        if position + _HEADER.size > len(data) or seen >= PACKETS_MAX:
            raise Malformed("RTCP compound is cut short or too long")
        first, kind, words = _HEADER.unpack_from(data, position)
        end = position + 4 * (words + 1)
        if first >> 6 != 2 or end > len(data):
            raise Malformed("not an RTCP packet of version 2, or longer than its datagram")
        body = data[position + _HEADER.size : end]
        if first & 0x20:
            body = _unpadded(body)
        report = _read(kind, first & 0x1F, body)
        if report is not None:
            reports.append(report)
        position, seen = end, seen + 1
    return tuple(reports)


def to_bytes(reports: tuple[Report, ...]) -> bytes:
    """A compound of `reports`; `parse` is its inverse."""
    return b"".join(_written(report) for report in reports)


def _unpadded(body: bytes) -> bytes:
    if not body or not 0 < body[-1] <= len(body):
        raise Malformed("RTCP padding is longer than its packet")
    return body[: -body[-1]]


def _read(kind: int, count: int, body: bytes) -> Report | None:
    try:
        if kind == _SENDER_REPORT:
            ssrc, ntp, timestamp, packets, octets = _SENDER.unpack_from(body)
            return SenderReport(ssrc, ntp, timestamp, packets, octets, _blocks(body, _SENDER.size, count))
        if kind == _RECEIVER_REPORT:
            return ReceiverReport(struct.unpack_from("!I", body)[0], _blocks(body, 4, count))
        if kind == _GOODBYE:
            return Goodbye(struct.unpack_from(f"!{count}I", body))
    except struct.error:
        raise Malformed("RTCP report is cut short") from None
    return SourceDescription(_cnames(body, count)) if kind == _DESCRIPTION else None


def _blocks(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for i in range(count):
        ssrc, lost, highest, jitter, last, delay = _BLOCK.unpack_from(body, start + i * _BLOCK.size)
        # 24 bits, two's complement: duplicates can make it negative.
        packets_lost = (lost & 0xFFFFFF) - ((lost & 0x800000) << 1)
        blocks.append(ReportBlock(ssrc, lost >> 24, packets_lost, highest, jitter, last, delay))
    return tuple(blocks)


def _cnames(body: bytes, chunks: int) -> tuple[tuple[int, str], ...]:
    found = []
    position = 0
    for _ in range(chunks):
        if position + 4 > len(body):
            raise Malformed("RTCP source description is cut short")
        (ssrc,) = struct.unpack_from("!I", body, position)
        position += 4
        name = None
        while position < len(body) and body[position] != 0:
            if position + 2 > len(body) or position + 2 + body[position + 1] > len(body):
                raise Malformed("RTCP source description item is cut short")
            kind, length = body[position], body[position + 1]
            if kind == _CNAME and name is None:  # a source has one (§6.5)
                # What is no UTF-8 is kept as it is: two names are equal only if their octets are.
                name = body[position + 2 : position + 2 + length].decode("utf-8", "surrogateescape")
                found.append((ssrc, name))
            position += 2 + length
        position += 4 - position % 4  # the list ends with one to four null octets, at a 32-bit boundary
    return tuple(found)


def _written(report: Report) -> bytes:
    match report:
        case SenderReport():
            sender = _SENDER.pack(report.ssrc, report.ntp, report.timestamp, report.packets, report.octets)
            return _framed(_SENDER_REPORT, len(report.blocks), sender + _blocks_written(report.blocks))
        case ReceiverReport():
            body = struct.pack("!I", report.ssrc) + _blocks_written(report.blocks)
            return _framed(_RECEIVER_REPORT, len(report.blocks), body)
        case SourceDescription():
            chunks = b"".join(_chunk_written(ssrc, name) for ssrc, name in report.cnames)
            return _framed(_DESCRIPTION, len(report.cnames), chunks)
        case Goodbye():
            return _framed(_GOODBYE, len(report.sources), struct.pack(f"!{len(report.sources)}I", *report.sources))


def _blocks_written(blocks: tuple[ReportBlock, ...]) -> bytes:
    return b"".join(
        _BLOCK.pack(
            *(b.ssrc, b.fraction_lost << 24 | b.packets_lost & 0xFFFFFF, b.highest_sequence),
            *(b.jitter, b.last_report, b.delay),
        )
        for b in blocks
    )


def _chunk_written(ssrc: int, name: str) -> bytes:
    text = name.encode("utf-8", "surrogateescape")
    item = struct.pack("!IBB", ssrc, _CNAME, len(text)) + text
    return item + b"\0" * (4 - len(item) % 4)


def _framed(kind: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(2 << 6 | count, kind, len(body) // 4) + body
