"""The bytes of files, in windows that overlap: nothing is mapped, since what is cut meanwhile would end the process.

PostgreSQL's write-ahead log has a header before each page, also in the middle of a row; without them the segments of a
folder are one stream.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from storage.errors import Unavailable
from storage.probe.carving import REACH

WINDOW_BYTES = 8 << 20
_SEGMENT = re.compile(r"[0-9A-F]{24}(\.partial)?\Z")
_LONG = struct.Struct("<HHIQIIQII")  # magic, info, timeline, address, left of the last record, -, system, sizes
_LONG_BYTES, _SHORT_BYTES, _IS_LONG = 40, 24, 0x0002
_MAGIC_MASK, _MAGIC = 0xFF00, 0xD100
"""Of every release from 9.3 on; the lower octet is the version of the format."""


def files_below(folder: Path) -> list[Path]:
    """Every regular file, in order. Unavailable."""
    if not folder.exists():
        raise Unavailable(f"{folder} is not there")
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]


def streams_of(paths: Iterable[Path]) -> Iterator[tuple[Path, Iterator[bytes]]]:
    """What is looked at as one stream, by its first file: each file, and the segments of each write-ahead log."""
    logs: dict[Path, list[Path]] = {}
    for path in paths:
        if _SEGMENT.match(path.name):
            logs.setdefault(path.parent, []).append(path)
        else:
            yield path, windows(_pieces(path))
    for folder, segments in logs.items():
        yield folder, windows(_log(sorted(segments)))


def windows(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, each behind the end of the one before."""
    tail = b""
    for piece in pieces:
        yield tail + piece
        tail = (tail + piece)[-REACH:]


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(WINDOW_BYTES):
                yield piece
    except FileNotFoundError:  # of a server that goes on meanwhile
        return
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from error


def _log(segments: Sequence[Path]) -> Iterator[bytes]:
    for path in segments:
        page = _page_bytes(path)
        for piece in _pieces(path):
            if page is None:  # compressed, or none
                yield piece
                continue
            yield b"".join(_without_header(piece[at : at + page]) for at in range(0, len(piece), page))


def _page_bytes(path: Path) -> int | None:
    for piece in _pieces(path):
        if len(piece) < _LONG_BYTES:
            return None
        magic, info, *_, page = _LONG.unpack_from(piece)
        fits = magic & _MAGIC_MASK == _MAGIC and info & _IS_LONG and page and WINDOW_BYTES % page == 0
        return int(page) if fits else None
    return None


def _without_header(page: bytes) -> bytes:
    if len(page) < _SHORT_BYTES or page[1] != _MAGIC >> 8:
        return page  # never written
    return page[_LONG_BYTES if page[2] & _IS_LONG else _SHORT_BYTES :]
