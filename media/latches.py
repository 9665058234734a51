"""What another worker must know to go on with a leg, told when it changes: the source that it takes behind NAT, and the
rollover counter of its SRTP, without which nobody opens a packet of a call that has lasted 65,536 of them.
"""

from __future__ import annotations

import numpy as np

from media.legs import NEVER, Leg, Table
from media.messages import Latched, Rolled


class Latches:
    """Looks at the sources in a table's rows."""

    def __init__(self, table: Table, legs: list[Leg | None]) -> None:
        self._table = table
        self._legs = legs
        self._told = np.full(table.rows, NEVER, np.int64)
        self._rolled = np.zeros(table.rows, np.int64)

    def know(self, row: int, *, told: bool) -> None:
        """A leg begins in the row; whether its source, if it has any, is what it was told."""
        self._told[row], self._rolled[row] = self._table.source[row] if told else NEVER, 0

    def look(self) -> list[Latched | Rolled]:
        """What was not told yet."""
        return [*self._sources(), *self._rollovers()]

    def _rollovers(self) -> list[Rolled]:
        found = []
        for row in np.flatnonzero(self._table.secured).tolist():
            leg = self._legs[row]
            if leg is None or leg.protection is None or leg.sequence.ssrc is None:
                continue
            count = leg.protection.rollovers(leg.sequence.ssrc)
            if count != self._rolled[row]:
                self._rolled[row] = count
                found.append(Rolled(leg.number, leg.sequence.ssrc, count))
        return found

    def _sources(self) -> list[Latched]:
        changed = np.flatnonzero(self._table.source != self._told)
        self._told[changed] = self._table.source[changed]
        found = [(self._legs[row], self._table.numbers[row]) for row in changed.tolist()]
        return [Latched(leg.number, source) for leg, source in found if leg is not None and leg.rule.nat]
