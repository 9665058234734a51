"""A tenant with very many calls, in the time that it takes to write their rows: what a year leaves behind.

Everything that erasing reads is real: every key is random and wrapped as the store wraps it, leaf by leaf and node by
node, so that whatever is wrapped anew is opened, compared and opened again; numbers have their tags. Not real is how
the rows come in (bulk inserts without a disk's sync, COPY on PostgreSQL), and what no erasure of keys looks at: there
are no documents, no manifests, and no objects but those that `put_slices` puts.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import psycopg

from storage.catalogue import Catalogue
from storage.databases.address import PostgresAddress
from storage.envelope import commitment
from storage.epochs import epoch_row, make_epoch, open_secret
from storage.filling import LEAF_KEYS, NODE_LEAVES
from storage.keys import Bucket, Node, Slot, artefact_aad, fresh_key, wrap, wrap_bucket, wrap_node
from storage.model import (
    NO_PARTICIPANT,
    ArtefactId,
    ArtefactRef,
    ArtefactState,
    CallId,
    CallState,
    Kind,
    ParticipantId,
    Root,
    Secret,
    TenantId,
    new_id,
)
from storage.objects import ObjectStore
from storage.providers import KeyProvider
from storage.records import DEFAULT_SEGMENT_BYTES, Day, Identifier
from storage.slices import stored_name
from storage.tables import buckets
from storage.tags import index_key, seal_identifiers, tag

PURPOSE = "service"
WHOLE = (Kind.IDENTITY, Kind.CALL_DETAIL, Kind.AUDIO, Kind.AUDIO)
"""A call of two participants."""
ROWS_AT_ONCE = 20_000
_CACHE_KIB = 1 << 20
_NOWHERE = "0" * 32

Values = tuple[object, ...]


class Rows(Protocol):
    """Takes rows, very many at once."""

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        """Inserts rows; durable at `close`."""

    def close(self) -> None:
        """Commits, and has the database look at its tables as it would by itself after a while."""


class SqliteRows:
    """Into the file of a catalogue that nobody else writes to meanwhile."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        marks = ", ".join("?" * len(columns))
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._connection.close()


class PostgresRows:
    """Into a database of a server."""

    def __init__(self, url: str) -> None:
        parameters = PostgresAddress.parse(url).parameters()
        self._connection = psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]  # libpq's

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        copy = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
        with self._connection.cursor() as cursor, cursor.copy(copy) as into:
            for row in rows:
                into.write_row(row)

    def close(self) -> None:
        self._connection.execute("VACUUM (ANALYZE)")  # as autovacuum does within minutes
        self._connection.close()


@dataclass(slots=True)
class Filled:
    """What was written: calls in the order of their days, and how many artefacts."""

    calls: list[CallId] = field(default_factory=list)
    artefacts: int = 0


class Filling:
    """Fills one tenant's content root, in its newest epoch."""

    def __init__(self, catalogue: Catalogue, provider: KeyProvider, rows: Rows, tenant: TenantId, due_s: int) -> None:
        """`due_s` is the Unix second from which reads are refused."""
        self._catalogue = catalogue
        self._rows = rows
        self._tenant = tenant
        self._due_s = due_s
        with catalogue.writing() as connection:
            if epoch_row(connection, tenant, Root.CONTENT.value) is None:
                make_epoch(provider, tenant, Root.CONTENT.value, 0).insert(connection)
            row: Any = epoch_row(connection, tenant, Root.CONTENT.value)
        self._n, self._secret = row.n, open_secret(provider, row)

    def close(self) -> None:
        """Have what was filled committed."""
        self._rows.close()

    def fill(
        self,
        calls: int,
        days: Sequence[Day],
        kinds: Sequence[Kind] = WHOLE,
        found_by: Callable[[int], Sequence[Identifier]] = lambda _number: (),
    ) -> Filled:
        """So many calls, evenly over the days, with an artefact of each kind. Call number n is found by `found_by`."""
        filled = Filled()
        for at, day in enumerate(days):
            count = calls * (at + 1) // len(days) - calls * at // len(days)
            self._day(day, count, kinds, found_by, filled)
        return filled

    def _day(
        self,
        day: Day,
        count: int,
        kinds: Sequence[Kind],
        found_by: Callable[[int], Sequence[Identifier]],
        filled: Filled,
    ) -> None:
        first = len(filled.calls)
        new = [CallId(new_id()) for _ in range(count)]
        rows = [(call, self._tenant, CallState.STORED.value, day, True) for call in new]
        self._rows.load("calls", ("id", "tenant", "state", "day", "closed"), rows)
        filled.calls += new
        for kind, together in Counter(kinds).items():
            bucket = self._bucket(Slot(kind, PURPOSE, day))
            refs = (
                (first + at, self._ref(call, kind, participant))
                for at, call in enumerate(new)
                for participant in range(together)
            )
            filled.artefacts += self._artefacts(bucket, refs, found_by if kind is Kind.IDENTITY else lambda _n: ())

    def _ref(self, call: CallId, kind: Kind, participant: int) -> ArtefactRef:
        whose = ParticipantId(f"{participant + 1:032x}") if kind is Kind.AUDIO else NO_PARTICIPANT
        return ArtefactRef(self._tenant, call, whose, ArtefactId(new_id()), kind, PURPOSE)

    def _bucket(self, slot: Slot) -> Bucket:
        with self._catalogue.writing() as connection:
            bucket = Bucket(new_id(), fresh_key(), self._due_s)
            row = wrap_bucket(bucket, slot, self._tenant, Root.CONTENT.value, self._n, self._secret)
            connection.execute(buckets.insert(), row)
        return bucket

    def _artefacts(
        self,
        bucket: Bucket,
        refs: Iterable[tuple[int, ArtefactRef]],
        found_by: Callable[[int], Sequence[Identifier]],
    ) -> int:
        """The rows of a bucket from the artefacts' to its nodes; gives how many artefacts."""
        rows: dict[str, list[Values]] = {table: [] for table in _COLUMNS}
        node, leaf, count = None, None, 0
        counts: Counter[Identifier] = Counter()
        for number, ref in refs:
            if node is None or count % (LEAF_KEYS * NODE_LEAVES) == 0:
                node = Node(new_id(), fresh_key(), bucket.id)
                rows["nodes"].append(tuple(wrap_node(node, self._tenant, bucket.key).values()))
            if leaf is None or count % LEAF_KEYS == 0:
                leaf = Node(new_id(), fresh_key(), node.id)
                rows["nodes"].append(tuple(wrap_node(leaf, self._tenant, node.key).values()))
                counts.clear()
            if len(rows["artefacts"]) >= ROWS_AT_ONCE:
                self._flush(rows)
            count += 1
            key = Secret(fresh_key())
            rows["artefacts"].append(_artefact(ref, key))
            wrapped = wrap(leaf.key, key.reveal(), artefact_aad(ref, leaf.id))
            rows["artefact_keys"].append((ref.artefact, leaf.id, wrapped))
            if found := found_by(number):
                rows["identifiers"].append((ref.artefact, seal_identifiers(ref, key, found)))
                for identifier in found:
                    value = tag(index_key(leaf), identifier, counts[identifier])
                    rows["tags"].append((leaf.id, ref.artefact, value))
                    counts[identifier] += 1
        self._flush(rows)
        return count

    def _flush(self, rows: dict[str, list[Values]]) -> None:
        for table, columns in _COLUMNS.items():
            if rows[table]:
                self._rows.load(table, columns, rows[table])
            rows[table].clear()


_COLUMNS: dict[str, tuple[str, ...]] = {
    "nodes": ("id", "parent", "wrapped"),
    "artefacts": (
        *("id", "tenant", "call", "participant", "kind", "purpose"),
        *("commitment", "segment_bytes", "state", "interrupted", "size"),
    ),
    "artefact_keys": ("artefact", "leaf", "wrapped"),
    "identifiers": ("artefact", "sealed"),
    "tags": ("leaf", "artefact", "tag"),
}
"""What stands below a bucket, in the order in which rows refer to each other."""


def _artefact(ref: ArtefactRef, key: Secret) -> Values:
    named = (ref.artefact, ref.tenant, ref.call, ref.participant, ref.kind.value, ref.purpose)
    return (*named, commitment(key), DEFAULT_SEGMENT_BYTES, ArtefactState.COMPLETE.value, False, 0)


def put_slices(
    rows: Rows, objects: ObjectStore, audio: Iterable[ArtefactRef], seconds: float, slice_s: float, octets_a_s: int
) -> int:
    """Slices of the right number and size, with their objects, of random bytes; gives how many."""
    written: list[Values] = []
    for ref in audio:
        for slice_no, size in enumerate(_sizes(seconds, slice_s, octets_a_s)):
            stream_id, data = new_id(), os.urandom(size)
            objects.put(stored_name(ref.tenant, ref.call, stream_id), data)
            at = (slice_no, stream_id, _NOWHERE, slice_no, slice_no)
            written.append((ref.artefact, *at, size, sha256(data).digest(), DEFAULT_SEGMENT_BYTES, os.urandom(400)))
    columns = ("artefact", "slice_no", "stream_id", "run", "first_seq", "last_seq", "size", "digest")
    rows.load("slices", (*columns, "segment_bytes", "sealed_index"), written)
    return len(written)


def _sizes(seconds: float, slice_s: float, octets_a_s: int) -> Iterator[int]:
    while seconds > 0:
        yield round(min(seconds, slice_s) * octets_a_s)
        seconds -= slice_s
