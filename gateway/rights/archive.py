"""A ZIP file that is never held as a whole: its entries go out as they are read, and are hashed on the way.

Stored, not compressed: audio hardly shrinks, and the same entries make the same bytes everywhere. Times of entries are
the format's first day; sizes stand behind each entry and in the directory at the end.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator

SIZE_32_MAX = 1 << 31
"""Entries that may be larger are told in 64 bits."""

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100600 << 16  # a file of its owner's alone


class Archive:
    """One file. Each method gives what is to be sent next; `files` has what went into it, with hashes."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_STORED)
        self.files: list[dict[str, object]] = []

    def add(self, name: str, parts: Iterable[bytes], size: int | None = None) -> Iterator[bytes]:
        """An entry, of which `size` is known or not."""
        entry = zipfile.ZipInfo(name, _FIRST_DAY)
        entry.external_attr, entry.create_system = _MODE, 3
        digest, written = hashlib.sha256(), 0
        with self._zip.open(entry, "w", force_zip64=size is None or size >= SIZE_32_MAX) as file:
            for part in parts:
                file.write(part)
                digest.update(part)
                written += len(part)
                yield self._sink.take()
        yield self._sink.take()
        self.files.append({"name": name, "size": written, "sha256": digest.hexdigest()})

    def close(self) -> Iterator[bytes]:
        """The directory; without it no reader takes the file for whole."""
        self._zip.close()
        yield self._sink.take()


class _Sink:
    """Takes what is written and hands it out once; it cannot be gone back in."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is held open."""

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken
