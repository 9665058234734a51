"""Dead media: tells again and again of a peer that is silent for too long. RTP of any kind and RTCP are life."""

from __future__ import annotations

import numpy as np

from media.legs import Leg, Table
from media.messages import Quiet

NS_PER_US = 1000


class Watch:
    """Looks at the last signs of life in a table's rows."""

    def __init__(self, table: Table, legs: list[Leg | None]) -> None:
        self._table = table
        self._legs = legs

    def expect(self, row: int, quiet_s: float, at_us: int) -> None:
        """The row's peer may be silent for so long, from this call time on; 0 for ever."""
        table = self._table
        table.quiet_us[row] = round(quiet_s * 1_000_000)
        table.life_us[row] = max(int(table.life_us[row]), at_us)

    def look(self, now_ns: int) -> list[Quiet]:
        """The silences that have lasted too long since the last sign of life, or since they were last told."""
        table = self._table
        now_us = (now_ns - table.origin_ns) // NS_PER_US
        last_us = np.maximum(table.life_us, table.arrival_us)
        silent = now_us - np.maximum(last_us, table.told_us) > table.quiet_us
        due = np.flatnonzero(silent & (table.quiet_us > 0) & (table.origin_ns > 0))
        table.told_us[due] = now_us[due]
        found = [(self._legs[row], int(last_us[row])) for row in due.tolist()]
        return [Quiet(leg.number, since_us) for leg, since_us in found if leg is not None]
