"""Which source each leg behind NAT takes: told when it changes, so that another worker can go on with the same one."""

from __future__ import annotations

import numpy as np

from media.legs import NEVER, Leg, Table
from media.messages import Latched


class Latches:
    """Looks at the sources in a table's rows."""

    def __init__(self, table: Table, legs: list[Leg | None]) -> None:
        self._table = table
        self._legs = legs
        self._told = np.full(table.rows, NEVER, np.int64)

    def know(self, row: int, source: int) -> None:
        """A leg begins in the row; this source it was told itself."""
        self._told[row] = source

    def look(self) -> list[Latched]:
        """The sources that were not told yet."""
        changed = np.flatnonzero(self._table.source != self._told)
        self._told[changed] = self._table.source[changed]
        found = [(self._legs[row], int(self._told[row])) for row in changed.tolist()]
        return [Latched(leg.number, source) for leg, source in found if leg is not None and leg.rule.nat]
