"""Hearing codecs whose frames build on each other: a decoder for each leg, for detection only.

G.722 comes in cells like G.711, only decoded apart. Opus packets last as long as they say: they wait here until they
are opened, in order, and then heard. Where something else knows whether a packet has a voice in it (the level that
RFC 6464 lets a sender tell), that stands in for decoding it; where keys' tones are looked for, only silence does.
What the time does not allow is not heard: the speech detector is shed before audio.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from media.codecs import BY_NUMBER, Decoder, Stateful
from media.codecs.g711 import Octets, Samples
from media.legs import CELL_US, Int64s, Table, Turn
from media.vad import CELL_SAMPLES, Detectors

WIDE_HZ = 16_000  # what is heard of wideband: the detector itself looks at 80 Hz to 4 kHz
WAITING_MAX = 64  # packets of one leg; beyond, the oldest are forgotten, as a detector that late is of no use
_CELL_SAMPLES = WIDE_HZ * CELL_US // 1_000_000
_NOTHING: Samples = np.zeros(0, np.int16)
_NO_CELLS: Samples = np.zeros((0, CELL_SAMPLES), np.int16)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A packet that is not yet heard: its media and call times; `voiced` where that is known without decoding."""

    codec: int
    payload: bytes
    start: int
    end_us: int
    voiced: bool | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A packet in which keys' tones are looked for: its media time, and the cells that are complete with it.

    They are rows of 160 samples at 8 kHz; `rest` is what came behind the last one. `samples` are the packet's own.
    """

    payload: bytes
    start: int
    end: int
    end_us: int
    samples: Samples
    cells: Samples
    rest: int

    def samples_before_end(self, cell: int) -> int:
        """How far the end of a cell lies before the packet's."""
        return self.rest + (len(self.cells) - 1 - cell) * CELL_SAMPLES


class Cell(NamedTuple):
    """20 ms that were heard, up to this call time."""

    voiced: bool
    end_us: int


@dataclass(slots=True)
class _Ear:
    """What a leg needs to be heard."""

    codec: int
    decoder: Decoder
    waiting: deque[_Waiting] = field(default_factory=lambda: deque(maxlen=WAITING_MAX))
    opened: deque[tuple[_Waiting, Samples]] = field(default_factory=lambda: deque(maxlen=WAITING_MAX))
    rest: Samples = field(default_factory=lambda: _NOTHING)  # of a cell that is not complete
    ticks: int = 0  # the same, of packets that need no decoding
    searched: Samples = field(default_factory=lambda: _NOTHING)  # the same at 8 kHz, of what is looked through
    passed: bytes = b""  # the last packet, if it was not decoded


class Ears:
    """The legs of a table, by row, that are received in such codecs."""

    def __init__(self, table: Table, detectors: Detectors) -> None:
        self._table = table
        self._detectors = detectors
        self._ears: dict[int, _Ear] = {}
        self._due: set[int] = set()

    @property
    def due(self) -> tuple[int, ...]:
        """The rows with packets to hear."""
        return tuple(self._due)

    def close(self, row: int) -> None:
        """Forget the leg of this row."""
        self._ears.pop(row, None)
        self._due.discard(row)

    def take(self, row: int, codec: int, payload: bytes, start: int, end_us: int, voiced: bool | None) -> None:
        """A packet that continues the last one, to be heard when there is time; `start` is its media time."""
        self._ear(row, codec).waiting.append(_Waiting(codec, payload, start, end_us, voiced))
        self._due.add(row)

    def forget(self, row: int) -> int:
        """What is not heard yet never will be; how many packets."""
        self._due.discard(row)
        ear = self._ears.get(row)
        if ear is None:
            return 0
        count = len(ear.waiting) + len(ear.opened)
        ear.waiting.clear()
        ear.opened.clear()
        ear.rest = ear.searched = _NOTHING
        return count

    def open(self, row: int) -> list[Opened]:
        """Decode what waits of a row that is looked through for keys' tones; what comes of it."""
        ear, found = self._ears.get(row), list[Opened]()
        while ear is not None and ear.waiting:
            packet = ear.waiting.popleft()
            end = packet.start + BY_NUMBER[packet.codec].ticks(packet.payload)
            if packet.voiced is False:
                ear.passed, ear.searched = packet.payload, _NOTHING
                ear.opened.append((packet, _NOTHING))
                found.append(Opened(packet.payload, packet.start, end, packet.end_us, _NOTHING, _NO_CELLS, 0))
                continue
            if ear.passed:  # a decoder must have heard what came right before
                _narrowed(ear, ear.passed)
            samples, ear.passed = _narrowed(ear, packet.payload), b""
            ear.opened.append((packet, samples))
            narrow = halved(samples)
            searched = np.concatenate((ear.searched, narrow))
            whole = len(searched) // CELL_SAMPLES * CELL_SAMPLES
            cells, ear.searched = searched[:whole].reshape(-1, CELL_SAMPLES), searched[whole:]
            found.append(Opened(packet.payload, packet.start, end, packet.end_us, narrow, cells, len(ear.searched)))
        return found

    def hear(self, row: int) -> list[Cell]:
        """The cells of a row's packets that wait, and of those that were opened."""
        self._due.discard(row)
        ear, found = self._ears[row], list[Cell]()
        while ear.opened or ear.waiting:
            packet, samples = ear.opened.popleft() if ear.opened else (ear.waiting.popleft(), None)
            if packet.voiced is not None:
                codec = BY_NUMBER[packet.codec]
                ticks = ear.ticks + codec.ticks(packet.payload)
                cells, ear.ticks = divmod(ticks, codec.clock_hz * CELL_US // 1_000_000)
                found += _ending([packet.voiced] * cells, packet.end_us)
                continue
            samples = np.concatenate((ear.rest, _narrowed(ear, packet.payload) if samples is None else samples))
            whole = len(samples) // _CELL_SAMPLES * _CELL_SAMPLES
            heard, ear.rest = samples[:whole].reshape(-1, _CELL_SAMPLES), samples[whole:]
            end_us = packet.end_us - len(ear.rest) * CELL_US // _CELL_SAMPLES
            voiced = [bool(self._detectors.voiced([row], cell.tobytes(), WIDE_HZ)[0]) for cell in heard]
            found += _ending(voiced, end_us)
        return found

    def decide(self, heard: dict[int, list[Cell]]) -> list[Turn]:
        """What the cells of rows decide: the first cells of all rows at once, then the second ones, and so on."""
        turns = list[Turn]()
        for rank in range(max(map(len, heard.values()), default=0)):
            now = {row: cells[rank] for row, cells in heard.items() if rank < len(cells)}
            turns += [
                Turn(decision.row, decision.started, now[decision.row].end_us - decision.cells_ago * CELL_US)
                for decision in self._detectors.learn(
                    list(now), np.array([cell.voiced for cell in now.values()], np.int64)
                )
            ]
        return turns

    def cells(self, rows: Int64s, cells: Octets) -> Samples:
        """These cells, one for each row in its codec, decoded at 16 kHz."""
        decoded = []
        for row, cell in zip(rows.tolist(), cells, strict=True):
            ear = self._ear(row, int(self._table.codec[row]))
            samples = _narrowed(ear, cell.tobytes())
            decoded.append(samples if len(samples) == _CELL_SAMPLES else np.zeros(_CELL_SAMPLES, np.int16))
        return np.concatenate(decoded)

    def _ear(self, row: int, number: int) -> _Ear:
        ear = self._ears.get(row)
        if ear is None or ear.codec != number:
            codec = BY_NUMBER[number]
            assert isinstance(codec, Stateful), "the others need no decoder of their own"
            ear = self._ears[row] = _Ear(number, codec.decoder())
        return ear


def _ending(voiced: list[bool], end_us: int) -> list[Cell]:
    """Cells that follow each other, up to this call time."""
    return [Cell(voice, end_us - (len(voiced) - 1 - index) * CELL_US) for index, voice in enumerate(voiced)]


def halved(samples: Samples) -> Samples:
    """At half the rate, as means of two: what folds over keys' tones (6.4 to 7.3 kHz) loses 12 dB."""
    return np.asarray((samples[::2].astype(np.int32) + samples[1::2]) >> 1, np.int16)


def narrowed(samples: Samples, rate_hz: int) -> Samples:
    """At 16 kHz. Means of neighbours will do: what is above 8 kHz is no voice to the detector."""
    factor = rate_hz // WIDE_HZ
    if factor == 1:
        return samples
    whole = samples[: len(samples) // factor * factor]
    return np.asarray(whole.reshape(-1, factor).mean(axis=1), np.int16)


def _narrowed(ear: _Ear, payload: bytes) -> Samples:
    return narrowed(ear.decoder.decode(payload), BY_NUMBER[ear.codec].sample_hz)
