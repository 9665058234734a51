"""The child's side of supervision: settings from standard input, and the end of it as the order to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading

from gateway.config import Settings
from gateway.operations import logs
from gateway.processes.guarding import protect_memory


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
