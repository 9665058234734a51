"""What the processes of an installation use, by role, read from /proc (proc(5)).

CPU comes in the kernel's ticks of 10 ms, which is fine for runs of seconds. Memory is PSS, so that pages which several
processes share are counted once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
ROLES: dict[str, str] = {
    "gateway.processes.media": "media",
    "gateway.processes.webrtc": "webrtc",
    "gateway.processes.uploader": "uploader",
    "gateway.processes.worker": "transcription",
    "nats-server": "nats",
}
"""What a command line contains, and the role that it tells; the process that was started is the gateway itself."""
_UTIME, _STIME, _CSTIME, _PPID = 11, 12, 14, 1  # fields of /proc/PID/stat after the name, which may hold blanks


@dataclass(frozen=True, slots=True)
class Use:
    """CPU used so far by every live process of an installation, in seconds, by role; and when that was (seconds)."""

    at_s: float
    cpu_s: Mapping[str, float]
    pids: frozenset[int]

    @property
    def total_s(self) -> float:
        """Of all roles."""
        return sum(self.cpu_s.values())

    def since(self, former: Use) -> dict[str, float]:
        """CPU seconds by role between two readings."""
        return {role: spent - former.cpu_s.get(role, 0.0) for role, spent in self.cpu_s.items()}


def cpu(root: int) -> Use:
    """CPU of a process and all its descendants."""
    spent: dict[str, float] = {}
    family = _family(root)
    for pid in family:
        try:
            fields = _stat(pid)
        except OSError:
            continue  # it ended meanwhile; the set of pids tells
        role = _role(pid, root)
        spent[role] = spent.get(role, 0.0) + (int(fields[_UTIME]) + int(fields[_STIME])) / TICKS_PER_S
    return Use(time.monotonic(), spent, frozenset(family))


def children_s(root: int) -> float:
    """CPU seconds of a process's children and theirs, with those that they have waited for."""
    total = 0
    for pid in _family(root)[1:]:
        with suppress(OSError):
            total += sum(map(int, _stat(pid)[_UTIME : _CSTIME + 1]))
    return total / TICKS_PER_S


def pss_mb(root: int) -> dict[str, float]:
    """Proportional set size by role, in MB (10⁶ bytes); empty where the kernel does not let us read it.

    callvault's processes are not dumpable, because they hold keys: only root may look.
    """
    used: dict[str, float] = {}
    for pid in _family(root):
        try:
            lines = PROC.joinpath(str(pid), "smaps_rollup").read_text().splitlines()
        except PermissionError:
            return {}
        except OSError:
            continue
        kib = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
        role = _role(pid, root)
        used[role] = used.get(role, 0.0) + kib * 1024 / 1e6
    return used


def pids(root: int, roles: Container[str]) -> list[tuple[int, str]]:
    """The processes of these roles, for a profiler."""
    family = ((pid, _role(pid, root)) for pid in _family(root))
    return [(pid, role) for pid, role in family if role in roles]


def _family(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat(int(entry.name))[_PPID]), []).append(int(entry.name))
            except OSError:
                continue
    family = [root]
    for pid in family:
        family += children.get(pid, [])
    return family


def _stat(pid: int) -> list[str]:
    return PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()


def _role(pid: int, root: int) -> str:
    if pid == root:
        return "gateway"
    try:
        command = PROC.joinpath(str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        command = ""
    return next((role for mark, role in ROLES.items() if mark in command), "other")
