"""What a comparison of the store's parts found: findings, each with its weight, and how often there was one.

PENDING is under way, or waits for a process that is not running; LEFTOVER is needed by nobody and may be swept;
UNEXPLAINED should not be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

NAMED_MAX = 1_000
"""Findings of one sort that are named; more are counted. Whoever has more does not read them one by one."""

ORPHAN = "object that no slice names"
"""An upload that was cut off between object and row; its audio stands in another slice, or its sources are there."""


FOREIGN = "object that is none of ours"
"""Somebody else writes where only we should, or something is kept there that no erasure reaches."""


class Weight(StrEnum):
    """How much a finding weighs."""

    PENDING = "pending"
    LEFTOVER = "leftover"
    UNEXPLAINED = "unexplained"


class Finding(NamedTuple):
    """One thing that does not stand by itself: constant text, and the id or name that it is about."""

    weight: Weight
    what: str
    name: str


@dataclass(slots=True)
class Audit:
    """What one look found."""

    outcomes: Counter[str] = field(default_factory=Counter)  # calls by state
    slices: int = 0
    objects: int = 0
    object_bytes: int = 0
    hashes: int = 0  # objects that were read and compared
    jobs: int = 0  # in the outbox
    findings: dict[tuple[Weight, str], set[str]] = field(default_factory=dict)  # with the names of up to NAMED_MAX
    counts: Counter[tuple[Weight, str]] = field(default_factory=Counter)

    def find(self, weight: Weight, what: str, name: str) -> None:
        """Take note of a finding."""
        self.counts[weight, what] += 1
        names = self.findings.setdefault((weight, what), set())
        if len(names) < NAMED_MAX:
            names.add(name)

    def total(self, weight: Weight) -> int:
        """How many findings have that weight."""
        return sum(count for (of, _), count in self.counts.items() if of is weight)

    def named(self, weight: Weight) -> Iterator[Finding]:
        """Those of them that have a name."""
        for (of, what), names in sorted(self.findings.items()):
            if of is weight:
                yield from (Finding(of, what, name) for name in sorted(names))


def both(first: Audit, second: Audit) -> Audit:
    """The second look without what only it found: things move while they are looked at.

    What is pending needs no second look, and of a sort that has more than can be named, all are kept.
    """
    for key in list(second.findings):
        seen = first.findings.get(key, set())
        if key[0] is not Weight.PENDING and second.counts[key] <= NAMED_MAX and len(seen) < NAMED_MAX:
            second.findings[key] &= seen
            second.counts[key] = len(second.findings[key])
    return second
