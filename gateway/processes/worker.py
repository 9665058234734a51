"""The transcription worker's process: as a child of `serve`, or by hand as `callvault worker`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from os import getpid, kill

from gateway.config import Settings, from_environment
from gateway.errors import ConfigError
from gateway.operations import logs
from gateway.processes.child import settings_from_stdin
from gateway.processes.guarding import protect_memory
from gateway.processes.opening import open_recordings
from gateway.processes.queue_address import queue_address
from storage.errors import StoreError
from transcription.engines import open_engine
from transcription.redaction.rampart import open_names
from transcription.serving import run
from transcription.worker import Worker

AGAIN_S = 0.5


def command(arguments: argparse.Namespace) -> int:
    """Transcribe beside a running `serve` on the same data folder, until SIGTERM or SIGINT."""
    try:
        settings = from_environment(arguments.config, {"data": arguments.data}).settings
    except ConfigError as error:
        sys.stderr.writelines(f"callvault: {problem}\n" for problem in error.problems)
        return 2
    logs.start(settings.log.level)
    protect_memory()
    try:
        work(settings)
    except StoreError as error:
        sys.stderr.write(f"callvault: {error}\n")
        return 1
    return 0


def main() -> None:
    """As a child: the end of standard input is the order to stop, handed on as the signal that `run` waits for."""
    settings, stop = settings_from_stdin()

    def hand_on() -> None:
        stop.wait()
        while True:  # the signal is ignored until `run` waits for it, and loading takes its time
            kill(getpid(), signal.SIGTERM)
            time.sleep(AGAIN_S)

    threading.Thread(target=hand_on, name="stop", daemon=True).start()
    work(settings, _tell)


def work(settings: Settings, tell: Callable[[Mapping[str, object]], None] = lambda _event: None) -> None:
    """Take jobs and do them; does not return."""
    recordings = open_recordings(settings, node="transcription", transcribing=True)
    models = settings.transcription
    worker = Worker(recordings, lambda: open_engine(models.model), lambda: open_names(models.names_model), tell)
    run(worker, recordings, queue_address(settings))


def _tell(event: Mapping[str, object]) -> None:
    """A line for the gateway; one that is gone hears nothing, and ends us by our standard input."""
    with suppress(OSError):
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
