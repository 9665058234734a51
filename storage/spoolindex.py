"""Knows where each stream's records lie in the spool's files, so that reading one stream does not search all of them.

Of a file it reads what was added since it looked last, so each byte once, whoever asks for which stream. What it has
not read is searched: behind a place that is damaged or half written, and what it has no room for.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Mapping
from pathlib import Path

from storage.model import ArtefactId
from storage.spoolfile import SpooledRecords, SpoolFile, records_of
from storage.spoolformat import FILE_HEADER_BYTES, RecordHeader

INDEX_BYTES_MAX = 64 << 20
"""Twice what a full spool of 4 GiB with 1,000 streams takes. Beyond it files are searched, until others are gone."""
_STREAM_BYTES = 256
"""Of one stream in one file: its name, its place in the table and an empty array; measured, rounded up."""
_OFFSET_BYTES = 8
_TICK_NS = 20_000_000
"""In which a file's time of writing may stand still: two ticks of the slowest kernel, of 100 Hz."""
_NONE: array[int] = array("q")


class _Indexed:
    """What is known of one file: where the records of each artefact begin, among those before `position`."""

    __slots__ = ("complete", "nothing_behind", "offsets", "position", "size")

    def __init__(self) -> None:
        self.offsets: dict[bytes, array[int]] = {}
        self.position = FILE_HEADER_BYTES
        self.complete = False  # nothing is added any more, and nothing stands behind `position`
        self.nothing_behind = (0, 0)  # a `position`, and when the file had been written to when nothing stood behind it
        self.size = 0  # of this, in bytes

    def add(self, header: RecordHeader) -> int:
        """Take note of the record; gives the bytes that this took."""
        offsets, taken = self.offsets.get(header.artefact), _OFFSET_BYTES
        if offsets is None:
            offsets, taken = self.offsets.setdefault(header.artefact, array("q")), _STREAM_BYTES + _OFFSET_BYTES
        offsets.append(header.offset)
        self.position = header.offset + header.record_bytes
        self.size += taken
        return taken


class SpoolIndex:
    """The index of one spool folder. Thread-safe; holds no file open, and keeps nothing on disk."""

    def __init__(self, folder: Path, bytes_max: int = INDEX_BYTES_MAX) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._files: dict[Path, _Indexed] = {}
        self._size = 0
        self._lock = threading.Lock()

    def records_of(self, artefact: ArtefactId, after: Mapping[str, int] | None = None) -> SpooledRecords:
        """See `spoolfile.records_of`: the same, faster from the second time on."""
        return records_of(self._folder, artefact, after, find=self.find)

    def find(self, file: SpoolFile, artefact: bytes) -> list[RecordHeader]:
        """See `SpoolFile.find`; `file` is one of the folder's."""
        with self._lock:  # who comes second finds it read
            indexed = self._files.get(file.path)
            if indexed is None:
                self._forget_gone()
                indexed = self._files[file.path] = _Indexed()
            if not indexed.complete:
                self._read_on(indexed, file)
            offsets, position = indexed.offsets.get(artefact, _NONE)[:], indexed.position
            more = not indexed.complete and self._is_more_behind(indexed, file)
        found = [header for offset in offsets if (header := file.header_at(offset)) and header.artefact == artefact]
        return found + file.find(artefact, position) if more else found

    @property
    def size(self) -> int:
        """Bytes that it takes, as far as `INDEX_BYTES_MAX` counts them."""
        return self._size

    def _read_on(self, indexed: _Indexed, file: SpoolFile) -> None:
        if self._size >= self._bytes_max:
            return
        finished = file.is_finished()  # asked first: what is there afterwards is all
        for header in file.scan(indexed.position, resync=finished):
            if self._size >= self._bytes_max:
                return
            self._size += indexed.add(header)
        indexed.complete = finished

    def _is_more_behind(self, indexed: _Indexed, file: SpoolFile) -> bool:
        """Whether a record stands behind the place where reading stopped. It is not looked for again and again."""
        written_ns = file.written_ns()
        if indexed.nothing_behind == (indexed.position, written_ns):
            return False
        if file.next_record(indexed.position) is not None:
            return True
        if time.time_ns() - written_ns > _TICK_NS:  # else it may be written to in the same tick
            indexed.nothing_behind = (indexed.position, written_ns)
        return False

    def _forget_gone(self) -> None:
        """Names of files never come again."""
        for path in [path for path in self._files if not path.exists()]:
            self._size -= self._files.pop(path).size
