"""The transcription worker's process: as a child of `serve`, or by hand as `callvault worker`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from os import getpid, kill

from gateway import logs
from gateway.child import protect_memory, settings_from_stdin
from gateway.config import Settings, from_environment
from gateway.errors import ConfigError
from storage.errors import StoreError
from storage.recordings import Recordings
from transcription.engines import open_engine
from transcription.worker import run


def command(arguments: argparse.Namespace) -> int:
    """Transcribe beside a running `serve` on the same data folder, until SIGTERM or SIGINT."""
    try:
        settings = from_environment(arguments.config, {"data": arguments.data}).settings
    except ConfigError as error:
        sys.stderr.writelines(f"callvault: {problem}\n" for problem in error.problems)
        return 2
    logs.start()
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
        kill(getpid(), signal.SIGTERM)

    threading.Thread(target=hand_on, name="stop", daemon=True).start()
    work(settings)


def work(settings: Settings) -> None:
    """Take jobs and do them; does not return."""
    recordings = Recordings.open(settings.data_folder, settings.keys_url, settings.objects_url, node="transcription")
    run(recordings, lambda: open_engine(settings.transcription.model), settings.data_folder / "queue")


if __name__ == "__main__":
    main()
