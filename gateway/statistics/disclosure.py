"""What of counts may be told, so that nobody can work out a count below `COUNT_MIN`.

Several tables count the same calls, each call in one cell of each. Every number is rounded down to a multiple of
`COUNT_MIN`, and what is 0 then is not told: nought and one below the minimum are the same to a reader. That alone would
not do, for a total less all other cells bounds what is left, and where the remainders are as large as they can be, to
a single value. So the total gives way, and with it the largest cells of tables that add up to more than it, until
each table lies so far below the total as it could with any remainders (complementary suppression).

Then, with k for `COUNT_MIN`, m cells in a table and s what they add up to: of whatever is told, each cell may have had
any value of the k that are rounded to what it shows, all other tables and the total being told just so. For the m - 1
other remainders can make up any difference, as they can be anything from 0 to (m - 1)(k - 1), and total - s is never
more than k(m - 2). It needs 2 <= m <= k + 1. A reader who knows these rules knows no more: what gives way is
told as other calls would be told of which nothing has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

COUNT_MIN = 10
"""Fewer calls than these are not told apart from none."""

Counts = Mapping[str, Mapping[str, int]]
"""Table → cell → calls; also those cells that nothing fell into."""


@dataclass(frozen=True, slots=True)
class Told:
    """What may be told of one period: all numbers are multiples of the minimum, 0 where nothing is told."""

    total: int
    tables: Mapping[str, Mapping[str, int]]


def disclose(counts: Counts, count_min: int = COUNT_MIN) -> Told:
    """What may be told of these counts. The tables add up to the same; ValueError if they do not, or have too few or
    too many cells."""
    totals = {sum(table.values()) for table in counts.values()}
    if len(totals) != 1 or not all(2 <= len(table) <= count_min + 1 for table in counts.values()):
        raise ValueError("tables count the same calls, in two cells or more and not in too many")
    steps = {name: {cell: n // count_min for cell, n in table.items()} for name, table in counts.items()}
    most = min(sum(table.values()) + len(table) - 2 for table in steps.values())
    total = min(totals.pop() // count_min, most)
    for table in steps.values():
        while sum(table.values()) > total:
            table[max(table, key=lambda cell: table[cell])] -= 1
    tables = {name: {cell: n * count_min for cell, n in table.items()} for name, table in steps.items()}
    return Told(total * count_min, tables)


def added(parts: list[Told]) -> Told:
    """Several periods together, from what is told of each: nothing that they do not tell."""
    tables: dict[str, dict[str, int]] = {}
    for part in parts:
        for name, table in part.tables.items():
            whole = tables.setdefault(name, {})
            for cell, count in table.items():
                whole[cell] = whole.get(cell, 0) + count
    return Told(sum(part.total for part in parts), tables)
