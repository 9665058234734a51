"""Deleting without haste: write transactions of some milliseconds each, and longer pauses between them for others.

A catalogue has one writer at a time, and nobody waits for a sweep; a call that comes in does wait to be saved. How much
goes into a transaction follows from what the ones before took, which differs between machines, disks and rows. Without
pauses the sweep would take the lock again before those who wait for it have woken up.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection

from storage.catalogue import Catalogue

AIM_S = 0.01
"""A transaction, its commit included: no longer than a call's own."""
PAUSE_S_MIN = 0.005
PAUSE_S_MAX = 0.5
"""Between two batches: no shorter than it takes another thread to wake up, and no longer than would help anybody."""
PAUSE_SHARE = 2.0
"""Of what the batch before took: so two of three calls that come find nobody writing."""
_SMALLEST_PART = 4
"""Of the largest: what the first transaction is given, and no less later. With less it would mostly be commits, which
take as long for little as for much."""

Item = TypeVar("Item")


class Pace:
    """The write transactions of one sweep."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._took_s = 0.0

    def parts(self, items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
        """The items, at most so many at a time and mostly as many as one transaction of `writing` should do."""
        at, least = 0, max(1, most // _SMALLEST_PART)
        size = least
        while at < len(items):
            part = items[at : at + size]
            yield part
            at += len(part)
            if self._took_s > AIM_S:
                size = max(least, size // 2)
            elif self._took_s < AIM_S / 2:
                size = min(most, 2 * size)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction, after a pause that follows from what the one before it took."""
        if self._took_s:
            time.sleep(min(max(PAUSE_SHARE * self._took_s, PAUSE_S_MIN), PAUSE_S_MAX))
        began_s = time.monotonic()
        try:
            with self._catalogue.writing() as connection:
                began_s = time.monotonic()  # not counting the wait for others
                yield connection
        finally:
            self._took_s = time.monotonic() - began_s
