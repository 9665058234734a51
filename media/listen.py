"""Speech detection in the tick: decodes what has been gathered, 20 ms cells of all legs at once, and hears them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from media.cells import ENDED, STARTED, TONE, Cells
from media.codecs import BY_NUMBER, Plain, plain
from media.codecs.g711 import Octets
from media.ears import Cell, Ears
from media.legs import CELL_US, REGION_BYTES, Int64s, Leg, Table, Turn, Windows
from media.masking import Masks
from media.messages import Speech
from media.native import CORE, Core
from media.vad import CELL_SAMPLES, HANGOVER, Decision, Detectors

BATCH = 256  # cells heard between two looks at the clock: 0.5 to 1 ms
_PLAIN = np.array([isinstance(BY_NUMBER.get(number), Plain) for number in range(256)])
SILENT_US = (HANGOVER + 2) * CELL_US  # nothing has come for the hangover and a jittery packet: speech has ended


class Listener:
    """Hears every cell of a table once, in order; sheds what the time does not allow."""

    def __init__(
        self,
        table: Table,
        detectors: Detectors,
        ears: Ears,
        masks: Masks,
        clock: Callable[[], int],
        core: Core | None = CORE,
    ) -> None:
        self._table = table
        self._ears = ears
        self._detectors = detectors
        self._masks = masks
        self._clock = clock
        self._cells = Windows(table.pool).of(CELL_SAMPLES)
        self._by_core = None if core is None else Cells(core, table, detectors)

    def listen(self, deadline_ns: int) -> list[Turn]:
        """What the new cells decide. Cells that are not reached by the deadline are never heard."""
        table, heard = self._table, dict[int, list[Cell]]()
        for row in self._ears.due:
            if self._clock() > deadline_ns:
                self._shed()
                break
            heard[row] = self._ears.hear(row)
        turns = self._ears.decide(heard)
        while True:
            waiting = np.flatnonzero(table.fill - table.heard >= CELL_SAMPLES)
            if not len(waiting):
                return turns
            for at in range(0, len(waiting), BATCH):
                if self._clock() > deadline_ns:
                    self._shed()
                    return turns
                turns += self._hear(waiting[at : at + BATCH])

    def silent(self, now_ns: int) -> list[Turn]:
        """Speech that has ended because its leg has fallen silent without a word."""
        table = self._table
        nothing = (now_ns - table.origin_ns) // 1000 - table.arrival_us > SILENT_US
        turns = []
        for row in self._detectors.quiet_for_long(nothing):
            at_us = table.heard_us(row)
            turns += [
                Turn(row, decision.started, at_us - decision.cells_ago * CELL_US)
                for decision in self._detectors.miss(row, HANGOVER)
            ]
        return turns

    def _hear(self, rows: Int64s) -> list[Turn]:
        table = self._table
        if self._by_core is not None and _PLAIN.take(table.codec[rows]).all():
            return self._hear_by_core(self._by_core, rows)
        cells = self._cells[rows * REGION_BYTES + table.heard[rows]].view(np.uint8).reshape(-1, CELL_SAMPLES)
        codecs = table.codec[rows]
        alone = _PLAIN.take(codecs)
        if alone.all():
            pcm = _decoded(cells, codecs)
            decisions = self._detectors.hear(rows.tolist(), pcm)
            self._masks.hear(rows, pcm)
        else:
            pcm = _decoded(cells[alone], codecs[alone])
            decisions = self._detectors.hear(rows[alone].tolist(), pcm)
            self._masks.hear(rows[alone], pcm)
            decisions += self._detectors.learn(rows[~alone].tolist(), self._ears.cells(rows[~alone], cells[~alone]))
        table.heard[rows] += CELL_SAMPLES
        return [self._turn(decision) for decision in decisions]

    def _hear_by_core(self, cells: Cells, rows: Int64s, *, voices: bool = True) -> list[Turn]:
        """The same in the native core, which passes the cells by itself; without `voices` tones are silenced only."""
        telling, told = cells.hear(rows, voices=voices)
        if not len(telling):
            return []
        if len(tones := rows[telling[(told & TONE) != 0]]):
            self._masks.look(tones, self._table.heard[tones] - CELL_SAMPLES)
        turned = np.flatnonzero(told & (STARTED | ENDED))
        started = ((told[turned] & STARTED) != 0).tolist()
        return [
            self._turn(self._detectors.decided(row, started=begins))
            for row, begins in zip(rows[telling[turned]].tolist(), started, strict=True)
        ]

    def _turn(self, decision: Decision) -> Turn:
        at_us = self._table.heard_us(decision.row) - decision.cells_ago * CELL_US
        return Turn(decision.row, decision.started, at_us)

    def _shed(self) -> None:
        """Skip all whole cells that wait: a detector that is late is of no use. Tones are silenced all the same."""
        table = self._table
        while len(waiting := np.flatnonzero(table.fill - table.heard >= CELL_SAMPLES)):
            table.shed += len(waiting)
            if self._by_core is not None and _PLAIN.take(table.codec[waiting]).all():
                self._hear_by_core(self._by_core, waiting, voices=False)
                continue
            for at in range(0, len(waiting), BATCH):
                self._masks.hear(waiting[at : at + BATCH])
            table.heard[waiting] += CELL_SAMPLES
        table.shed += sum(self._ears.forget(row) for row in self._ears.due)


def _decoded(cells: Octets, codecs: Octets) -> bytes:
    """The samples of cells, each in its codec, 16-bit native."""
    octets = cells.view(np.uint16)
    first = int(codecs[0]) if len(codecs) else 0
    if (codecs == first).all():
        return plain(first).pairs.take(octets).tobytes()
    samples = np.empty(octets.shape, np.uint32)
    for number in np.unique(codecs).tolist():
        which = codecs == number
        samples[which] = plain(number).pairs.take(octets[which])
    return samples.tobytes()


def told(turns: Sequence[Turn], table: Table, legs: Sequence[Leg | None], decided_ns: int) -> list[Speech]:
    """The turns as events; legs that have closed meanwhile have said their last."""
    events = []
    for turn in turns:
        leg = legs[turn.row]
        if leg is not None:
            stamp_ns = int(table.stamp_ns[turn.row])
            events.append(Speech(leg.number, turn.started, max(0, turn.at_us), stamp_ns, decided_ns))
    return events
