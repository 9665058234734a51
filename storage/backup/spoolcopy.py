"""Spool files held by links while a backup is taken: they can be copied although their writer is done with them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import Unavailable
from storage.spoolfile import spool_files

_COPY_BYTES = 1 << 20
_STEP_BYTES = 4096
_PREFIX = ".backup-"
_LEFTOVER_S = 86_400
"""Links of that age belong to a backup that died: the snapshot, while which they are needed, takes minutes."""


class LinkedSpool:
    """The spool files that were there at one moment or another."""

    def __init__(self, spool: Path, links: Path) -> None:
        self._spool = spool
        self._links = links

    def link(self) -> None:
        """Links every file that is not linked yet."""
        for path in spool_files(self._spool):
            try:
                os.link(path, self._links / path.name)
            except (FileExistsError, FileNotFoundError):
                continue

    def copy(self, target: Path) -> None:
        """Copies what is linked, without the room that was preallocated: the zeros at the end say nothing."""
        target.mkdir(mode=0o700)
        for path in sorted(self._links.iterdir()):
            with path.open("rb") as file, (target / path.name).open("w+b") as copy:
                shutil.copyfileobj(file, copy, _COPY_BYTES)
                copy.flush()
                copy.truncate(_used(copy.fileno(), copy.tell()))
                os.fsync(copy.fileno())


@contextmanager
def linked_spool(data_folder: Path) -> Iterator[LinkedSpool]:
    """The spool of a data folder; the links go with the context. Unavailable."""
    try:
        for left in data_folder.glob(f"{_PREFIX}*"):
            if left.stat().st_mtime < time.time() - _LEFTOVER_S:
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=data_folder) as links:
            spool = LinkedSpool(data_folder / "spool", Path(links))
            spool.link()
            yield spool
    except OSError as error:
        raise Unavailable(f"the spool cannot be copied: {error.strerror}") from error


def _used(descriptor: int, size: int) -> int:
    """The length without zeros at the end, in steps of a block."""
    while size > 0:
        start = (size - 1) // _STEP_BYTES * _STEP_BYTES
        if any(os.pread(descriptor, size - start, start)):
            return size
        size = start
    return 0
