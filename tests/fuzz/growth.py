"""How a run of a target fares: inputs, time, and whether the process grows once it is warm."""

from __future__ import annotations

import time
from pathlib import Path

WARM_SHARE = 0.2
"""Of a run: caches of the program, and the fuzzer's own tables of coverage, fill in the beginning."""

SAMPLE_S = 1.0


def resident_mib() -> float:
    """What the process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class Growth:
    """One run of so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
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
        now = time.monotonic()
        if now - self._sampled < SAMPLE_S:
            return
        self._sampled = now
        self._last_mib = resident_mib()
        if not self._warm_mib and now - self._began >= self._warm_s:
            self._warm_mib = self._last_mib

    @property
    def over(self) -> bool:
        """True once, when the time is up."""
        if self._told or time.monotonic() - self._began < self._seconds:
            return False
        self._told = True
        return True

    def report(self, name: str) -> str:
        """One line."""
        wall_s, cpu_s = time.monotonic() - self._began, time.process_time()
        return (
            f"{name}: {self._inputs} inputs in {wall_s:.0f} s ({cpu_s:.0f} s of CPU)"
            f", longest {self._longest_s * 1e3:.1f} ms"
            f", resident {self._warm_mib:.0f} MiB when warm, {self._last_mib:.0f} MiB at the end"
        )
