"""How a run of a target fares: inputs, time, and whether the process grows once it is warm."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

WARM_SHARE = 0.2
"""Of a run: caches of the program, and the fuzzer's own tables of coverage, fill in the beginning."""

SAMPLE_S = 1.0

GROWTH_MIB_MAX = 32.0
"""From warm to the end: what is remembered on purpose (caches, new inputs) takes less, a leak in each input more."""


class Grown(Exception):
    """The process kept more and more."""


def resident_mib() -> float:
    """What the process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class Growth:
    """One run of so many seconds."""

    def __init__(
        self,
        seconds: float,
        now: Callable[[], float] = time.monotonic,
        resident_mib: Callable[[], float] = resident_mib,
    ) -> None:
        self._now = now
        self._resident_mib = resident_mib
        self._began = now()
        self._warm_s = WARM_SHARE * seconds
        self._seconds = seconds
        self._told = False
        self._sampled = self._began
        self._warm_mib = 0.0
        self._last_mib = 0.0
        self._inputs = 0
        self._longest_s = 0.0

    def took(self, cpu_s: float) -> None:
        """An input was run, in so many seconds of its thread."""
        self._inputs += 1
        self._longest_s = max(self._longest_s, cpu_s)
        now = self._now()
        if now - self._sampled < SAMPLE_S:
            return
        self._sampled = now
        self._last_mib = self._resident_mib()
        if not self._warm_mib and now - self._began >= self._warm_s:
            self._warm_mib = self._last_mib

    @property
    def over(self) -> bool:
        """True once, when the time is up."""
        if self._told or self._now() - self._began < self._seconds:
            return False
        self._told = True
        return True

    def report(self, name: str) -> str:
        """One line. Raises `Grown`, with the same."""
        wall_s, cpu_s = self._now() - self._began, time.process_time()
        text = (
            f"{name}: {self._inputs} inputs in {wall_s:.0f} s ({cpu_s:.0f} s of CPU)"
            f", longest {self._longest_s * 1e3:.1f} ms"
            f", resident {self._warm_mib:.0f} MiB when warm, {self._last_mib:.0f} MiB at the end"
        )
        if self._warm_mib and self._last_mib - self._warm_mib > GROWTH_MIB_MAX:
            raise Grown(text)
        return text
