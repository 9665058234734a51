"""What keys open of artefacts: documents, slices and their indexes, spool records, identifiers; what tags tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from storage.envelope import HEADER_BYTES, SliceReader, associated_data
from storage.errors import DataError, Malformed, NotFound
from storage.keys import Node
from storage.model import ArtefactId, ArtefactRef, Secret
from storage.probe.climbing import Tell, ref_of
from storage.probe.remains import CLAIMED, Remains, Row
from storage.records import Identifier
from storage.slices import open_index, stored_name
from storage.spoolfile import SpooledRecord
from storage.spoolformat import RecordSeal
from storage.spoolindex import SpoolIndex
from storage.tags import index_key, open_identifiers, tag

ALL_KEYS_MAX = 200_000
"""Tries of every key on every kind of ciphertext, each with a derivation of its own: some ten seconds."""
STRAY_SLICES = 4
"""An object that no row names is tried as each of the first slices of each artefact of its call."""
_OPENED_MAX = 1_000
_TELL_EACH = 1_000


class Contents:
    """Tries keys on the ciphertext of some artefacts."""

    def __init__(self, remains: Remains, tell: Tell = lambda _: None) -> None:
        self._remains = remains
        self._tell = tell
        self._spools: dict[Path, SpoolIndex] = {}
        self.tried: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.crosswise: Counter[str] = Counter()

    def open(self, part: str, found: Mapping[ArtefactRef, set[bytes]], keys: Collection[bytes]) -> set[str]:
        """What opens of the artefacts, in words: with the keys found for them, and with all others by mistake."""
        opened: set[str] = set()
        others = [Secret(key) for key in keys]
        query = (
            "FROM wanted w JOIN artefacts a ON a.id = w.id WHERE w.part = ?1 AND (w.excuse IS NULL OR ?1 = 'control')"
        )
        total = self._remains.number(f"SELECT count(*) {query}", (part,))  # ours
        every = max(1, -(-total * len(others) * 4 // ALL_KEYS_MAX))
        refs = {ref.artefact: keys for ref, keys in found.items()}
        for number, row in enumerate(self._remains.rows(f"SELECT a.* {query}", (part,))):  # ours
            if len(opened) >= _OPENED_MAX:
                break
            if number % _TELL_EACH == 0:
                self._tell(f"ciphertext: of {number} of {total} artefacts")
            ref = ref_of(row)
            own = [Secret(key) for key in refs.get(ref.artefact, ())]
            self.rows["artefacts"] += 1
            if number % every == 0:
                self.crosswise["artefacts"] += 1
                candidates = own + others
            else:
                candidates = own
            if candidates:
                opened |= {f"{ref.kind.value} {ref.artefact}: {what}" for what in self._of(ref, row, own, candidates)}
        return opened

    def _of(self, ref: ArtefactRef, row: Row, own: Sequence[Secret], candidates: Sequence[Secret]) -> Iterator[str]:
        size: int = row["segment_bytes"]
        if self._documents(ref, size, candidates):
            yield "document"
        if self._slices(ref, size, own, candidates):
            yield "recording"
        if self._strays(ref, size, candidates):
            yield "recording that no row names"
        if self._indexes(ref, candidates):
            yield "time index"
        if self._spool(ref, own, candidates):
            yield "spool"
        if self._identifiers(ref, candidates):
            yield "identifiers"

    def told(self, identifiers: Sequence[Identifier], keys: Collection[bytes]) -> set[str]:
        """Which of these identifiers a tag of the artefacts tells, with any key as its leaf's."""
        of_wanted = "FROM tags t JOIN wanted w ON w.id = t.artefact WHERE w.part = ? AND w.excuse IS NULL"
        theirs = {row["tag"] for row in self._remains.rows(f"SELECT t.tag {of_wanted}", (CLAIMED,))}  # ours
        self.rows["tags"] = len(theirs)
        most = self._remains.number(
            "SELECT max(c) FROM (SELECT count(*) AS c FROM tags"  # noqa: S608  # ours
            f" WHERE leaf IN (SELECT t.leaf {of_wanted}) GROUP BY leaf)",
            (CLAIMED,),
        )
        told: set[str] = set()
        for key in keys if theirs else ():
            index = index_key(Node("", key, ""))
            for identifier in identifiers:
                for n in range(most + 1):
                    self.tried["tags"] += 1
                    if tag(index, identifier, n) in theirs:
                        told.add(f"{identifier.type}: a tag tells the number")
        equal = (
            "SELECT count(*) FROM tags t JOIN wanted w ON w.id = t.artefact AND w.part = ?"
            " JOIN tags o ON o.tag = t.tag AND o.artefact <> t.artefact"
        )
        if self._remains.number(equal, (CLAIMED,)):
            told.add("tags: one is equal to another artefact's, which tells that they share a number")
        return told

    def _documents(self, ref: ArtefactRef, size: int, keys: Sequence[Secret]) -> bool:
        return any(
            self._opens("documents", ref, (0, row["stream_id"]), size, keys, row["sealed"], len(row["sealed"]))
            for row in self._remains.rows("SELECT * FROM documents WHERE artefact = ?", (ref.artefact,))
        )

    def _slices(self, ref: ArtefactRef, size: int, own: Sequence[Secret], candidates: Sequence[Secret]) -> bool:
        """The keys found for it on every slice, all others on the first of them."""
        rows = self._remains.rows("SELECT * FROM slices WHERE artefact = ?", (ref.artefact,))
        for number, row in enumerate(rows):
            keys = own if number else candidates
            place = (row["slice_no"], row["stream_id"])
            for sealed in self._ciphertexts(ref, row["stream_id"]) if keys else ():
                for segment in {row["segment_bytes"], size}:
                    if self._opens("objects", ref, place, segment, keys, sealed, row["size"]):
                        return True
        return False

    def _ciphertexts(self, ref: ArtefactRef, stream: str) -> Iterator[bytes]:
        """Every version that any store has."""
        name = stored_name(ref.tenant, ref.call, stream)
        for store in self._remains.objects:
            for found, version in store.versions(name):
                if found == name:
                    try:
                        yield store.get_version(name, version)
                    except NotFound:
                        continue
                    self.rows["objects"] += 1

    def _strays(self, ref: ArtefactRef, size: int, keys: Sequence[Secret]) -> bool:
        """Objects of its call that no row names: an upload that was cut short, or what a sweep has forgotten."""
        prefix = f"{ref.tenant}/{ref.call}/"
        for store in self._remains.objects:
            for name, version in store.versions(prefix):
                stream = name.removeprefix(prefix)
                if self._remains.number("SELECT count(*) FROM slices WHERE stream_id = ?", (stream,)):
                    continue
                self.rows["objects that no row names"] += 1
                try:
                    sealed = store.get_version(name, version)
                except NotFound:
                    continue
                for number in range(STRAY_SLICES):
                    try:
                        if self._opens("objects", ref, (number, stream), size, keys, sealed, len(sealed)):
                            return True
                    except ValueError:  # its name is no stream's
                        break
        return False

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

    def _indexes(self, ref: ArtefactRef, keys: Sequence[Secret]) -> bool:
        """The header and times in a slice's row: when somebody spoke."""
        query = "SELECT * FROM slices WHERE artefact = ? ORDER BY slice_no LIMIT 1"
        for row in self._remains.rows(query, (ref.artefact,)):
            aad = associated_data(ref, row["slice_no"], row["stream_id"], row["segment_bytes"])
            for key in keys:
                self.tried["time indexes"] += 1
                try:
                    open_index(key, row["stream_id"], aad, row["sealed_index"])
                except DataError:
                    continue
                return True
        return False

    def _spool(self, ref: ArtefactRef, own: Sequence[Secret], keys: Sequence[Secret]) -> bool:
        """Every record with the keys found for it, the first of each run with all."""
        for folder in self._remains.spools:
            index = self._spools.setdefault(folder, SpoolIndex(folder))
            with index.records_of(ArtefactId(ref.artefact)) as spooled:
                runs: set[str] = set()
                for record in spooled.records:
                    tried = own if record.run in runs else keys
                    runs.add(record.run)
                    self.rows["spool records"] += 1
                    if any(self._opens_record(record, ref, key) for key in tried):
                        return True
        return False

    def _opens_record(self, record: SpooledRecord, ref: ArtefactRef, key: Secret) -> bool:
        self.tried["spool records"] += 1
        seal = RecordSeal(ref, key, record.file.header.salt)
        try:
            record.file.read_record(record.offset, record.record_bytes, seal)
        except DataError:
            return False
        return True

    def _identifiers(self, ref: ArtefactRef, keys: Sequence[Secret]) -> bool:
        rows = self._remains.rows("SELECT sealed FROM identifiers WHERE artefact = ?", (ref.artefact,))
        sealed = [row["sealed"] for row in rows]
        for key in keys if sealed else ():
            for one in sealed:
                self.tried["identifiers"] += 1
                try:
                    open_identifiers(ref, key, [one])
                except (DataError, Malformed):
                    continue
                return True
        return False
