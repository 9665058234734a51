"""What a backup's folder looks like.

DIR/<UTC>/manifest.json      signed; the last thing that is written: a version without it is not a backup
DIR/<UTC>/catalogue.sqlite3  the snapshot
DIR/<UTC>/spool/             spool files as they were
DIR/<UTC>/objects.txt        what the snapshot names: name, size and SHA-256 of each object, a line each
DIR/objects/                 the objects themselves, shared by all versions, as a folder store
DIR/batches/                 key batches of the witness, as a folder store
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from storage.errors import Malformed, NotFound, Tampered, Truncated
from storage.signing import Signer, canonical, parse_json, verify_signature

FORMAT = "callvault backup v1"
MANIFEST = "manifest.json"
CATALOGUE = "catalogue.sqlite3"
OBJECT_LIST = "objects.txt"
SPOOL = "spool"
OBJECTS = "objects"
BATCHES = "batches"

_LABEL = "callvault backup v1"
_MANIFEST_BYTES_MAX = 64 << 20
"""Of a spool with 100,000 files, which is more than any spool has."""
_VERSION = re.compile(r"\d{8}T\d{6}Z(-\d+)?\Z")
_READ_BYTES = 1 << 20
_LINE = re.compile(r"(?P<name>[0-9a-z_/-]{1,255}) (?P<size>\d{1,12}) (?P<sha256>[0-9a-f]{64})\Z")


class Listed(NamedTuple):
    """An object that the snapshot names."""

    name: str
    size: int
    sha256: str

    def line(self) -> str:
        """Its line in the list."""
        return f"{self.name} {self.size} {self.sha256}\n"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version of a backup consists of, and which entry of the ledger it has last."""

    backup: str
    made_at: str
    files: Mapping[str, tuple[int, str]]  # name → size, SHA-256
    objects_kept: bool  # whether the backup has the objects, or only their list
    seq: int
    hash: str
    public_key: str

    def encode(self, signer: Signer) -> bytes:
        """Its file, signed."""
        body = self._body()
        return canonical(body | {"signature": signer.sign(_LABEL, canonical(body))})

    def _body(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "backup": self.backup,
            "made_at": self.made_at,
            "files": [{"name": n, "size": s, "sha256": h} for n, (s, h) in sorted(self.files.items())],
            "objects_kept": self.objects_kept,
            "ledger": {"seq": self.seq, "hash": self.hash},
            "public_key": self.public_key,
        }

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """From its file; Malformed, Tampered if its signature does not hold. Whose key that is, is not looked at."""
        found = parse_json(text, _MANIFEST_BYTES_MAX)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise Malformed("not the manifest of a backup of a version that is known here")
        signature = found.pop("signature", None)
        try:
            verify_signature(str(found["public_key"]), _LABEL, canonical(found), signature)
            files = {str(row["name"]): (int(row["size"]), str(row["sha256"])) for row in found["files"]}
            made = cls(
                backup=str(found["backup"]),
                made_at=str(found["made_at"]),
                files=files,
                objects_kept=bool(found["objects_kept"]),
                seq=int(found["ledger"]["seq"]),
                hash=str(found["ledger"]["hash"]),
                public_key=str(found["public_key"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Malformed("the manifest of the backup is not in its form") from error
        if any(name.startswith(("/", ".")) or ".." in name for name in files):
            raise Malformed("the manifest of the backup names a file outside of it")
        return made


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a backup, whole."""

    folder: Path
    manifest: Manifest

    @property
    def shared(self) -> Path:
        """What it shares with other versions."""
        return self.folder.parent

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The version in a folder, or the newest of those below it; NotFound, Malformed, Tampered."""
        if not (folder / MANIFEST).is_file():
            found = versions(folder)
            if not found:
                raise NotFound(f"{folder} holds no backup, or none that was finished")
            folder = found[-1]
        return cls(folder, Manifest.parse((folder / MANIFEST).read_bytes()))

    def check(self) -> None:
        """Truncated or Tampered if a file is not what the manifest says."""
        for name, (size, digest) in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size < size:
                raise Truncated(f"the backup's file {name} is missing or shorter than its manifest says")
            if (path.stat().st_size, sha256_of(path)) != (size, digest):
                raise Tampered(f"the backup's file {name} is not what its manifest says")

    def listed(self) -> Iterator[Listed]:
        """The objects that its snapshot names; Malformed."""
        with (self.folder / OBJECT_LIST).open() as lines:
            for line in lines:
                found = _LINE.match(line.rstrip("\n"))
                if found is None:
                    raise Malformed(f"{OBJECT_LIST} of the backup is not in its form")
                yield Listed(found["name"], int(found["size"]), found["sha256"])


def versions(folder: Path) -> Sequence[Path]:
    """The finished versions of a backup, the oldest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _VERSION.match(path.name) and (path / MANIFEST).is_file()]
    return sorted(found, key=lambda path: (path.name[:16], len(path.name), path.name))


def sha256_of(path: Path) -> str:
    """Of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
