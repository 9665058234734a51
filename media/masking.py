"""Silences keys' tones before they are kept: in what is gathered, and in the chunks that have just been cut from it.

A cell that is a tone's is silenced with a margin on either side, for a tone begins and ends within cells. What lies
before it may be cut already; so the chunks of a leg that is masked are held for `HOLD_TICKS` before the sink gets
them, longer than it takes until the next cell comes. Payload is replaced by the codec's silence, octet for octet or,
with Opus, packet for packet: all else stays as it was received, in its place. Frames that are touched are flagged, and
the gap map names them.

What follows a tone must not tell of it either. G.722's predictors have forgotten it after `AFTER`; an Opus packet that
may repeat a silenced one (in-band FEC), or one that never came, is silenced too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from media import framelog, tones
from media.chunks import gathered, merged
from media.codecs import BY_NUMBER, CODECS, G722, Plain, Stateful, plain
from media.codecs.g711 import Samples
from media.disorder import AFTER_S, decoded, spans
from media.dtmf import Press
from media.ears import Ears, Opened, halved
from media.edges import EDGE_SAMPLES, sounding
from media.framelog import REASON_MASK, Frames, Reason
from media.legs import CELL_US, REGION_BYTES, Int64s, Leg, Table, Windows
from media.messages import Pressed
from media.sequence import Arrived
from media.silencing import SILENCE, quiet, rewritten, silenced, silenced_span
from media.sink import Sink
from media.tones import RATE_HZ
from media.vad import CELL_SAMPLES

MARGIN = 2 * CELL_SAMPLES  # octets on either side: a cell that is partly a tone's, and the click of a key before it
HOLD_TICKS = 5  # 100 ms: a packet of 60 ms with 40 ms of jitter; of what comes later a tone's first 19 ms may be kept
AFTER = {codec.number: 5 * CELL_SAMPLES if codec is G722 else MARGIN for codec in CODECS}
"""The margin behind, in octets: from 20 ms of what came after a tone its key could be told in G.722 (29 % right instead
of 6 %), from 60 ms no more. In Opus a frame tells of the one before it at most."""

HEARD_BEFORE = 2 * CELL_SAMPLES  # octets that are decoded again to hear what lies around a gap
DISTURBED = 3  # packets after a gap: what their decoder makes of them is not quite what was said
SEARCHED = np.array([number in SILENCE for number in range(256)])


@dataclass(slots=True)
class _Held:
    due: int
    leg: Leg
    start: int
    end: int
    chunk: bytes


@dataclass(slots=True)
class _Whole:
    """What is silenced of a row whose packets are whole or not at all: up to which media time; and its last packet."""

    until: int = -1
    end: int = -1
    next: int = -1
    silenced: bool = False
    disturbed: int = 0  # packets that its decoder still suffers for a gap
    samples: Samples = field(default_factory=lambda: np.zeros(0, np.int16))


@dataclass(slots=True)
class _Run:
    """A tone that is sounding: whose, since when (call time), for how many cells."""

    key: int
    at_us: int
    cells: int


class Masks:
    """Finds and silences the tones of those rows of a table that are to be masked; their chunks go out through here."""

    def __init__(self, table: Table, legs: list[Leg | None], ears: Ears, sink: Sink) -> None:
        self._table = table
        self._legs = legs
        self._ears = ears
        self._sink = sink
        self.pressed: list[Pressed] = []  # since the engine took them
        self._cells = Windows(table.pool).of(CELL_SAMPLES)
        self._held: deque[_Held] = deque()  # in order of their due ticks: a few chunks of each masked leg
        self._runs: dict[int, _Run] = {}  # by row, as are these:
        self._wholes: dict[int, _Whole] = {}
        self._before: dict[int, Frames] = {}  # the last chunk of those whose frames build on each other
        self._ticks = 0

    # Cells

    def hear(self, rows: Int64s, pcm: bytes | None = None) -> None:
        """The next cell of each row, before it is passed; `pcm` is what they decode to, where that is known."""
        table = self._table
        masked = table.masking[rows] & SEARCHED[table.codec[rows]]
        samples = None if pcm is None else _cells(pcm)
        if not masked.all():  # else nothing need be copied
            rows = rows[masked]
            samples = None if samples is None else samples[masked]
        if len(rows):
            self._hear(rows, table.heard[rows], samples)

    def look(self, rows: Int64s, at: Int64s) -> None:
        """The same for cells that begin at these offsets, all of rows that are to be masked."""
        self._hear(rows, at, None)

    def hear_packets(self, rows: Iterable[int]) -> None:
        """The packets that wait in the ears of those of these rows that are to be masked."""
        masking = self._table.masking
        opened = [(row, packet) for row in rows if masking[row] for packet in self._ears.open(row)]
        if not opened:
            return
        disturbed = [wrong for row, packet in opened for wrong in self._disturbed(row, packet)]
        keys: dict[int, int] = {}
        if disturbed:
            cells = np.concatenate([packet.cells for _, packet in opened])
            found = tones.find(cells, np.array(disturbed) if any(disturbed) else None)
            keys = dict(zip(found.cells.tolist(), found.keys.tolist(), strict=True))
        first = 0
        for row, packet in opened:
            mine = {at: keys[first + at] for at in range(len(packet.cells)) if first + at in keys} if keys else {}
            self._hear_packet(row, packet, mine)
            first += len(packet.cells)

    def hear_rest(self, row: int) -> None:
        """All whole cells and packets of a row that is cut, or of which something is missing, before it was heard."""
        table = self._table
        if not table.masking[row]:
            return
        if SEARCHED[table.codec[row]]:
            for at in range(int(table.heard[row]), int(table.fill[row]) - CELL_SAMPLES + 1, CELL_SAMPLES):
                self._hear(np.array([row]), np.array([at]), None)
        self.hear_packets((row,))

    def hear_gap(self, row: int, packet: Arrived) -> None:
        """What lies on either side of a gap: all before it that was not heard, and the packet that comes behind it."""
        self.hear_rest(row)
        table, codec = self._table, BY_NUMBER.get(int(self._table.codec[row]))
        if not table.masking[row] or codec is None or not codec.in_octets:
            return  # packets that are whole or nothing say themselves what came before them
        before = self._octets_before(row)
        octets = before + (packet.payload[:EDGE_SAMPLES] if packet.codec == codec.number else b"")
        samples, at, fill = decoded(codec, [octets])[0], len(before), int(table.fill[row])
        ends, begins = _sounding_edges(samples[:at], samples[at:])
        if ends or begins:
            self._silence(row, fill - MARGIN - EDGE_SAMPLES * ends, fill)
            table.masked[row] = AFTER[codec.number] + EDGE_SAMPLES * begins

    def hear_late(self, leg: Leg) -> None:
        """The leg's frames that came behind others and were never heard: silenced whole, if a tone is there or near."""
        table, row = self._table, leg.row
        if not table.masking[row]:
            return
        stateful = isinstance(BY_NUMBER.get(int(table.codec[row])), Stateful)
        if leg.late:
            self._hear_late(leg)
        if stateful:
            self._before[row] = merged(gathered(table, row), leg)  # a copy: the table's columns go on
        else:
            self._before.pop(row, None)

    def _hear_late(self, leg: Leg) -> None:
        frames = [gathered(self._table, leg.row)]
        if (before := self._before.get(leg.row)) is not None:
            frames.insert(0, before)
        around = merged(framelog.joined(frames), leg)
        sounding = spans(around, [placed.timestamp for placed in leg.late])
        for start, end in sounding:
            self._silence_span(leg.row, start, end)
            self._silence_until(leg.row, end)
        masked = around.timestamps[around.flags & REASON_MASK == Reason.MASKED]
        for i, placed in enumerate(leg.late):
            packet, start, end = placed.packet, placed.timestamp, placed.timestamp + placed.packet.duration
            far = packet.duration + round(AFTER_S * packet.clock_hz)
            near = bool((np.abs(masked - start) <= far).any()) or any(a < end and start < b for a, b in sounding)
            if near or _repeats(around, start):
                hushed = replace(packet, payload=BY_NUMBER[packet.codec].silent(packet.payload))
                leg.late[i] = replace(placed, flags=placed.flags | Reason.MASKED, packet=hushed)

    def _disturbed(self, row: int, packet: Opened) -> list[bool]:
        """For each cell of a packet, whether its decoder has missed something shortly before."""
        whole = self._wholes.setdefault(row, _Whole())
        whole.disturbed = DISTURBED if packet.start != whole.next else max(0, whole.disturbed - 1)
        whole.next = packet.end
        return [whole.disturbed > 0] * len(packet.cells)

    def _hear_packet(self, row: int, packet: Opened, keys: dict[int, int]) -> None:
        """What becomes of a packet in which, by its cells, these keys sound."""
        whole = self._wholes.setdefault(row, _Whole())
        codec = BY_NUMBER[int(self._table.codec[row])]
        assert isinstance(codec, Stateful), "the others have cells"
        ticks, start = codec.clock_hz // RATE_HZ, packet.start
        for at in keys:
            end = packet.end - packet.samples_before_end(at) * ticks
            start = min(start, end - (CELL_SAMPLES + MARGIN) * ticks)
            whole.until = end + AFTER[codec.number] * ticks
        if packet.start != whole.end:
            ends, begins = _sounding_edges(whole.samples, packet.samples)
            if ends or begins:
                start = min(start, whole.end - (MARGIN + EDGE_SAMPLES) * ticks)
                whole.until = max(whole.until, packet.start + MARGIN * ticks)
        hidden = packet.start < whole.until
        alone = packet.start != whole.end or whole.silenced
        if hidden or (alone and codec.repeats is not None and codec.repeats(packet.payload)):
            self._silence_span(row, start, packet.end)
        whole.silenced, whole.end, whole.samples = hidden, packet.end, packet.samples
        if keys or row in self._runs:
            for at in range(len(packet.cells)):
                ago_us = (packet.samples_before_end(at) + CELL_SAMPLES) * CELL_US // CELL_SAMPLES
                self._follow(row, keys.get(at), packet.end_us - ago_us)

    def _hear(self, rows: Int64s, at: Int64s, samples: Samples | None) -> None:
        table = self._table
        found = tones.find(self._decoded(rows, at) if samples is None else samples)
        left = table.masked[rows]
        if not len(found.cells) and not left.any():
            return
        keys = dict(zip(found.cells.tolist(), found.keys.tolist(), strict=True))
        for i in sorted({*keys, *np.flatnonzero(left).tolist()}):
            row, offset = int(rows[i]), int(at[i])
            ahead = offset - int(table.heard[row])
            self._follow(row, keys.get(i), table.heard_us(row) + ahead * CELL_US // CELL_SAMPLES)
            if i in keys:
                self._silence(row, offset - MARGIN, offset + CELL_SAMPLES)
                table.masked[row] = AFTER[int(table.codec[row])]
            else:
                self._silence(row, offset, offset + min(CELL_SAMPLES, int(left[i])))
                table.masked[row] = max(0, int(left[i]) - CELL_SAMPLES)

    def _decoded(self, rows: Int64s, at: Int64s) -> Samples:
        octets = self._cells[rows * REGION_BYTES + at].view(np.uint8).reshape(-1, CELL_SAMPLES)
        codecs = self._table.codec[rows]
        samples = np.empty(octets.shape, np.int16)
        for number in np.unique(codecs).tolist():
            which = codecs == number
            if isinstance(BY_NUMBER[number], Plain):
                samples[which] = plain(number).decode(octets[which])
            else:
                samples[which] = halved(self._ears.cells(rows[which], octets[which])).reshape(-1, CELL_SAMPLES)
        return samples

    def _octets_before(self, row: int) -> bytes:
        """The last octets that were kept of a row, as far as they are still here."""
        table, begin, fill = self._table, int(self._table.begin[row]), int(self._table.fill[row])
        octets = table.pool[row * REGION_BYTES : row * REGION_BYTES + fill].tobytes()
        leg = self._legs[row]
        held = next((held for held in reversed(self._held) if held.leg is leg), None)
        if len(octets) < HEARD_BEFORE and held is not None:
            frames = framelog.decode(held.chunk).frames
            if len(frames.codecs) and (frames.codecs == table.codec[row]).all():
                octets = frames.payload[: len(frames.payload) - begin] + octets
        return octets[-HEARD_BEFORE:]

    def _follow(self, row: int, key: int | None, at_us: int) -> None:
        """Tell a key once its tone has ended, where keys are told."""
        leg, run = self._legs[row], self._runs.get(row)
        if run is not None and key == run.key:
            run.cells += 1
            return
        if run is not None:
            self.finish(row)
        if key is not None and leg is not None and leg.keys is not None:
            self._runs[row] = _Run(key, max(0, at_us), 1)

    def finish(self, row: int) -> None:
        """The tone of a row that is sounding ends here."""
        leg, run = self._legs[row], self._runs.pop(row, None)
        if leg is not None and run is not None:
            symbol = tones.KEYS[run.key // 4][run.key % 4]
            press = Press(symbol, run.at_us, run.cells * CELL_US // 1000, "inband")
            self.pressed.append(Pressed(leg.number, press))

    def _silence(self, row: int, start: int, end: int) -> None:
        """Silence the octets [start, end) of the row's region; those before its beginning are in chunks."""
        table = self._table
        at = int(table.begin[row])
        if start < at and (leg := self._legs[row]) is not None:
            self._silence_held(leg, at - start, at - min(end, at))
        for frame in range(int(table.count[row])):
            first, last = max(start, at), min(end, at + int(table.lengths[row, frame]))
            if first < last:
                self._replace(row, frame, at, first - at, last - at)
            at += int(table.lengths[row, frame])

    def _silence_span(self, row: int, start: int, end: int) -> None:
        """Silence the frames that overlap the media time [start, end): in the row's region and in chunks."""
        table, at = self._table, int(self._table.begin[row])
        if (leg := self._legs[row]) is not None:
            for held in reversed(self._held):
                if held.leg is leg and held.end > start:
                    held.chunk = rewritten(held.chunk, partial(silenced_span, start=start, end=end, leg=leg))
        for frame in range(int(table.count[row])):
            length, first = int(table.lengths[row, frame]), int(table.timestamps[row, frame])
            offset = row * REGION_BYTES + at
            codec = BY_NUMBER[int(table.codecs[row, frame])]
            if first < end and first + codec.ticks(table.pool[offset : offset + length].tobytes()) > start:
                self._replace(row, frame, at, 0, length)
            at += length

    def _silence_until(self, row: int, end: int) -> None:
        """Silence what is still to come up to this media time."""
        if SEARCHED[self._table.codec[row]]:
            octets = end - int(self._table.head[row])
            self._table.masked[row] = max(int(self._table.masked[row]), octets)
        else:
            whole = self._wholes.setdefault(row, _Whole())
            whole.until = max(whole.until, end)

    def _replace(self, row: int, frame: int, at: int, first: int, last: int) -> None:
        """Silence the octets [first, last) of a frame whose payload is at this offset of its row's region."""
        table, begin = self._table, row * REGION_BYTES + at
        payload = table.pool[begin : begin + int(table.lengths[row, frame])]
        payload[:] = np.frombuffer(quiet(int(table.codecs[row, frame]), payload.tobytes(), first, last), np.uint8)
        if not table.flags[row, frame] & REASON_MASK:
            table.flags[row, frame] |= Reason.MASKED
        table.in_order[row] = False  # it is told to the timeline frame by frame

    # Chunks

    def append(self, leg: Leg, start: int, end: int, chunk: bytes) -> None:
        """A chunk for the sink: at once, or where its leg is masked, once it can be of a tone no more."""
        if self._table.masking[leg.row]:
            self._held.append(_Held(self._ticks + HOLD_TICKS, leg, start, end, chunk))
        else:
            self._sink.append(leg.number, start, end, chunk)

    def tick(self) -> None:
        """Give the sink what is due."""
        self._ticks += 1
        while self._held and self._held[0].due <= self._ticks:
            held = self._held.popleft()
            self._sink.append(held.leg.number, held.start, held.end, held.chunk)

    def close(self, leg: Leg) -> None:
        """Give the sink all that is held of a leg: nothing follows that could change it."""
        mine = [held for held in self._held if held.leg is leg]
        if mine:
            self._held = deque(held for held in self._held if held.leg is not leg)
        for held in mine:
            self._sink.append(leg.number, held.start, held.end, held.chunk)
        self._wholes.pop(leg.row, None)
        self._before.pop(leg.row, None)

    def _silence_held(self, leg: Leg, first: int, last: int) -> None:
        """Silence the octets from `first` to `last` before the end of what was cut of the leg."""
        for held in reversed(self._held):
            if held.leg is leg and first > 0:
                octets = len(framelog.decode(held.chunk).frames.payload)
                if last < octets:
                    change = partial(silenced, start=octets - first, end=octets - last, leg=leg)
                    held.chunk = rewritten(held.chunk, change)
                first, last = first - octets, max(0, last - octets)


def _cells(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, np.int16).reshape(-1, CELL_SAMPLES)


def _sounding_edges(before: Samples, behind: Samples) -> tuple[bool, bool]:
    """Whether a tone ends one stretch of samples or begins another."""
    edges = before[-EDGE_SAMPLES:], behind[:EDGE_SAMPLES]
    whole = [edge for edge in edges if len(edge) == EDGE_SAMPLES]
    found = iter(sounding(np.array(whole)) if whole else ())
    ends, begins = (len(edge) == EDGE_SAMPLES and next(found) for edge in edges)
    return ends, begins


def _repeats(frames: Frames, timestamp: int) -> bool:
    """Whether the frame of this timestamp may say again what is not among the frames, or is silenced."""
    i = int(np.searchsorted(frames.timestamps, timestamp))
    codec, begin = BY_NUMBER[int(frames.codecs[i])], int(frames.lengths[:i].sum())
    if not isinstance(codec, Stateful) or codec.repeats is None:
        return False
    ends = frames.timestamps + frames.durations
    there = i > 0 and int(ends[i - 1]) == timestamp and frames.flags[i - 1] & REASON_MASK != Reason.MASKED
    return not there and codec.repeats(frames.payload[begin : begin + int(frames.lengths[i])])
