"""Canaries: sound and words that stand out wherever they appear in clear, and a search for them in everything.

A sound is looked for as it came over the wire, as the PCM it decodes to in both byte orders and as floats, and as text
that would carry it; cut anywhere, since every 5 ms of it are looked for. Words are looked for in the encodings that
texts are written in.
"""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STEP = 40  # samples between two places of a sound that are looked for: 5 ms
PIECE_BYTES = 16  # of each: that another 16 bytes are the same by chance does not happen
CHUNK_BYTES = 4 << 20
HEAD_BYTES = 4  # compared first, all places of a chunk at once
TABLE_BITS = 16
SPREAD = np.uint32(2_654_435_761)  # Knuth's: spreads four bytes over the table
FILE_BYTES_MAX = 1 << 30


class Canaries:
    """What is looked for, each piece by the name of its canary."""

    def __init__(self) -> None:
        self._pieces: dict[bytes, dict[bytes, str]] = {}  # by their first bytes
        self._longest = 0
        self._table = np.zeros(1 << TABLE_BITS, bool)
        self._heads = np.zeros(0, np.uint32)

    def add_sound(self, name: str, coded: bytes, samples: NDArray[np.int16]) -> None:
        """G.711 as it was sent, and the samples that it decodes to."""
        assert len(coded) == len(samples)
        forms = {
            "coded": coded,
            "little-endian": samples.astype("<i2").tobytes(),
            "big-endian": samples.astype(">i2").tobytes(),
            "float": (samples / 32768).astype("<f4").tobytes(),
        }
        for form, raw in forms.items():
            width = len(raw) // len(samples)
            for at in range(0, len(samples) - PIECE_BYTES, STEP):
                piece = raw[width * at : width * at + PIECE_BYTES]
                if len(set(piece)) > PIECE_BYTES // 4:  # silence is everywhere
                    self._add(piece, f"{name}, {form}")
        for at in range(0, len(coded) - 2 * PIECE_BYTES, STEP):
            for text in _as_text(coded[at : at + 2 * PIECE_BYTES]):
                self._add(text[:PIECE_BYTES], f"{name}, as text")

    def add_words(self, name: str, words: str) -> None:
        """At least eight characters."""
        assert len(words) >= 8
        raw = words.encode()
        for form in (raw, words.encode("utf-16-le"), words.encode("utf-16-be"), *_as_text(raw)):
            self._add(form, name)

    def found_in(self, data: bytes) -> set[str]:
        """The canaries that are in there."""
        found: set[str] = set()
        for start in range(0, max(1, len(data)), CHUNK_BYTES):
            found |= self._in_chunk(data[start : start + CHUNK_BYTES + self._longest])
        return found

    def _add(self, piece: bytes, name: str) -> None:
        self._pieces.setdefault(piece[:HEAD_BYTES], {})[piece] = name
        self._longest = max(self._longest, len(piece))
        head = np.frombuffer(piece[:HEAD_BYTES], "<u4")
        self._table[_places(head)] = True
        self._heads = np.zeros(0, np.uint32)

    def _in_chunk(self, data: bytes) -> set[str]:
        raw = np.frombuffer(data, np.uint8)
        if len(raw) < HEAD_BYTES or not raw.any():
            return set()
        if not len(self._heads):
            self._heads = np.sort(np.array([int.from_bytes(head, "little") for head in self._pieces], np.uint32))
        heads = raw[:-3].astype(np.uint32)
        for byte in (1, 2, 3):
            heads |= raw[byte : len(raw) - 3 + byte].astype(np.uint32) << np.uint32(8 * byte)
        (near,) = np.nonzero(self._table[_places(heads)])
        (hits,) = np.nonzero(np.isin(heads[near], self._heads))
        return {
            name
            for at in near[hits].tolist()
            for piece, name in self._pieces[data[at : at + HEAD_BYTES]].items()
            if data[at : at + len(piece)] == piece
        }

    def below(self, folders: Iterable[Path], spared: Sequence[str] = ()) -> dict[str, set[str]]:
        """Files below folders that hold some, and which; not those with one of the names that are spared."""
        found = {}
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and not path.is_symlink() and path.name not in spared:
                    told = self.found_in(path.name.encode()) | self.found_in(_read(path))
                    if told:
                        found[str(path)] = told
        return found


def _places(heads: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return (heads * SPREAD) >> np.uint32(32 - TABLE_BITS)


def _as_text(raw: bytes) -> Iterator[bytes]:
    """Hexadecimal, and base64 for each of the three places where it may begin: without what its neighbours change."""
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for shift in range(3):
        skipped = -(-4 * shift // 3)
        whole = (shift + len(raw)) // 3 * 3 - shift
        yield base64.b64encode(bytes(shift) + raw[:whole])[skipped:]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except FileNotFoundError:  # it was here when the folder was listed
        return b""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of ours, as the kernel tells of it."""

    pid: int
    name: str

    def swapped_kib(self) -> int:
        """How much of its memory is in swap."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("VmSwap:")).split()[1])

    def core_bytes_max(self) -> tuple[str, str]:
        """How large a core dump of it may be: soft and hard limit."""
        text = Path(f"/proc/{self.pid}/limits").read_text()
        soft, hard, _ = next(line for line in text.splitlines() if line.startswith("Max core file size"))[25:].split()
        return soft, hard

    def open_files(self) -> dict[str, Path]:
        """Files that it holds open or mapped for writing, deleted ones too: name → where their content is read.

        For root only: nobody else may look into a process that is not dumpable.
        """
        found: dict[str, Path] = {}
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            _note(link, found)
        maps = Path(f"/proc/{self.pid}/maps").read_text().splitlines()
        for line in maps:
            words = line.split(maxsplit=5)
            if len(words) == 6 and words[1][1] == "w" and words[1][3] == "s":
                _note(Path(f"/proc/{self.pid}/map_files/{words[0]}"), found)
        return found


def _note(link: Path, found: dict[str, Path]) -> None:
    try:
        if stat.S_ISREG(link.stat().st_mode):
            found[str(link.readlink())] = link
    except OSError:  # closed meanwhile, or nothing that has a content
        return


def family(pid: int) -> list[Process]:
    """A process and all that descend from it."""
    parents: dict[int, list[Process]] = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
            argv = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if entry.name.isdigit() and words[0] != "Z":
            name = argv[2] if len(argv) > 2 and argv[1] == b"-m" else argv[0]
            parents.setdefault(int(words[1]), []).append(Process(int(entry.name), name.decode()))
    found = [Process(pid, "gateway")]
    for process in found:
        found += parents.get(process.pid, [])
    return found
