"""Keeps the memory of a process, which holds keys and audio, out of core dumps and swap."""

from __future__ import annotations

import contextlib
import ctypes
import resource
from pathlib import Path

PR_SET_DUMPABLE = 4
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # mlockall(2)
CAP_IPC_LOCK = 14  # capabilities(7): locks memory whatever the limit is


def protect_memory() -> None:
    """No core dump of this process, which holds keys and audio (prctl(2), PR_SET_DUMPABLE), nor of what it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a program that is executed is dumpable again
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def lock_memory() -> bool:
    """Keep this process' memory, what it has and what it gets, out of any swap (mlockall(2)); whether it is kept.

    Pages are locked as they are used, so it takes no more memory than before. Where locked memory is limited it is not
    tried: at the limit every allocation would fail. Some milliseconds, once.
    """
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if hard != resource.RLIM_INFINITY and not may_lock(Path("/proc/self/status")):
        return False
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    failed: int = ctypes.CDLL(None).mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)
    return not failed


def may_lock(status: Path) -> bool:
    """Whether a process, by its `status` in /proc, may lock memory whatever its limit is."""
    try:
        words = next(line for line in status.read_text().splitlines() if line.startswith("CapEff:")).split()
    except (OSError, StopIteration):
        return False
    return bool(int(words[1], 16) >> CAP_IPC_LOCK & 1)
