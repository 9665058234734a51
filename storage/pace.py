"""Deleting without haste: write transactions of some milliseconds each, and as long a pause after each for others.

A catalogue has one writer at a time, and nobody waits for a sweep; a call that comes in does wait to be saved. Without
pauses the sweep would take the lock again before those who wait for it have woken up.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from storage.catalogue import Catalogue

PAUSE_S_MIN = 0.002
PAUSE_S_MAX = 0.1
"""Between two batches: no shorter than it takes another thread to wake up, and no longer than would help anybody."""


class Pace:
    """The write transactions of one sweep."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._took_s = 0.0

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction, after a pause as long as the one before it took."""
        if self._took_s:
            time.sleep(min(max(self._took_s, PAUSE_S_MIN), PAUSE_S_MAX))
        began_s = time.monotonic()
        try:
            with self._catalogue.writing() as connection:
                began_s = time.monotonic()  # not counting the wait for others
                yield connection
        finally:
            self._took_s = time.monotonic() - began_s
