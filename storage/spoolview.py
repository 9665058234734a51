"""What lies in a spool folder, read from outside and without keys: its files, and the streams in them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from storage.errors import Malformed, NotFound, StoreError
from storage.model import ArtefactId
from storage.spoolfile import SpoolFile, spool_files
from storage.spoolformat import RecordHeader, RecordType


@dataclass(frozen=True, slots=True)
class FileView:
    """One spool file."""

    name: str
    run: str  # empty if it could not be read
    size: int  # bytes on disk, preallocated ones too
    age_s: float  # since something was last written to it
    written_to: bool  # its writer still holds it
    records: int = 0
    broken: int = 0  # places that had to be skipped
    fault: str = ""  # why it could not be read, if it could not


@dataclass(slots=True)
class StreamView:
    """What the spool has of one stream of one run."""

    artefact: ArtefactId
    run: str
    records: int = 0
    size: int = 0  # bytes of its records
    first_seq: int = -1  # of its data records, -1 without any
    last_seq: int = -1
    ended: bool = False  # its end is among them
    files: set[str] = field(default_factory=set)

    def add(self, header: RecordHeader, file: str) -> None:
        """One more record, which lies in that file."""
        self.files.add(file)
        if header.type == RecordType.END:
            self.ended = True
        elif header.type == RecordType.DATA and header.seq > self.last_seq:  # else written twice after a failed sync
            self.ended = False
            self.records += 1
            self.size += header.record_bytes
            self.first_seq = header.seq if self.first_seq < 0 else self.first_seq
            self.last_seq = header.seq


@dataclass(frozen=True, slots=True)
class SpoolView:
    """A spool folder at one moment."""

    files: tuple[FileView, ...]
    streams: Mapping[tuple[ArtefactId, str], StreamView]  # by artefact and run

    @property
    def live_runs(self) -> frozenset[str]:
        """The runs that may go on."""
        return frozenset(file.run for file in self.files if file.written_to)


def look(folder: Path) -> SpoolView:
    """Read every record's header; some seconds for a spool of gigabytes. Files that go away meanwhile are left out."""
    files: list[FileView] = []
    streams: dict[tuple[ArtefactId, str], StreamView] = {}
    for path in spool_files(folder):
        try:
            size, written_s = path.stat().st_size, path.stat().st_mtime
        except FileNotFoundError:
            continue
        age_s = max(0.0, time.time() - written_s)
        try:
            files.append(_look_into(path, size, age_s, streams))
        except NotFound:
            continue
        except Malformed:
            files.append(FileView(path.name, "", size, age_s, False, fault="not a spool file"))
        except StoreError as error:
            files.append(FileView(path.name, "", size, age_s, False, fault=str(error)))
    return SpoolView(tuple(files), streams)


def _look_into(path: Path, size: int, age_s: float, streams: dict[tuple[ArtefactId, str], StreamView]) -> FileView:
    file = SpoolFile(path)
    try:
        run, finished, records = file.header.run, file.is_finished(), 0
        for header in file.scan(resync=finished):
            artefact = ArtefactId(header.artefact.hex())
            stream = streams.setdefault((artefact, run), StreamView(artefact, run))
            stream.add(header, path.name)
            records += 1
        return FileView(path.name, run, size, age_s, not finished, records, file.broken)
    finally:
        file.close()
