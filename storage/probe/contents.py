"""What keys open of a call: slices, documents, spool records, identifiers, and whether tags tell a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from storage.envelope import HEADER_BYTES, SliceReader, associated_data
from storage.errors import DataError, NotFound, Unavailable
from storage.keys import Node
from storage.model import ArtefactId, ArtefactRef, Secret
from storage.objects import ObjectStore
from storage.probe.climbing import ref_of
from storage.probe.remains import Remains, Row
from storage.records import Identifier
from storage.slices import stored_name
from storage.spoolfile import records_of
from storage.spoolformat import RecordSeal
from storage.tags import index_key, open_identifiers, tag


class Contents:
    """Tries keys on the ciphertext of some artefacts."""

    def __init__(self, remains: Remains) -> None:
        self._remains = remains
        self.tried: Counter[str] = Counter()

    def open(
        self, wanted: Collection[str], found: Mapping[ArtefactRef, set[bytes]], keys: Collection[bytes]
    ) -> set[str]:
        """What opens of these artefacts, in words: with the keys found for them, and with all others by mistake."""
        opened: set[str] = set()
        for ref, rows in self._artefacts(wanted).items():
            own = [Secret(key) for key in found.get(ref, ())]
            candidates = own + [Secret(key) for key in keys]
            if self._documents(ref, rows, candidates):
                opened.add(f"{ref.kind.value} {ref.artefact}: document")
            if self._slices(ref, rows, own, candidates):
                opened.add(f"{ref.kind.value} {ref.artefact}: recording")
            if self._spool(ref, candidates):
                opened.add(f"{ref.kind.value} {ref.artefact}: spool")
            if self._identifiers(ref, candidates):
                opened.add(f"{ref.kind.value} {ref.artefact}: identifiers")
        return opened

    def told(self, wanted: Collection[str], identifiers: Sequence[Identifier], keys: Collection[bytes]) -> set[str]:
        """Which of these identifiers a tag of the artefacts tells, with any key as its leaf's."""
        leaves = {row["leaf"] for row in self._remains.of("tags") if row["artefact"] in wanted and "leaf" in row}
        theirs = {row["tag"] for row in self._remains.of("tags") if row["artefact"] in wanted}
        numbers = Counter(row["leaf"] for row in self._remains.of("tags") if row.get("leaf") in leaves)
        told: set[str] = set()
        for key in keys if theirs else ():
            index = index_key(Node("", key, ""))
            for identifier in identifiers:
                for n in range(max(numbers.values(), default=0) + 1):
                    self.tried["tags"] += 1
                    if tag(index, identifier, n) in theirs:
                        told.add(f"{identifier.type}: a tag tells the number")
        return told

    def _artefacts(self, wanted: Collection[str]) -> dict[ArtefactRef, set[int]]:
        found: dict[ArtefactRef, set[int]] = {}
        for row in self._remains.of("artefacts"):
            if row["id"] in wanted:
                found.setdefault(ref_of(row), set()).add(row["segment_bytes"])
        return found

    def _documents(self, ref: ArtefactRef, segments: Iterable[int], keys: Sequence[Secret]) -> bool:
        rows = [row for row in self._remains.of("documents") if row["artefact"] == ref.artefact]
        return any(
            self._opens("documents", ref, (0, row["stream_id"]), size, keys, row["sealed"], len(row["sealed"]))
            for row in rows
            for size in segments
        )

    def _slices(
        self, ref: ArtefactRef, segments: Iterable[int], own: Sequence[Secret], candidates: Sequence[Secret]
    ) -> bool:
        """The keys found for it on every slice, all others on the first of them."""
        rows = [row for row in self._remains.of("slices") if row["artefact"] == ref.artefact]
        for number, row in enumerate(rows):
            keys = own if number else candidates
            for sealed in self._ciphertexts(row, ref):
                for size in {row["segment_bytes"], *segments}:
                    place = (row["slice_no"], row["stream_id"])
                    if self._opens("objects", ref, place, size, keys, sealed, row["size"]):
                        return True
        return False

    def _ciphertexts(self, row: Row, ref: ArtefactRef) -> Iterable[bytes]:
        name = stored_name(ref.tenant, ref.call, row["stream_id"])
        for store in self._remains.objects:
            sealed = _get(store, name)
            if sealed is not None:
                yield sealed

    def _opens(
        self,
        what: str,
        ref: ArtefactRef,
        place: tuple[int, str],
        segment_bytes: int,
        keys: Sequence[Secret],
        sealed: bytes,
        size: int,
    ) -> bool:
        aad = associated_data(ref, *place, segment_bytes)
        for key in keys:
            self.tried[what] += 1
            try:
                reader = SliceReader(
                    key,
                    sealed[:HEADER_BYTES],
                    size,
                    aad,
                    lambda start, end: sealed[start:end],
                    segment_bytes=segment_bytes,
                )
                reader.read(0, 1)
            except DataError:
                continue
            return True
        return False

    def _spool(self, ref: ArtefactRef, keys: Sequence[Secret]) -> bool:
        for folder in self._remains.spools:
            with records_of(folder, ArtefactId(ref.artefact)) as spooled:
                for record in spooled.records[:1]:
                    for key in keys:
                        self.tried["spool records"] += 1
                        seal = RecordSeal(ref, key, record.file.header.salt)
                        try:
                            record.file.read_record(record.offset, record.record_bytes, seal)
                        except DataError:
                            continue
                        return True
        return False

    def _identifiers(self, ref: ArtefactRef, keys: Sequence[Secret]) -> bool:
        rows = [row["sealed"] for row in self._remains.of("identifiers") if row["artefact"] == ref.artefact]
        for key in keys if rows else ():
            for row in rows:
                self.tried["identifiers"] += 1
                try:
                    open_identifiers(ref, key, [row])
                except DataError:
                    continue
                return True
        return False


def _get(store: ObjectStore, name: str) -> bytes | None:
    try:
        return store.get(name)
    except (NotFound, Unavailable):
        return None
