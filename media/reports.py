"""RTCP beside the audio: sender reports are read, receiver reports answered, twice a second at most for all legs.

A report counts only from the host whose audio the leg takes; its answer goes back where it came from.
"""

from __future__ import annotations

import ctypes
import secrets
from dataclasses import dataclass

from media.errors import Malformed
from media.legs import US_PER_TICK, Leg, Table
from media.receive import SLOT_BYTES, Arena, Readiness, send
from media.rtcp import ReceiverReport, ReportBlock, SenderReport, SourceDescription, parse, to_bytes

SLOTS = 256  # datagrams of one look; legs report every 5 s, so a worker's 2000 bring some 200
REPORT_NS = 4_000_000_000  # RFC 3550 §6.2 wants 5 s on average: each of the sender's, but not a flood of them

_NEVER_NS = -REPORT_NS


@dataclass(slots=True)
class _Peer:
    """A leg, and what was last reported of it."""

    leg: Leg
    reported_ns: int = _NEVER_NS
    packets: int = 0
    lost: int = 0


class Reports:
    """The RTCP sockets of all legs."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._peers: dict[int, _Peer] = {}  # by descriptor
        self._readiness = Readiness(SLOTS)
        self._arena = Arena(SLOTS)
        self._ssrc = secrets.randbits(32)  # each leg's is this, plus its number
        self._cname = secrets.token_hex(12)  # RFC 7022: says nothing about the host

    def open(self, leg: Leg) -> None:
        """Look after this leg's RTCP from now on."""
        self._peers[leg.rtcp.fileno()] = _Peer(leg)
        self._readiness.add(leg.rtcp.fileno())

    def close(self, leg: Leg) -> None:
        """And no more."""
        self._readiness.remove(leg.rtcp.fileno())
        del self._peers[leg.rtcp.fileno()]

    def exchange(self, now_ns: int, wall_offset_ns: int) -> None:
        """Read what has come and answer sender reports."""
        sockets = [(ctypes.c_int(descriptor), descriptor) for descriptor in self._readiness.ready()]
        batch = self._arena.receive(sockets)
        columns = (batch.keys, batch.lengths, batch.sources, batch.stamps_ns)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for i, (descriptor, length, source, stamp_ns) in enumerate(rows):
            peer = self._peers[descriptor]
            if source >> 16 != int(self._table.source[peer.leg.row]) >> 16:
                continue
            offset = i * SLOT_BYTES
            try:
                reports = parse(self._arena.octets[offset : offset + length].tobytes())
            except Malformed:
                continue
            arrived_ns = stamp_ns - wall_offset_ns if stamp_ns else now_ns
            for report in reports:
                if isinstance(report, SenderReport) and now_ns - peer.reported_ns >= REPORT_NS:
                    send(descriptor, self._answer(peer, report, now_ns - arrived_ns), source)
                    peer.reported_ns = now_ns

    def _answer(self, peer: _Peer, report: SenderReport, delay_ns: int) -> bytes:
        """A receiver report on the leg (RFC 3550 §6.4.2)."""
        table, row, sequence = self._table, peer.leg.row, peer.leg.sequence
        packets, lost = int(table.packets[row]), sequence.lost
        new_lost, new = max(0, lost - peer.lost), packets - peer.packets
        peer.packets, peer.lost = packets, lost
        block = ReportBlock(
            report.ssrc,
            min(255, 256 * new_lost // max(1, new_lost + new)),
            min(lost, 0x7FFFFF),
            (int(table.next_sequence[row]) - 1) & 0xFFFFFFFF,
            int(table.jitter_us[row]) // US_PER_TICK,
            report.ntp >> 16 & 0xFFFFFFFF,
            max(0, delay_ns) * 65_536 // 1_000_000_000 & 0xFFFFFFFF,
        )
        ssrc = (self._ssrc + peer.leg.number) & 0xFFFFFFFF
        return to_bytes((ReceiverReport(ssrc, (block,)), SourceDescription(((ssrc, self._cname),))))
