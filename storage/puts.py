"""Stores sealed slices side by side, and remembers how the object store is doing."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from storage.cut import Cut
from storage.errors import Unavailable
from storage.objects import ObjectStore

PUTS_AT_ONCE = 8
"""Objects stored side by side: a store that takes 50 ms still takes 160 MiB/s."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Uploads:
    """What was put since the uploader began; failures are objects whose every attempt failed, and count each time."""

    count: int = 0
    failed: int = 0
    size: int = 0  # bytes
    seconds: float = 0.0  # that the successful ones took, one by one


class Puts:
    """A pool of threads that put objects. The store counts as away from the first time that it took none of several."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._pool = ThreadPoolExecutor(PUTS_AT_ONCE, thread_name_prefix="put")
        self._away_since_s: float | None = None
        self.uploads = Uploads()

    def store(self, cuts: Sequence[Cut], now_s: float) -> tuple[list[Cut], Unavailable | None]:
        """Those that are durable in the store now, in their order, and why others are not."""
        failed: Unavailable | None = None
        stored = []
        for cut, put in [(cut, self._pool.submit(self._put, cut)) for cut in cuts]:
            try:
                self.uploads.seconds += put.result()
            except Unavailable as error:
                failed = error
                self.uploads.failed += 1
            else:
                stored.append(cut)
                self.uploads.count += 1
                self.uploads.size += len(cut.sealed)
        if stored:
            self._away_since_s = None
        elif failed is not None and self._away_since_s is None:
            self._away_since_s = now_s
        return stored, failed

    def away_s(self, now_s: float) -> float | None:
        """For how long the store has been away, as far as was tried; None if it is not."""
        return None if self._away_since_s is None else now_s - self._away_since_s

    def discard(self, names: Sequence[str]) -> None:
        """Delete objects that no row names. What cannot be deleted now is an orphan, swept at a later start."""
        for name in names:
            try:
                self._objects.delete(name)
            except Unavailable:
                _log.warning("object left to be swept", extra={"object": name})

    def close(self) -> None:
        """End the threads, when they are done."""
        self._pool.shutdown()

    def _put(self, cut: Cut) -> float:
        begun = time.monotonic()
        self._objects.put(cut.name, cut.sealed)
        return time.monotonic() - begun
