"""Silences keys' tones before they are kept: in what is gathered, and in the chunks that have just been cut from it.

A cell that is a tone's is silenced with a margin on either side, for a tone begins and ends within cells. What lies
before it may be cut already; so the chunks of a leg that is masked are held for `HOLD_TICKS` before the sink gets them,
longer than it takes until the next cell comes. Payload is replaced octet for octet by the codec's silence: all else
stays as it was received, in its place. Frames that are touched are flagged, and the gap map names them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from media import framelog, tones
from media.codecs import PCMA, PCMU, plain
from media.codecs.g711 import Samples
from media.dtmf import Press
from media.framelog import REASON_MASK, Frames, Reason
from media.legs import CELL_US, REGION_BYTES, Int64s, Leg, Table, Windows
from media.messages import Pressed
from media.sink import Sink
from media.vad import CELL_SAMPLES

MARGIN = 2 * CELL_SAMPLES  # octets on either side: a cell that is partly a tone's, and the click of a key before it
HOLD_TICKS = 5  # 100 ms: a packet of 60 ms with 40 ms of jitter; of what comes later a tone's first 19 ms may be kept
SILENCE = {PCMA.number: 0xD5, PCMU.number: 0xFF}
"""The octet that is silence, of each codec whose tones are found and silenced."""

SEARCHED = np.array([number in SILENCE for number in range(256)])


@dataclass(slots=True)
class _Held:
    due: int
    leg: Leg
    start: int
    end: int
    chunk: bytes


@dataclass(slots=True)
class _Run:
    """A tone that is sounding: whose, since when (call time), for how many cells."""

    key: int
    at_us: int
    cells: int


class Masks:
    """Finds and silences the tones of those rows of a table that are to be masked; their chunks go out through here."""

    def __init__(self, table: Table, legs: list[Leg | None], sink: Sink) -> None:
        self._table = table
        self._legs = legs
        self._sink = sink
        self.pressed: list[Pressed] = []  # since the engine took them
        self._cells = Windows(table.pool).of(CELL_SAMPLES)
        self._held: deque[_Held] = deque()  # in order of their due ticks: a few chunks of each masked leg
        self._runs: dict[int, _Run] = {}  # by row
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

    def hear_rest(self, row: int) -> None:
        """All whole cells of a row that is cut before it was heard."""
        table = self._table
        if table.masking[row] and SEARCHED[table.codec[row]]:
            for at in range(int(table.heard[row]), int(table.fill[row]) - CELL_SAMPLES + 1, CELL_SAMPLES):
                self._hear(np.array([row]), np.array([at]), None)

    def hear_late(self, leg: Leg) -> None:
        """The leg's frames that came behind others and were never heard: silenced whole, if a tone is there or near."""
        table, row = self._table, leg.row
        if not table.masking[row] or not leg.late:
            return
        count = int(table.count[row])
        silenced = table.timestamps[row, :count][table.flags[row, :count] & REASON_MASK == Reason.MASKED]
        for i, placed in enumerate(leg.late):
            payload = placed.packet.payload
            octet = SILENCE.get(placed.packet.codec)
            near = np.abs(silenced - placed.timestamp) <= MARGIN + len(payload)
            if octet is not None and (near.any() or _sounds(placed.packet.codec, payload)):
                quiet = replace(placed.packet, payload=bytes([octet]) * len(payload))
                leg.late[i] = replace(placed, flags=placed.flags | Reason.MASKED, packet=quiet)

    def _hear(self, rows: Int64s, at: Int64s, samples: Samples | None) -> None:
        table = self._table
        found = tones.find(self._decoded(rows, at) if samples is None else samples)
        left = table.masked[rows]
        if not len(found.cells) and not left.any():
            return
        keys = dict(zip(found.cells.tolist(), found.keys.tolist(), strict=True))
        for i in sorted({*keys, *np.flatnonzero(left).tolist()}):
            row, offset = int(rows[i]), int(at[i])
            self._follow(row, keys.get(i), offset)
            if i in keys:
                self._silence(row, offset - MARGIN, offset + CELL_SAMPLES)
                table.masked[row] = MARGIN
            else:
                self._silence(row, offset, offset + min(CELL_SAMPLES, int(left[i])))
                table.masked[row] = max(0, int(left[i]) - CELL_SAMPLES)

    def _decoded(self, rows: Int64s, at: Int64s) -> Samples:
        octets = self._cells[rows * REGION_BYTES + at].view(np.uint8).reshape(-1, CELL_SAMPLES)
        codecs = self._table.codec[rows]
        samples = np.empty(octets.shape, np.int16)
        for number in np.unique(codecs).tolist():
            samples[codecs == number] = plain(number).decode(octets[codecs == number])
        return samples

    def _follow(self, row: int, key: int | None, offset: int) -> None:
        """Tell a key once its tone has ended, where keys are told."""
        leg, run = self._legs[row], self._runs.get(row)
        if run is not None and key == run.key:
            run.cells += 1
            return
        if run is not None:
            self.finish(row)
        if key is not None and leg is not None and leg.keys is not None:
            at_us = self._table.heard_us(row) + (offset - int(self._table.heard[row])) * CELL_US // CELL_SAMPLES
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
        table, base = self._table, row * REGION_BYTES
        at = int(table.begin[row])
        if start < at and (leg := self._legs[row]) is not None:
            self._silence_held(leg, at - start, at - min(end, at))
        for frame in range(int(table.count[row])):
            first, last = max(start, at), min(end, at + int(table.lengths[row, frame]))
            at += int(table.lengths[row, frame])
            if first < last:
                table.pool[base + first : base + last] = SILENCE.get(int(table.codecs[row, frame]), 0)
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

    def _silence_held(self, leg: Leg, first: int, last: int) -> None:
        """Silence the octets from `first` to `last` before the end of what was cut of the leg."""
        for held in reversed(self._held):
            if held.leg is leg and first > 0:
                chunk = framelog.decode(held.chunk)
                octets = len(chunk.frames.payload)
                if last < octets:
                    frames = _silenced(chunk.frames, octets - first, octets - last, leg)
                    head, noise = chunk.start, chunk.noise
                    about = {"written_us": chunk.written_us, "pending": chunk.pending, "tally": chunk.tally}
                    about["told"] = chunk.readings
                    held.chunk = framelog.encode(frames, head=head, noise=noise, **about)  # type: ignore[arg-type]
                first, last = first - octets, max(0, last - octets)


def _sounds(codec: int, payload: bytes) -> bool:
    """Whether any whole cell of a payload is a tone's."""
    samples = plain(codec).decode(payload[: len(payload) - len(payload) % CELL_SAMPLES])
    return bool(len(samples)) and bool(len(tones.find(_cells(samples.tobytes())).cells))


def _cells(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, np.int16).reshape(-1, CELL_SAMPLES)


def _silenced(frames: Frames, start: int, end: int, leg: Leg) -> Frames:
    """The frames with the payload octets [start, end) silenced; the leg's timeline is told."""
    payload, flags = bytearray(frames.payload), frames.flags.copy()
    ends = np.cumsum(frames.lengths)
    durations = frames.durations
    for i in np.flatnonzero((ends > start) & (ends - frames.lengths < end)).tolist():
        first, last = max(start, int(ends[i] - frames.lengths[i])), min(end, int(ends[i]))
        payload[first:last] = bytes([SILENCE.get(int(frames.codecs[i]), 0)]) * (last - first)
        began = int(frames.timestamps[i])
        continues = i > 0 and began == int(frames.timestamps[i - 1] + durations[i - 1])
        if continues and not flags[i] & REASON_MASK:  # the gap before any other has its reason there
            flags[i] |= Reason.MASKED
            leg.timeline.mask(began, began + int(durations[i]))
    return replace(frames, payload=bytes(payload), flags=flags)
