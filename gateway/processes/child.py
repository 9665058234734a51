"""The child's side of supervision: settings from standard input, and the end of it as the order to stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import threading
from pathlib import Path

from gateway.config import Settings
from gateway.operations import logs

PR_SET_DUMPABLE = 4
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # mlockall(2)
CAP_IPC_LOCK = 14  # capabilities(7): locks memory whatever the limit is


def settings_from_stdin() -> tuple[Settings, threading.Event]:
    """Read the settings line; the event is set when the parent closes our standard input, or dies."""
    logs.start()  # as the settings say once they are read
    protect_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    settings = Settings.model_validate_json(sys.stdin.readline())
    logs.set_level(settings.log.level)
    stop = threading.Event()

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        stop.set()

    threading.Thread(target=wait, name="parent", daemon=True).start()
    return settings, stop


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
