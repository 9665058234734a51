"""From datagrams to frames: all legs' packets in order at once, the others one by one.

A leg takes the fast way in a batch if each of its packets is the one expected next: source, SSRC, payload type,
sequence number, timestamp, and an arrival without a standstill. Any other packet sends the leg's whole share of the
batch through `Sequence`, which knows what to do; both ways leave the same state behind. The fast way is in the native
core where there is one (media/inorder.py), else in numpy (media/atonce.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from media import redundancy
from media.atonce import AtOnce
from media.codecs import BY_NUMBER, COMFORT_NOISE, Stateful
from media.codecs.g711 import Octets
from media.columns import Columns
from media.dtmf import Press
from media.ears import Ears
from media.errors import Malformed
from media.framelog import NEW_PIECE, TALLY, noise_step
from media.inorder import InOrder
from media.legs import (
    CELL_US,
    FRAMES,
    NEVER,
    PAYLOAD_BYTES_MAX,
    REGION_BYTES,
    Int64s,
    Leg,
    Table,
    Turn,
)
from media.messages import Pressed
from media.native import Core
from media.receive import SLOT_BYTES, Arena, Batch
from media.rtp import Packet
from media.sequence import Arrived, Placed
from media.tap import voiced
from media.vad import CELLS_A_SECOND, Detectors


class Intake:
    """Takes batches into a table. `flush` empties a row that is full; `hear_gap` looks for tones around a gap."""

    def __init__(
        self,
        table: Table,
        legs: list[Leg | None],
        arena: Arena,
        detectors: Detectors,
        ears: Ears,
        flush: Callable[[int], None],
        hear_gap: Callable[[int, Arrived], None],
        core: Core | None = None,
    ) -> None:
        self._in_order = None if core is None else InOrder(core, table, arena)
        self._table = table
        self._legs = legs
        self._arena = arena
        self._at_once = AtOnce(table, arena, flush)
        self._detectors = detectors
        self._ears = ears
        self._flush = flush
        self._hear_gap = hear_gap
        self.turns: list[Turn] = []  # speech that ended because its cells never came
        self.pressed: list[Pressed] = []  # since the engine took them

    def take(self, batch: Batch, now_ns: int, wall_offset_ns: int, levels: Octets | None = None) -> None:
        """Take one batch. `wall_offset_ns` is CLOCK_REALTIME minus CLOCK_MONOTONIC, `now_ns` the latter.

        `levels` are those that came over taps, a level for each slot.
        """
        if not len(batch.keys):
            return
        if batch.overflowed.any():
            np.maximum.at(self._table.overflowed, batch.keys, batch.overflowed)
        left = np.arange(len(batch.keys), dtype=np.int64)
        if self._in_order is not None:
            left = self._in_order.take(batch, now_ns, wall_offset_ns)
            if not len(left):
                return
        columns = self._admitted(batch, left, now_ns, wall_offset_ns)
        if not len(columns.rows):
            return
        for start, end in self._at_once.take(columns):
            self._take_singly(columns, start, end, levels)

    def settle(self, leg: Leg) -> None:
        """Keep the packet that was set aside, if it is the leg's next one: nothing will come to confirm it."""
        recall(self._table, leg)
        for frame in leg.sequence.settle():
            self._keep(leg, frame)
        if leg.keys is not None:
            self._press(leg, leg.keys.finish())
        expect(self._table, leg, 0)

    def _admitted(self, batch: Batch, left: Int64s, now_ns: int, wall_offset_ns: int) -> Columns:
        """Of these datagrams, what comes from the right source while its leg receives; the rest is counted."""
        table, rows, sources = self._table, batch.keys[left], batch.sources[left]
        stamps = batch.stamps_ns[left]
        stamps = np.where(stamps == 0, now_ns + wall_offset_ns, stamps)
        # A step of the wall clock must not put an arrival into the future.
        arrivals = (np.minimum(stamps - wall_offset_ns, now_ns) - table.origin_ns[rows]) // 1000
        columns = Columns(rows, batch.slots[left], batch.lengths[left], sources, stamps, arrivals)
        certain = sources == table.source[rows]
        known = certain | table.latching[rows]
        early = arrivals < 0
        admitted = known & table.receiving[rows] & (arrivals >= table.from_us[rows])
        if admitted.all():
            return columns
        withheld = known & ~early & ~admitted
        np.add.at(table.foreign, rows[~known], 1)
        np.add.at(table.discarded, rows[known & early], 1)
        np.add.at(table.withheld, rows[withheld], 1)
        np.maximum.at(table.life_us, rows[withheld & certain], arrivals[withheld & certain])
        if (latching := withheld & ~certain).any():
            self._latch(columns.select(latching))
        return columns.select(admitted)

    def _latch(self, columns: Columns) -> None:
        """While an announcement is played nothing is kept, but who listens to it must be found out."""
        table = self._table
        for i, row in enumerate(columns.rows.tolist()):
            leg, arrival_us = self._legs[row], int(columns.arrivals_us[i])
            if leg is None or not leg.announce:
                continue
            source = table.number(row, int(columns.sources[i]), self._arena)
            try:
                packet = Packet.parse(self._datagram(columns, i))
            except Malformed:
                continue
            instant_ns = int(table.origin_ns[row]) + arrival_us * 1000
            if leg.rule.accepts(source, packet.ssrc, packet.timestamp, arrival_us, instant_ns):
                table.life_us[row] = max(int(table.life_us[row]), arrival_us)
                table.expect_from(row, leg.rule.current)
                table.latching[row] = leg.rule.may_latch(arrival_us)
            else:
                table.withheld[row] -= 1
                table.foreign[row] += 1

    def _datagram(self, columns: Columns, i: int) -> bytes:
        offset = int(columns.slots[i]) * SLOT_BYTES
        return self._arena.octets[offset : offset + int(columns.lengths[i])].tobytes()

    def _take_singly(self, columns: Columns, start: int, end: int, levels: Octets | None) -> None:
        """Take the packets [start, end), all of one row, by the rules of `Sequence`."""
        row = int(columns.rows[start])
        leg = self._legs[row]
        assert leg is not None, "a closed leg is not read"
        table = self._table
        recall(table, leg)
        arrival_us = 0
        for i in range(start, end):
            arrival_us = int(columns.arrivals_us[i])
            voice = None if levels is None else voiced(int(levels[columns.slots[i]]))
            source = table.number(row, int(columns.sources[i]), self._arena)
            self._take_packet(leg, self._datagram(columns, i), source, arrival_us, voice)
            table.stamp_ns[row] = columns.stamps_ns[i]
        expect(table, leg, arrival_us)

    def _take_packet(self, leg: Leg, data: bytes, source: int, arrival_us: int, voice: bool | None) -> None:
        table, row = self._table, leg.row
        try:
            packet = Packet.parse(data)
        except Malformed:
            table.discarded[row] += 1
            return
        earlier: tuple[redundancy.Block, ...] = ()
        if packet.payload_type == leg.red_pt:
            try:
                *older, primary = redundancy.parse(packet.payload)
            except Malformed:
                table.discarded[row] += 1
                return
            earlier = tuple(older)
            packet = replace(packet, payload_type=primary.payload_type, payload=primary.payload)
        number = packet.payload_type
        if number not in leg.codecs and number not in {leg.event_pt, COMFORT_NOISE}:
            table.discarded[row] += 1
            return
        instant_ns = int(table.origin_ns[row]) + arrival_us * 1000
        if not leg.rule.accepts(source, packet.ssrc, packet.timestamp, arrival_us, instant_ns):
            table.foreign[row] += 1
            return
        table.life_us[row] = max(int(table.life_us[row]), arrival_us)
        for block in earlier:
            self._recover(leg, packet, block, arrival_us)
        if number in leg.codecs:
            self._take_audio(leg, packet, arrival_us, voice)
        else:
            self._take_silent(leg, packet, arrival_us)

    def _take_audio(self, leg: Leg, packet: Packet, arrival_us: int, voice: bool | None = None) -> None:
        codec, payload = leg.codecs[packet.payload_type], packet.payload
        duration = codec.ticks(payload)
        if duration == 0 or len(payload) > PAYLOAD_BYTES_MAX:
            self._table.discarded[leg.row] += 1
            return
        fenced, leg.fenced = leg.fenced, False
        if fenced and isinstance(codec, Stateful) and codec.repeats is not None and codec.repeats(payload):
            self._table.withheld[leg.row] += 1
            return
        arrived = Arrived(
            *(packet.ssrc, packet.sequence, packet.timestamp, duration),
            *(arrival_us, codec.number, payload, codec.clock_hz),
            voice,
        )
        placed = leg.sequence.receive(arrived)
        if placed:
            leg.payload_type = packet.payload_type
        for frame in placed:
            self._keep(leg, frame)

    def _recover(self, leg: Leg, packet: Packet, block: redundancy.Block, arrival_us: int) -> None:
        """An earlier packet, repeated in this one, if it has not come itself."""
        sequence = (packet.sequence - block.packets_before) & 0xFFFF
        if block.payload and block.payload_type in leg.codecs and leg.sequence.misses(packet.ssrc, sequence):
            timestamp = (packet.timestamp - block.ticks_before) & 0xFFFFFFFF
            before = Packet(block.payload_type, sequence, timestamp, packet.ssrc, block.payload)
            self._take_audio(leg, before, arrival_us)

    def _take_silent(self, leg: Leg, packet: Packet, arrival_us: int) -> None:
        """An event or comfort noise: no audio, but a packet of the stream."""
        leg.sequence.skip(packet.ssrc, packet.sequence)
        if packet.payload_type == leg.event_pt:
            self._table.events[leg.row] += 1
            if leg.keys is not None:
                self._press(leg, leg.keys.receive(packet.payload, packet.timestamp, arrival_us))
        else:
            self._table.comfort[leg.row] += 1
            # RFC 3389 §3: the first octet is the level; the rest would tell the spectrum.
            level_db = packet.payload[0] & 0x7F if packet.payload else None
            leg.sequence.rest(packet.ssrc, 0 if level_db is None else noise_step(level_db))

    def _press(self, leg: Leg, presses: list[Press]) -> None:
        self.pressed += [Pressed(leg.number, press) for press in presses]

    def _keep(self, leg: Leg, placed: Placed) -> None:
        table, row, packet = self._table, leg.row, placed.packet
        length = len(packet.payload)
        if table.count[row] >= FRAMES or table.fill[row] + length > REGION_BYTES or len(leg.late) >= FRAMES:
            self._flush(row)
        table.packets[row] += 1
        table.octets[row] += length
        if not placed.ahead:
            leg.late.append(placed)
            table.in_order[row] = False
            return
        if placed.timestamp != table.head[row] or placed.flags & NEW_PIECE or packet.codec != table.codec[row]:
            self._skip_cells(row, placed)
        transit_us = packet.arrival_us - placed.timestamp * 1_000_000 // packet.clock_hz
        if not placed.flags & NEW_PIECE:
            jitter = float(table.jitter_us[row])
            table.jitter_us[row] = jitter + (abs(transit_us - int(table.transit_us[row])) - jitter) / 16
        index, at = int(table.count[row]), row * REGION_BYTES + int(table.fill[row])
        table.timestamps[row, index] = placed.timestamp
        table.arrivals_us[row, index] = packet.arrival_us
        table.lengths[row, index] = length
        table.codecs[row, index] = packet.codec
        table.flags[row, index] = placed.flags
        table.pool[at : at + length] = np.frombuffer(packet.payload, np.uint8)
        table.count[row] += 1
        table.fill[row] += length
        table.head[row] = placed.timestamp + packet.duration
        table.transit_us[row] = transit_us
        table.arrival_us[row] = packet.arrival_us
        table.codec[row], table.clock_hz[row] = packet.codec, packet.clock_hz
        if not BY_NUMBER[packet.codec].in_octets:
            table.heard[row] = table.fill[row]  # not in cells: it is heard apart
            end_us = table.head[row] * 1_000_000 // packet.clock_hz + transit_us
            self._ears.take(row, packet.codec, packet.payload, placed.timestamp, int(end_us), packet.voiced)

    def _skip_cells(self, row: int, placed: Placed) -> None:
        """The frame to come does not continue the last one: the detector hears silence in between."""
        table = self._table
        self._hear_gap(row, placed.packet)
        table.in_order[row] = False
        ticks = max(0, placed.timestamp - int(table.head[row]))
        cells = ticks * CELLS_A_SECOND // int(table.clock_hz[row])
        at_us = table.heard_us(row)
        table.heard[row] = table.fill[row]
        self._ears.forget(row)
        self.turns += [
            Turn(decision.row, decision.started, at_us - decision.cells_ago * CELL_US)
            for decision in self._detectors.miss(row, cells)
        ]


def recall(table: Table, leg: Leg) -> None:
    """Bring the leg's `Sequence` up to date with what the fast way has done since."""
    sequence, row = leg.sequence, leg.row
    sequence.next_sequence = int(table.next_sequence[row])
    sequence.next_timestamp = int(table.next_timestamp[row])
    sequence.head = int(table.head[row])
    sequence.transit_us = int(table.transit_us[row])


def expect(table: Table, leg: Leg, at_us: int) -> None:
    """Write into the table what the leg's next packet in order has, as of this call time."""
    sequence, row = leg.sequence, leg.row
    table.next_sequence[row] = sequence.next_sequence
    table.next_timestamp[row] = sequence.next_timestamp
    table.head[row] = sequence.head
    table.transit_us[row] = sequence.transit_us
    table.ssrc[row] = NEVER if sequence.ssrc is None else sequence.ssrc
    codec = leg.codecs.get(leg.payload_type)
    in_batches = codec is not None and codec.in_octets and codec.clock_hz == sequence.clock_hz
    table.payload_type[row] = leg.payload_type if in_batches and sequence.expecting else NEVER
    table.clock_hz[row] = sequence.clock_hz
    table.expect_from(row, leg.rule.current)
    table.latching[row] = leg.rule.may_latch(at_us)
    table.tally[row, TALLY["lost"]] = sequence.lost
    table.tally[row, TALLY["duplicate"]] = sequence.duplicate
    table.tally[row, TALLY["late"]] = sequence.late
    table.tally[row, TALLY["out_of_order"]] = sequence.out_of_order
    table.discarded[row] += sequence.discarded
    sequence.discarded = 0
