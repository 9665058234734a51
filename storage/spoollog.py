"""The files that one run of the spool writes: preallocated, locked while they are written, synced batch by batch."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from storage.errors import Unavailable
from storage.spoolfile import SUFFIX
from storage.spoolformat import FILE_HEADER_BYTES, NODE_BYTES_MAX, FileHeader

_BUFFERS_MAX = 1024
"""IOV_MAX of Linux: buffers of one write."""


class SpoolLog:
    """Appends batches of records to one file after the other. Any failure is `Unavailable`; a batch may be repeated."""

    def __init__(self, folder: Path, run: str, node: str, salt: bytes, *, file_bytes: int, limit_bytes: int) -> None:
        if not node.isascii() or not 1 <= len(node) <= NODE_BYTES_MAX:
            raise ValueError(f"a node's name has 1 to {NODE_BYTES_MAX} ASCII characters")
        if limit_bytes < 2 * file_bytes:
            raise ValueError("a spool needs room for two files: one is written while the other drains")
        self._folder = folder
        self._run = run
        self._node = node
        self._salt = salt
        self._file_bytes = file_bytes
        self._limit_bytes = limit_bytes
        self._number = 0
        self._descriptor = -1
        self._offset = 0
        self._failed = False

    def write(self, batch: list[bytes]) -> None:
        """Take the records off `batch` as they become durable; what does not fit the file goes on in the next."""
        while batch:
            self.ensure_file()
            if self._offset + len(batch[0]) > self._file_bytes:
                self.make_file()
            room, count = self._file_bytes - self._offset, 0
            while count < len(batch) and len(batch[count]) <= room:
                room -= len(batch[count])
                count += 1
            count = max(count, 1)  # a record longer than any file gets one of its own
            self._write_through(batch[:count])
            del batch[:count]

    def ensure_file(self) -> None:
        """Have a file to write to."""
        if self._descriptor < 0:
            self.make_file()

    def make_file(self) -> None:
        """Begin the next file, then finish the one before: in this order, or the run would look dead in between."""
        hidden = self._folder / f".{self._run}.{secrets.token_hex(4)}"
        name = self._folder / f"{self._run}.{self._number:08d}{SUFFIX}"
        descriptor = -1
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_limit()
            descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, self._file_bytes)
            os.pwrite(descriptor, FileHeader(self._run, self._number, self._node, self._salt).to_bytes(), 0)
            os.fsync(descriptor)
            hidden.rename(name)
            self._sync_folder()
        except OSError as error:
            if descriptor >= 0:
                os.close(descriptor)
            with suppress(OSError):
                hidden.unlink(missing_ok=True)
            raise Unavailable(f"spool folder {self._folder}: {error.strerror}") from error
        self.close()
        self._descriptor, self._offset = descriptor, FILE_HEADER_BYTES
        self._number += 1

    def close(self) -> None:
        """Give back the space that was not needed, and the lock; what was written is durable already."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._offset)
            os.close(self._descriptor)
            self._descriptor = -1

    def abandon_file(self) -> None:
        """Write no more into a file that failed: after a failed sync nobody knows which of its pages are there.

        The batch is repeated in the next file, byte for byte, and readers drop what they have already. An unharmed
        file, when it was only the next one that could not be made, is kept.
        """
        if self._failed:
            self._failed = False
            self.close()

    def is_folder_usable(self) -> bool:
        """Whether the folder is there and may be written to, full or not."""
        return os.access(self._folder, os.W_OK | os.X_OK)

    def _write_through(self, records: Sequence[bytes]) -> None:
        try:
            for first in range(0, len(records), _BUFFERS_MAX):
                self._write_all(records[first : first + _BUFFERS_MAX])
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._failed = True
            raise Unavailable(f"spool file: {error.strerror}") from error

    def _write_all(self, records: Sequence[bytes]) -> None:
        size = sum(map(len, records))
        written = os.pwritev(self._descriptor, records, self._offset)
        while written < size:  # interrupted, or a limit is near: the rest in one piece
            rest = b"".join(records)[written:]
            done = os.pwrite(self._descriptor, rest, self._offset + written)
            written += done
        self._offset += size

    def _check_limit(self) -> None:
        used = 0
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                used += entry.stat().st_size  # preallocated, so this is what it takes
        if used + self._file_bytes > self._limit_bytes:
            raise Unavailable("the spool has reached its limit")

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
