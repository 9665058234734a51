"""What the object store needs beside uploads: its peculiarities said at start, and later what could not go before."""

from __future__ import annotations

import logging

from storage.checks import remarks
from storage.errors import StoreError
from storage.recordings import Recordings

log = logging.getLogger(__name__)


def say_remarks(objects_url: str) -> None:
    """Logs what an operator should know of the store, such as locks, versions, or that it is away. Asks it: slow."""
    for code, text in remarks(objects_url):
        log.warning("object store remark", extra={"remark": code, "means": text})


def tidy(recordings: Recordings) -> None:
    """Finishes erasures that could not sweep, and deletes objects whose lock has ended; hourly. What fails waits."""
    try:
        erasures = recordings.resume_erasures()
        objects = recordings.sweep_leftovers()
    except StoreError as error:
        log.warning("object store not tidied, it is tried again", extra={"reason": type(error).__name__})
        return
    if erasures or objects:
        log.info("object store tidied", extra={"erasures": erasures, "objects": objects})
