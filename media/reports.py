"""RTCP beside the audio: what peers report is read and answered, what we send and how we receive is reported.

A report counts only from the host whose audio the leg takes, and is a sign of its life; its answer goes back where it
came from. Our own reports go there too; while nothing has come, to where the description says (RFC 3605), or to the
port above the audio's (RFC 3550 §11). Where both ends share their ports (RFC 5761), all of it goes as the audio does.
Each peer whose audio has come is told how it arrives, whether it reports itself
or not; nobody is told before.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np

from media.clocks import Clocks
from media.endpoints import UNNAMED
from media.errors import Malformed
from media.legs import Leg, Table
from media.readings import READING_NS_MIN
from media.receive import SLOT_BYTES, Arena, Batch, Readiness, Sources, send
from media.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, SourceDescription, parse, to_bytes

KEPT_MAX = 16  # datagrams of a leg that shares its port, between two looks; more are lost, as datagrams are
SLOTS = 256  # datagrams of one look; legs report every 5 s, so a worker's 2000 bring some 200
REPORT_NS = 4_000_000_000  # RFC 3550 §6.2 wants 5 s on average: each of the sender's, but not a flood of them
OWN_NS_MIN, OWN_NS_MAX = 2_500_000_000, 7_500_000_000  # §6.2, §6.3.1: 5 s on average, at random, so that none align

_NEVER_NS = -REPORT_NS
_UNPLANNED_NS = 0  # no report is due yet: the leg's audio has not come, or only just


@dataclass(slots=True)
class _Peer:
    """A leg, and what was last reported of it."""

    leg: Leg
    source: int | None = None  # where its RTCP comes from
    reported_ns: int = _NEVER_NS
    packets: int = 0
    lost: int = 0
    own_due_ns: int = 0  # of the sender report on what we send
    told: SenderReport | None = None  # its newest report on what it sends
    told_ns: int = 0  # when that came
    read_ns: int = _NEVER_NS  # when its clock was read last


class Reports:
    """The RTCP sockets of all legs."""

    def __init__(self, table: Table) -> None:
        self.sent = 0  # reports on what we receive, since the start
        self._table = table
        self._peers: dict[int, _Peer] = {}  # by descriptor
        self._by_row: dict[int, _Peer] = {}
        self._kept: dict[int, list[tuple[bytes, int, int]]] = {}  # by row: came on the RTP port, its source and stamp
        self._due_ns = np.full(table.rows, _UNPLANNED_NS, np.int64)  # when a row's peer is told how it is received
        self._heard_by: dict[int, _Peer] = {}  # those that we are sending to
        self._readiness = Readiness(SLOTS)
        self._arena = Arena(SLOTS)
        self._chance = np.random.default_rng()  # nothing is secret about when a report goes out, and it is quick
        self._cname = secrets.token_hex(12)  # RFC 7022: says nothing about the host
        self._clocks = Clocks(table)

    def open(self, leg: Leg) -> None:
        """Look after this leg's RTCP from now on."""
        self._peers[leg.rtcp.fileno()] = self._by_row[leg.row] = _Peer(leg)
        self._due_ns[leg.row] = _UNPLANNED_NS
        self._readiness.add(leg.rtcp.fileno())

    def close(self, leg: Leg, now_ns: int, wall_offset_ns: int) -> None:
        """And no more; if we have sent anything, its peer is told that it was all (RFC 3550 §6.3.7)."""
        descriptor = leg.rtcp.fileno()
        self._readiness.remove(descriptor)
        peer = self._peers.pop(descriptor)
        self._heard_by.pop(descriptor, None)
        del self._by_row[leg.row]
        self._kept.pop(leg.row, None)
        if leg.outgoing.packets and (target := self._target(peer)) is not None:
            report = leg.outgoing.report(now_ns, now_ns + wall_offset_ns)
            goodbye = Goodbye((leg.outgoing.ssrc,))
            _send(leg, to_bytes((report, self._described(leg), goodbye)), target)

    def sends(self, leg: Leg) -> None:
        """We are going to send to this leg's peer: report on it, as long as we do."""
        self._heard_by[leg.rtcp.fileno()] = self._peers[leg.rtcp.fileno()]

    def keep(self, batch: Batch, arena: Arena) -> None:
        """RTCP that came on the RTP ports of legs, for the next look."""
        columns = (batch.keys, batch.slots, batch.lengths, batch.sources, batch.stamps_ns)
        for row, slot, length, key, stamp_ns in zip(*(column.tolist() for column in columns), strict=True):
            kept, source = self._kept.setdefault(row, []), self._table.number(row, key, arena)
            # A stranger's take nobody's place.
            if len(kept) < KEPT_MAX and source >> 16 == self._table.numbers[row] >> 16:
                data = arena.octets[slot * SLOT_BYTES : slot * SLOT_BYTES + length].tobytes()
                kept.append((data, source, stamp_ns))

    def exchange(self, now_ns: int, wall_offset_ns: int) -> None:
        """Read what has come and answer sender reports; report what we send."""
        self._read(now_ns, wall_offset_ns)
        for descriptor, peer in list(self._heard_by.items()):
            outgoing = peer.leg.outgoing
            if not outgoing.packets or now_ns < peer.own_due_ns:
                continue
            if not outgoing.sending(now_ns):
                del self._heard_by[descriptor]
            elif (target := self._target(peer)) is not None:
                self._report(peer, target, now_ns, wall_offset_ns)

    def tell(self, now_ns: int, wall_offset_ns: int) -> None:
        """Tell the peers whose time it is how they are received; a report costs some 50 µs."""
        table = self._table
        # What comes over a tap has no address; its peer is a browser, which reports and so is answered.
        received = (table.packets > 0) & (table.source > UNNAMED)
        for row in np.flatnonzero(received & (self._due_ns <= now_ns)).tolist():
            peer = self._by_row[row]
            if self._due_ns[row] == _UNPLANNED_NS:
                self._due_ns[row] = now_ns + self._interval_ns() // 2  # RFC 3550 §6.2: the first comes sooner
            elif (target := self._target(peer)) is not None:
                self._report(peer, target, now_ns, wall_offset_ns)

    def _read(self, now_ns: int, wall_offset_ns: int) -> None:
        batch = self._arena.receive(Sources({descriptor: descriptor for descriptor in self._readiness.ready()}))
        columns = (batch.keys, batch.lengths, batch.sources, batch.stamps_ns)
        for i, (descriptor, length, key, stamp_ns) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            data = self._arena.octets[i * SLOT_BYTES : i * SLOT_BYTES + length].tobytes()
            self._take(self._peers[descriptor], data, self._arena.source(key), stamp_ns, now_ns, wall_offset_ns)
        kept, self._kept = self._kept, {}
        for row, told in kept.items():
            for data, source, stamp_ns in told:
                self._take(self._by_row[row], data, source, stamp_ns, now_ns, wall_offset_ns)

    def _take(self, peer: _Peer, compound: bytes, source: int, stamp_ns: int, now_ns: int, wall_offset_ns: int) -> None:
        """One datagram."""
        row, data = peer.leg.row, compound if peer.leg.protection is None else None
        if source >> 16 != self._table.numbers[row] >> 16:
            return
        if peer.leg.protection is not None:
            data = peer.leg.protection.open_reports(compound)
        if data is None:
            self._table.unauthentic[row] += 1
            return
        try:
            reports = parse(data)
        except Malformed:
            return
        arrived_ns = min(now_ns, stamp_ns - wall_offset_ns) if stamp_ns else now_ns
        peer.source = source
        arrived_us = (arrived_ns - int(self._table.origin_ns[row])) // 1000
        self._table.life_us[row] = max(int(self._table.life_us[row]), arrived_us)
        for report in reports:
            if isinstance(report, SenderReport):
                peer.told, peer.told_ns = report, arrived_ns
                if arrived_ns - peer.read_ns >= READING_NS_MIN:
                    taken = self._clocks.read(peer.leg, report, reports, source, arrived_us)
                    peer.read_ns = arrived_ns if taken else peer.read_ns
                if now_ns - peer.reported_ns >= REPORT_NS:
                    self._report(peer, self._target(peer) or source, now_ns, wall_offset_ns, of=report.ssrc)
                    peer.reported_ns, self._due_ns[row] = now_ns, now_ns + OWN_NS_MAX  # it asks again before

    def _report(self, peer: _Peer, target: int, now_ns: int, wall_offset_ns: int, of: int | None = None) -> None:
        """Tell how the leg is received (RFC 3550 §6.4.2), as a sender if we are one (§6.4.1).

        `of` is the source that asks to be told; without it, the leg's is told of if it was heard since the last time.
        """
        row, sequence, outgoing = peer.leg.row, peer.leg.sequence, peer.leg.outgoing
        heard = sequence.ssrc if peer.packets != self._table.packets[row] else None
        source = heard if of is None else of
        blocks = () if source is None else (self._block(peer, source, now_ns),)
        report: SenderReport | ReceiverReport = ReceiverReport(outgoing.ssrc, blocks)
        if outgoing.sending(now_ns):
            report = outgoing.report(now_ns, now_ns + wall_offset_ns, blocks)
            peer.own_due_ns = now_ns + self._interval_ns()
        _send(peer.leg, to_bytes((report, self._described(peer.leg))), target)
        self.sent += bool(blocks)
        self._due_ns[row] = now_ns + self._interval_ns()

    def _block(self, peer: _Peer, source: int, now_ns: int) -> ReportBlock:
        """How this source arrives, since the last time and on the whole."""
        table, row, sequence = self._table, peer.leg.row, peer.leg.sequence
        packets, lost = int(table.packets[row]), sequence.lost
        new_lost, new = max(0, lost - peer.lost), packets - peer.packets
        peer.packets, peer.lost = packets, lost
        last_report = delay = 0  # RFC 3550 §6.4.1: where it has told nothing
        if peer.told is not None and peer.told.ssrc == source:
            last_report = peer.told.ntp >> 16 & 0xFFFFFFFF
            delay = (now_ns - peer.told_ns) * 65_536 // 1_000_000_000 & 0xFFFFFFFF
        return ReportBlock(
            source,
            min(255, 256 * new_lost // max(1, new_lost + new)),
            min(lost, 0x7FFFFF),
            (int(table.next_sequence[row]) - 1) & 0xFFFFFFFF,
            int(table.jitter_us[row]) * sequence.clock_hz // 1_000_000,
            last_report,
            delay,
        )

    def _target(self, peer: _Peer) -> int | None:
        """Where RTCP for this peer goes: on a shared port as RTP does, else where its own comes from, else where its
        description says, else the port above its audio's. Of a peer behind NAT the description says nothing that holds
        outside, and the port above may be another stream's: recording clients number their tracks' audio through.
        """
        rule, target, told = peer.leg.rule, peer.leg.rule.target, peer.leg.reports
        if target is None or peer.leg.muxed:
            return target
        if peer.source is not None and peer.source >> 16 == target >> 16:
            return peer.source
        if told is not None and (not rule.nat or told >> 16 == target >> 16):
            return told
        if target & 0xFFFF == 0xFFFF or self._table.takes(target + 1):
            return None
        return target + 1

    def _interval_ns(self) -> int:
        return int(self._chance.integers(OWN_NS_MIN, OWN_NS_MAX))

    def _described(self, leg: Leg) -> SourceDescription:
        return SourceDescription(((leg.outgoing.ssrc, self._cname),))


def _send(leg: Leg, data: bytes, target: int) -> None:
    sock = leg.rtp if leg.muxed else leg.rtcp
    send(sock.fileno(), data if leg.protection is None else leg.protection.protect_reports(data), target)
