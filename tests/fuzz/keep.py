"""The corpus of a target: of all inputs that are known, the fewest and shortest that go every way that any goes."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import CORPUS, Target
from tests.fuzz.targets import TARGETS

FILES_MAX = 40  # of a target: enough for `damage` to begin with, and quick to run
FINDING = "found-"  # how the file of an input begins that a parser once failed on: it stays
LENGTH_MAX = 4096  # octets of a kept input; the longest way is shown in less
ROOT = CORPUS.parents[2]
SOURCES = tuple(str(ROOT / package) for package in ("gateway", "media", "storage"))

Way = tuple[str, int, int]


def keep(name: str, found: Path) -> str:
    """Writes the corpus; says what it has."""
    target, folder = TARGETS[name], CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    others = [path.read_bytes() for path in found.iterdir()] if found.is_dir() else []
    seeds = target.seeds()
    inputs = sorted({*seeds, *before.values(), *others}, key=lambda data: (len(data), data))
    target.run(inputs[-1])  # what is done once in a process is no way of the input's
    ways = {data: ways_of(target, data) for data in inputs}
    kept = fewest(ways)
    findings = {data for path, data in before.items() if path.name.startswith(FINDING)}
    for path, data in before.items():
        if data not in findings:
            path.unlink()
    for data in kept:
        if data not in findings:
            (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    first = len(set[Way]().union(*(ways[data] for data in seeds)))
    whole = len(set[Way]().union(*ways.values()))
    return f"{name}: {first} ways of {len(seeds)} seeds, {whole} of {len(inputs)} inputs; {len(kept)} kept"


def fewest(ways: dict[bytes, frozenset[Way]]) -> list[bytes]:
    """Those that together go every way, the one with the most new ways first; then the shortest of each other mixture.

    As far as FILES_MAX allows.
    """
    left = {data: set(gone) for data, gone in ways.items() if len(data) <= LENGTH_MAX}
    kept: list[bytes] = []
    while left and len(kept) < FILES_MAX:
        best = max(left, key=lambda data: (len(left[data]), -len(data)))
        gone = left.pop(best)
        if not gone:
            break
        kept.append(best)
        for rest in left.values():
            rest.difference_update(gone)
    mixtures = {ways[data] for data in kept}
    for data in sorted(left, key=len):
        if len(kept) < FILES_MAX and ways[data] not in mixtures:
            mixtures.add(ways[data])
            kept.append(data)
    return kept


def ways_of(target: Target[Any], data: bytes) -> frozenset[Way]:
    """From which line to which the input goes, in the packages that are tested."""
    gone: set[Way] = set()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(SOURCES):
            return None
        last = frame.f_lineno

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            gone.add((file, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        target.run(data)
    finally:
        sys.settrace(None)
    return frozenset(gone)
