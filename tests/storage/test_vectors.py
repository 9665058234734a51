"""The golden files: what FORMAT.md promises to readers of other makes. They never change; formats get a new version."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

from storage.envelope import associated_data, check_commitment, open_slice
from storage.errors import DataError, Swapped, Tampered, Truncated, WrongKey
from storage.model import ArtefactId, ArtefactRef, CallId, Kind, ParticipantId, Secret, TenantId
from storage.slices import open_index
from storage.spoolfile import SpoolFile
from storage.spoolformat import RecordSeal, RecordType, unpack_lost
from tests.storage.test_envelope import tink_open

FOLDER = Path(__file__).parent.parent / "vectors"
REFUSED: dict[str, type[DataError]] = {
    "wrong_key": WrongKey,
    "truncated": Truncated,
    "tampered": Tampered,
    "swapped": Swapped,
}


class Vector(NamedTuple):
    """A file of the folder: a comment, fields, an empty line, and bytes in hexadecimal."""

    fields: dict[str, str]
    body: bytes

    @property
    def expect(self) -> str:
        return self.fields["expect"]

    def number(self, name: str) -> int:
        return int(self.fields[name])

    def raw(self, name: str) -> bytes:
        return bytes.fromhex(self.fields[name])

    def ref(self) -> ArtefactRef:
        text = self.fields
        return ArtefactRef(
            TenantId(text["tenant"]),
            CallId(text["call"]),
            ParticipantId(text["participant"]),
            ArtefactId(text["artefact"]),
            Kind(text["kind"]),
            text["purpose"],
        )


def load(path: Path) -> Vector:
    head, _, body = path.read_text().partition("\n\n")
    lines = [line for line in head.splitlines() if not line.startswith("#")]
    return Vector(dict(line.split(": ", 1) for line in lines), bytes.fromhex(body))


def names(pattern: str) -> list[str]:
    return sorted(path.name for path in FOLDER.glob(pattern))


@pytest.mark.parametrize("name", names("slice-*.txt"))
def test_slice_vector_gives_what_it_expects(name: str) -> None:
    vector = load(FOLDER / name)
    segment_bytes, stream_id = vector.number("segment_bytes"), vector.fields["stream"]
    aad = associated_data(vector.ref(), vector.number("slice"), stream_id, segment_bytes)
    key = Secret(vector.raw("key"))

    def opened() -> bytes:
        check_commitment(key, vector.raw("commitment"))
        return open_slice(
            key,
            vector.body,
            aad,
            segment_bytes=segment_bytes,
            header=vector.raw("header"),
            size=vector.number("size"),
            digest=vector.raw("sha256"),
        )

    if vector.expect != "opened":
        with pytest.raises(REFUSED[vector.expect]):
            opened()
        return
    plain = opened()
    assert sha256(plain).hexdigest() == vector.fields["plain_sha256"]
    assert tink_open(key.reveal(), segment_bytes, vector.body, aad) == plain
    index = open_index(key, stream_id, aad, vector.raw("index"))
    assert index.header == vector.raw("header")
    assert [(entry.start, entry.end) for entry in index.entries] == [(0, 250_000), (250_000, 500_000)]
    assert sum(entry.length for entry in index.entries) == len(plain)


@pytest.mark.parametrize("name", names("spool-*.txt"))
def test_spool_vector_gives_what_it_expects(name: str, tmp_path: Path) -> None:
    vector = load(FOLDER / name)
    path = tmp_path / "0.spool"
    path.write_bytes(vector.body)
    file = SpoolFile(path)
    seal = RecordSeal(vector.ref(), Secret(vector.raw("key")), file.header.salt)
    digests = vector.fields["plain_sha256"].split(",")
    found, end, broken = [], "no end", 0
    for header in file.scan(resync=True):
        if header.artefact.hex() != vector.fields["artefact"]:
            continue
        try:
            record = seal.open(file.read(header.offset, header.record_bytes))
        except Tampered:
            broken += 1
            continue
        index = record.seq & 0xFFFF_FFFF
        if record.type == RecordType.END:
            assert unpack_lost(record.data) == 0
            end = "end"
        else:
            assert sha256(record.data).hexdigest().startswith(digests[index])
            assert (record.start, record.end) == (index * 250_000, (index + 1) * 250_000)
            found.append(str(index))
    broken += file.broken
    file.close()
    assert f"records {' '.join(found)}; {end}; broken {broken}" == vector.expect


def test_there_is_a_vector_for_every_outcome() -> None:
    assert {load(FOLDER / name).expect for name in names("slice-*.txt")} == {"opened", *REFUSED}
