"""The uploader's process: seals slices from the spool and hands them to the object store, apart from the tick."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Sequence

from gateway.calls.losses import name_losses
from gateway.processes.child import settings_from_stdin
from gateway.processes.opening import open_recordings
from gateway.processes.upload_report import Report
from storage.errors import StoreError
from storage.uploader import Uploader

log = logging.getLogger(__name__)

IDLE_S = 0.25  # between two looks at the spool: what ends meanwhile shares a transaction, no download waits
DRAIN_S = 10.0  # at shutdown, for what the media worker committed last


def main() -> None:
    """Run until standard input ends, then seal what is left, within a limit."""
    settings, stop = settings_from_stdin()
    recordings = open_recordings(settings, node="uploader")
    uploader = Uploader(
        recordings.spool_folder,
        recordings.slices,
        recordings.objects,
        on_closing=lambda due: name_losses(recordings, due),
    )
    report = Report()
    deadline: float | None = None
    while True:
        if stop.is_set() and deadline is None:
            deadline = time.monotonic() + DRAIN_S
        busy = _step(uploader, report)
        if deadline is not None and (not busy or time.monotonic() > deadline):
            break
        if not busy:
            stop.wait(IDLE_S)
            if deadline is not None:
                time.sleep(IDLE_S)
    uploader.close()
    recordings.close()


def _step(uploader: Uploader, report: Report) -> bool:
    """One look at the spool; whether anything was done."""
    now_s = time.monotonic()
    try:
        progress = uploader.step(now_s)
    except StoreError:
        log.exception("uploading failed, it is tried again")
        return False
    _say(report.lines(progress, uploader.uploads, now_s))
    return progress.busy


def _say(lines: Sequence[dict[str, object]]) -> None:
    """To the gateway. If it is gone nobody listens any more, and what is in the spool is sealed all the same."""
    try:
        for line in lines:
            sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
