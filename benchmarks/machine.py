"""The machine that figures were measured on, and what else it did meanwhile."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PACE_LOOPS = 300_000  # some 20 ms
PACE_RUNS = 5
PACE_SPREAD_MAX = 1.25
FOREIGN_SHARE_MAX = 0.05  # of the machine, by processes that are no part of a run: above it figures are void
STOLEN_SHARE_MAX = 0.05  # by other guests of the same host


@dataclass(frozen=True, slots=True)
class Load:
    """Counters of the whole machine.

    CPU seconds of all processes, of softirq (the network's, which the kernel charges to no process), and stolen by the
    host; UDP datagrams lost because a socket's buffer was full.
    """

    at_s: float
    busy_s: float
    softirq_s: float
    stolen_s: float
    datagrams_dropped: int


def load() -> Load:
    """Read the counters (proc(5): /proc/stat, /proc/net/snmp)."""
    ticks = os.sysconf("SC_CLK_TCK")
    user, nice, system, _idle, _iowait, irq, softirq, stolen = (
        int(word) / ticks for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return Load(time.monotonic(), user + nice + system + irq, softirq, stolen, _datagrams_dropped())


def describe() -> dict[str, object]:
    """CPU, cores, memory, kernel, Python: what a figure means nothing without."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    mhz = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("cpu MHz")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cpu": f"{model} at {float(mhz):.0f} MHz" if mhz else model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory, 1),
        "virtual": any("hypervisor" in line for line in cpuinfo if line.startswith("flags")),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def pace_ms() -> float:
    """CPU time of a fixed piece of Python, the median of some runs.

    A virtual machine's CPU time is not what it was a minute ago: neighbours share its caches and execution units. Runs
    whose pace differs cannot be compared.
    """
    times = []
    for _ in range(PACE_RUNS):
        start, total = time.thread_time(), 0
        for number in range(PACE_LOOPS):
            total += number & 7
        times.append(time.thread_time() - start)
    return round(1000 * sorted(times)[PACE_RUNS // 2], 2)


def disturbance(before: Load, after: Load, own_s: float) -> dict[str, float]:
    """Shares of the machine's time between two readings: foreign processes (`own_s` is ours), and stolen."""
    available_s = max(1e-9, (after.at_s - before.at_s) * (os.cpu_count() or 1))
    foreign_s = max(0.0, after.busy_s - before.busy_s - own_s)
    return {
        "foreign_share": round(foreign_s / available_s, 4),
        "stolen_share": round((after.stolen_s - before.stolen_s) / available_s, 4),
    }


def objections(shares: dict[str, float], paces_ms: Sequence[float] = ()) -> list[str]:
    """What makes a run doubtful: disturbance, or paces (of `pace_ms`, some during the run) that differ much."""
    found = []
    if shares["foreign_share"] > FOREIGN_SHARE_MAX:
        found.append(f"other processes took {shares['foreign_share']:.0%} of the machine")
    if shares["stolen_share"] > STOLEN_SHARE_MAX:
        found.append(f"the host withheld {shares['stolen_share']:.0%} of the machine")
    if paces_ms and max(paces_ms) > PACE_SPREAD_MAX * min(paces_ms):
        found.append(f"the CPU's own pace varied by {max(paces_ms) / min(paces_ms) - 1:.0%}")
    return found


def _datagrams_dropped() -> int:
    lines = Path("/proc/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return int(values[names.index("RcvbufErrors")])
