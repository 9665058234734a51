"""RTCP beside the audio: what peers report is read and answered, what we send is reported, twice a second for all legs.

A report counts only from the host whose audio the leg takes, and is a sign of its life; its answer goes back where it
came from. Our own sender reports go there too, or to the port above the audio's while nothing has come (RFC 3550 §11).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from media.errors import Malformed
from media.legs import Leg, Table
from media.receive import SLOT_BYTES, Arena, Readiness, Sources, send
from media.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, SourceDescription, parse, to_bytes

SLOTS = 256  # datagrams of one look; legs report every 5 s, so a worker's 2000 bring some 200
REPORT_NS = 4_000_000_000  # RFC 3550 §6.2 wants 5 s on average: each of the sender's, but not a flood of them
OWN_NS_MIN, OWN_NS_MAX = 2_500_000_000, 7_500_000_000  # §6.2, §6.3.1: 5 s on average, at random, so that none align

_NEVER_NS = -REPORT_NS


@dataclass(slots=True)
class _Peer:
    """A leg, and what was last reported of it."""

    leg: Leg
    source: int | None = None  # where its RTCP comes from
    reported_ns: int = _NEVER_NS
    packets: int = 0
    lost: int = 0
    own_due_ns: int = 0  # of the sender report on what we send


class Reports:
    """The RTCP sockets of all legs."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._peers: dict[int, _Peer] = {}  # by descriptor
        self._heard_by: dict[int, _Peer] = {}  # those that we are sending to
        self._readiness = Readiness(SLOTS)
        self._arena = Arena(SLOTS)
        self._cname = secrets.token_hex(12)  # RFC 7022: says nothing about the host

    def open(self, leg: Leg) -> None:
        """Look after this leg's RTCP from now on."""
        self._peers[leg.rtcp.fileno()] = _Peer(leg)
        self._readiness.add(leg.rtcp.fileno())

    def close(self, leg: Leg, now_ns: int, wall_offset_ns: int) -> None:
        """And no more; if we have sent anything, its peer is told that it was all (RFC 3550 §6.3.7)."""
        descriptor = leg.rtcp.fileno()
        self._readiness.remove(descriptor)
        peer = self._peers.pop(descriptor)
        self._heard_by.pop(descriptor, None)
        if leg.outgoing.packets and (target := _target(peer)) is not None:
            report = leg.outgoing.report(now_ns, now_ns + wall_offset_ns)
            goodbye = Goodbye((leg.outgoing.ssrc,))
            _send(leg, to_bytes((report, self._described(leg), goodbye)), target)

    def sends(self, leg: Leg) -> None:
        """We are going to send to this leg's peer: report on it, as long as we do."""
        self._heard_by[leg.rtcp.fileno()] = self._peers[leg.rtcp.fileno()]

    def exchange(self, now_ns: int, wall_offset_ns: int) -> None:
        """Read what has come and answer sender reports; report what we send."""
        self._read(now_ns, wall_offset_ns)
        for descriptor, peer in list(self._heard_by.items()):
            outgoing = peer.leg.outgoing
            if not outgoing.packets or now_ns < peer.own_due_ns:
                continue
            if not outgoing.sending(now_ns):
                del self._heard_by[descriptor]
            elif (target := _target(peer)) is not None:
                report = outgoing.report(now_ns, now_ns + wall_offset_ns)
                _send(peer.leg, to_bytes((report, self._described(peer.leg))), target)
                peer.own_due_ns = now_ns + OWN_NS_MIN + secrets.randbelow(OWN_NS_MAX - OWN_NS_MIN)

    def _read(self, now_ns: int, wall_offset_ns: int) -> None:
        batch = self._arena.receive(Sources({descriptor: descriptor for descriptor in self._readiness.ready()}))
        columns = (batch.keys, batch.lengths, batch.sources, batch.stamps_ns)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for i, (descriptor, length, source, stamp_ns) in enumerate(rows):
            peer = self._peers[descriptor]
            row = peer.leg.row
            if source >> 16 != int(self._table.source[row]) >> 16:
                continue
            offset = i * SLOT_BYTES
            data: bytes | None = self._arena.octets[offset : offset + length].tobytes()
            if peer.leg.protection is not None and data is not None:
                data = peer.leg.protection.open_reports(data)
            if data is None:
                self._table.unauthentic[row] += 1
                continue
            try:
                reports = parse(data)
            except Malformed:
                continue
            arrived_ns = min(now_ns, stamp_ns - wall_offset_ns) if stamp_ns else now_ns
            peer.source = source
            arrived_us = (arrived_ns - int(self._table.origin_ns[row])) // 1000
            self._table.life_us[row] = max(int(self._table.life_us[row]), arrived_us)
            for report in reports:
                if isinstance(report, SenderReport) and now_ns - peer.reported_ns >= REPORT_NS:
                    _send(peer.leg, self._answer(peer, report, now_ns, arrived_ns, wall_offset_ns), source)
                    peer.reported_ns = now_ns

    def _answer(self, peer: _Peer, report: SenderReport, now_ns: int, arrived_ns: int, wall_offset_ns: int) -> bytes:
        """A report on the leg (RFC 3550 §6.4.2), as a sender's if we are one (§6.4.1)."""
        table, row, sequence = self._table, peer.leg.row, peer.leg.sequence
        packets, lost = int(table.packets[row]), sequence.lost
        new_lost, new = max(0, lost - peer.lost), packets - peer.packets
        peer.packets, peer.lost = packets, lost
        block = ReportBlock(
            report.ssrc,
            min(255, 256 * new_lost // max(1, new_lost + new)),
            min(lost, 0x7FFFFF),
            (int(table.next_sequence[row]) - 1) & 0xFFFFFFFF,
            int(table.jitter_us[row]) * sequence.clock_hz // 1_000_000,
            report.ntp >> 16 & 0xFFFFFFFF,
            (now_ns - arrived_ns) * 65_536 // 1_000_000_000 & 0xFFFFFFFF,
        )
        outgoing = peer.leg.outgoing
        answer: SenderReport | ReceiverReport = ReceiverReport(outgoing.ssrc, (block,))
        if outgoing.sending(now_ns):
            answer = outgoing.report(now_ns, now_ns + wall_offset_ns, (block,))
        return to_bytes((answer, self._described(peer.leg)))

    def _described(self, leg: Leg) -> SourceDescription:
        return SourceDescription(((leg.outgoing.ssrc, self._cname),))


def _send(leg: Leg, data: bytes, target: int) -> None:
    send(leg.rtcp.fileno(), data if leg.protection is None else leg.protection.protect_reports(data), target)


def _target(peer: _Peer) -> int | None:
    """Where RTCP for this peer goes: where its own comes from, else the port above its audio's."""
    target = peer.leg.rule.target
    if peer.source is not None and target is not None and peer.source >> 16 == target >> 16:
        return peer.source
    return None if target is None or target & 0xFFFF == 0xFFFF else target + 1
