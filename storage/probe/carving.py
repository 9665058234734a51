"""Key rows out of raw bytes: of deleted cells, free pages and write-ahead frames that no query reaches.

SQLite writes the columns of a row one behind the other, texts and blobs as they are. So a row shows by its ids, and
what stands behind them is tried as if it were the wrapped key: what is none does not open.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.model import Kind, Root

WRAPPED_BYTES = 60
_ROOTS = b"|".join(root.value.encode() for root in Root)
_ID = re.compile(rb"[0-9a-f]{32}")
_DAY = re.compile(rb"\d{4}-\d\d-\d\d")
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)
_REACH = 200
"""From a bucket's root to the end of its wrapped key: two words of 32 characters, a day, two integers, the key."""
_KINDS = sorted((kind.value.encode() for kind in Kind), key=len, reverse=True)

Carved = Mapping[str, Any]


def carve_tops(path: Path, tenant: str, epochs_max: int) -> Iterator[tuple[str, Carved]]:
    """Everything in a file that may be a row of the tenant's epochs and buckets, with its table's name.

    Only of epoch `epochs_max` or before: what looks like another number is none.
    """
    with _raw(path) as raw:
        for found in re.finditer(tenant.encode() + b"(" + _ROOTS + b")", raw):
            behind = bytes(raw[found.end() : found.end() + _REACH])
            named = {"tenant": tenant, "root": found[1].decode()}
            for row in _epochs(behind, named):
                if 0 <= row["n"] <= epochs_max:
                    yield "epochs", row
            before = bytes(raw[max(found.start() - 32, 0) : found.start()])
            for row in _buckets(behind, named | {"id": before.decode()}) if _ID.fullmatch(before) else ():
                if 0 <= row["epoch"] <= epochs_max:
                    yield "buckets", row


def carve_pairs(path: Path, ids: Collection[str]) -> Iterator[tuple[str, str, bytes]]:
    """What begins with one of these ids and another one: the id, the other, and what may be the wrapped key."""
    if not ids:
        return
    names = b"|".join(sorted(name.encode() for name in ids))
    with _raw(path) as raw:
        for found in re.finditer(b"(?=(" + names + b")([0-9a-f]{32})(.{60}))", raw, re.DOTALL):
            yield found[1].decode(), found[2].decode(), found[3]


@contextmanager
def _raw(path: Path) -> Iterator[mmap.mmap | bytes]:
    if path.stat().st_size == 0:
        yield b""
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        yield raw


def _epochs(behind: bytes, named: Carved) -> Iterator[Carved]:
    for size in _INTEGER_BYTES[:5]:
        wrapped = behind[size : size + WRAPPED_BYTES]
        for n in _numbers(behind[:size]):
            yield {**named, "n": n, "wrapped": wrapped}


def _buckets(behind: bytes, named: Carved) -> Iterator[Carved]:
    day = _DAY.search(behind)
    if day is None:
        return
    between = behind[: day.start()]
    for size in _INTEGER_BYTES[:5]:
        kind = next((kind for kind in _KINDS if between[size:].startswith(kind)), None)
        if kind is None:
            continue
        purpose = between[size + len(kind) :]
        for n in _numbers(between[:size]):
            for due in _INTEGER_BYTES:
                wrapped = behind[day.end() + due : day.end() + due + WRAPPED_BYTES]
                words = {"kind": kind.decode(), "purpose": purpose.decode("ascii", "replace"), "day": day[0].decode()}
                yield {**named, **words, "epoch": n, "wrapped": wrapped}


def _numbers(raw: bytes) -> tuple[int, ...]:
    """The integer; 0 and 1 have no bytes of their own."""
    return (int.from_bytes(raw, "big", signed=True),) if raw else (0, 1)
