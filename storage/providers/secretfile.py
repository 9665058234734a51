"""A PIN or token as the only line of a file that nobody else may read; read again when the file changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from storage.errors import Unavailable

_BYTES_MAX = 4096
"""Tokens have some hundred characters; anything longer is another file."""


class SecretFile:
    """One secret. Shows nothing of itself."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what
        self._read: tuple[tuple[int, int], str] | None = None

    def now(self) -> str:
        """The secret as it is now; Unavailable, with what mends it, if there is none or others may read it."""
        return self.stamped()[1]

    def stamped(self) -> tuple[tuple[int, int], str]:
        """The same, behind a mark that changes whenever the file does."""
        try:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_ino)
            if self._read is None or self._read[0] != state:
                self._read = (state, self._read_now())
        except OSError as error:
            raise Unavailable(f"the file of the {self._what} cannot be read: {error.strerror}") from None
        return self._read

    def _read_now(self) -> str:
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise Unavailable(f"the file of the {self._what} is open to others: chmod 600 mends it")
            raw = file.read(_BYTES_MAX + 1)
        text = raw.decode("ascii", errors="replace").strip()
        if not text or len(raw) > _BYTES_MAX or not text.isascii() or not text.isprintable():
            raise Unavailable(f"the file of the {self._what} must have it as its only line")
        return text
