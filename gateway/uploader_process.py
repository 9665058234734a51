"""The uploader's process: seals slices from the spool and hands them to the object store, apart from the tick."""

from __future__ import annotations

import json
import logging
import sys
import time

from gateway.child import settings_from_stdin
from storage.errors import StoreError
from storage.recordings import Recordings
from storage.uploader import Uploader

log = logging.getLogger(__name__)

IDLE_S = 0.25  # between two looks at the spool: what ends meanwhile shares a transaction, no download waits
DRAIN_S = 10.0  # at shutdown, for what the media worker committed last


def main() -> None:
    """Run until standard input ends, then seal what is left, within a limit."""
    settings, stop = settings_from_stdin()
    recordings = Recordings.open(settings.data_folder, settings.keys_url, settings.objects_url, node="uploader")
    uploader = Uploader(recordings.spool_folder, recordings.slices, recordings.objects)
    deadline: float | None = None
    while True:
        if stop.is_set() and deadline is None:
            deadline = time.monotonic() + DRAIN_S
        busy = _step(uploader)
        if deadline is not None and (not busy or time.monotonic() > deadline):
            break
        if not busy:
            stop.wait(IDLE_S)
            if deadline is not None:
                time.sleep(IDLE_S)
    uploader.close()
    recordings.close()


def _step(uploader: Uploader) -> bool:
    """One look at the spool; whether anything was done."""
    try:
        progress = uploader.step(time.monotonic())
    except StoreError:
        log.exception("uploading failed, it is tried again")
        return False
    if progress.stored:
        sys.stdout.write(json.dumps({"stored": progress.stored}) + "\n")
        sys.stdout.flush()
    return progress.busy


if __name__ == "__main__":
    main()
