"""What has become of everything that a worker received since its start: the counters of its legs, open and closed."""

from __future__ import annotations

import numpy as np

from media.framelog import TALLY
from media.legs import Int64s, Table


class Totals:
    """Sums over the legs of one table; `close` before a row is cleared."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._tally: Int64s = np.zeros(len(TALLY), np.int64)  # of closed legs, as the others
        self._overflowed = self._unauthentic = self._replayed = 0

    def close(self, row: int) -> None:
        """The row's leg ends, and its counters stay."""
        table = self._table
        self._tally += table.tally[row]
        self._overflowed += int(table.overflowed[row])
        self._unauthentic += int(table.unauthentic[row])
        self._replayed += int(table.replayed[row])

    def counted(self, name: str) -> int:
        """A counter of `Tally`, but for the jitter."""
        index = TALLY[name]
        return int(self._tally[index] + self._table.tally[:, index].sum())

    @property
    def overflowed(self) -> int:
        """Datagrams dropped because a socket's buffer was full."""
        return self._overflowed + int(self._table.overflowed.sum())

    @property
    def unauthentic(self) -> int:
        """Packets of SRTP legs that their keys did not fit."""
        return self._unauthentic + int(self._table.unauthentic.sum())

    @property
    def replayed(self) -> int:
        """Packets of SRTP legs that came a second time, or too late to tell."""
        return self._replayed + int(self._table.replayed.sum())

    @property
    def shed(self) -> int:
        """Cells that were not heard, for lack of time."""
        return self._table.shed
