"""What is left of a tenant's calls, each row once, whatever copy it is from: in a file of the probe's own.

Only ids and what is wrapped or sealed stand in it; keys that are found stay in memory. So a million rows cost disk
and not memory, and everything that the probe asks of them is one query.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from storage.errors import Unavailable
from storage.objects import ObjectStore
from storage.probe.carving import Carved, Pair

Row = sqlite3.Row

EPOCHS_BEYOND = 2
"""Epochs that there may be although no database has them: keys of the provider, rows of a transaction cut short."""

TABLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "installation": (("name", "wrapped"), ("name", "wrapped")),
    "epochs": (("tenant", "root", "n", "wrapped"), ("tenant", "root", "n", "wrapped")),
    "buckets": (
        ("id", "tenant", "root", "epoch", "kind", "purpose", "day", "wrapped"),
        ("id", "root", "epoch", "kind", "purpose", "day", "wrapped"),
    ),
    "nodes": (("id", "parent", "wrapped"), ("id", "parent", "wrapped")),
    "artefact_keys": (("artefact", "leaf", "wrapped"), ("artefact", "leaf", "wrapped")),
    "artefacts": (
        ("id", "tenant", "call", "participant", "kind", "purpose", "commitment", "segment_bytes"),
        ("id", "tenant", "call", "participant", "kind", "purpose", "commitment", "segment_bytes"),
    ),
    "documents": (("artefact", "stream_id", "sealed"), ("artefact", "stream_id", "sealed")),
    "slices": (
        ("artefact", "slice_no", "stream_id", "size", "segment_bytes", "sealed_index"),
        ("artefact", "slice_no", "stream_id"),
    ),
    "identifiers": (("artefact", "sealed"), ("artefact", "sealed")),
    "tags": (("leaf", "artefact", "tag"), ("tag", "leaf", "artefact")),
}
"""Of each table what the probe needs, and what makes two rows the same."""

CLAIMED, CONTROL = "claimed", "control"
"""What is to open no more, and what shows that this probe can open anything."""

_OWN = """
CREATE TABLE wanted (id TEXT, part TEXT, excuse TEXT, PRIMARY KEY (id, part)) WITHOUT ROWID;
CREATE TABLE slots (root TEXT, kind TEXT, purpose TEXT, day TEXT);
CREATE TABLE pairs (one TEXT, two TEXT, wrapped BLOB, raw INT, PRIMARY KEY (one, two, wrapped, raw)) WITHOUT ROWID;
CREATE INDEX pairs_two ON pairs (two);
CREATE TABLE raw_epochs (tenant TEXT, root TEXT, n INT, wrapped BLOB, PRIMARY KEY (tenant, root, n, wrapped))
    WITHOUT ROWID;
CREATE TABLE raw_buckets (id TEXT, tenant TEXT, root TEXT, epoch INT, kind TEXT, purpose TEXT, day TEXT, wrapped BLOB,
    PRIMARY KEY (id, root, epoch, kind, purpose, day, wrapped)) WITHOUT ROWID;
CREATE TABLE raw_artefacts (id TEXT, tenant TEXT, call TEXT, participant TEXT, kind TEXT, purpose TEXT,
    commitment BLOB, segment_bytes INT, PRIMARY KEY (id, commitment)) WITHOUT ROWID;
CREATE TABLE leaves (id TEXT PRIMARY KEY, claimed INT) WITHOUT ROWID;
"""
_IN_SLOT = (
    "s.root = b.root AND coalesce(s.kind, b.kind) = b.kind AND coalesce(s.purpose, b.purpose) = b.purpose"
    " AND coalesce(s.day, b.day) = b.day"
)
_OF_NODES = "(SELECT id FROM nodes WHERE parent IN (SELECT id FROM buckets))"
_SETTLING = tuple(
    f"INSERT OR IGNORE INTO {table} SELECT one, two, wrapped FROM pairs WHERE {where}"  # noqa: S608  # ours
    for table, where in (
        ("artefact_keys", "one IN (SELECT id FROM wanted)"),
        ("nodes", "two IN (SELECT id FROM buckets)"),
        ("nodes", f"two IN {_OF_NODES}"),
        ("nodes", "one IN (SELECT leaf FROM artefact_keys)"),
        ("nodes", "one IN (SELECT parent FROM nodes)"),
    )
)
"""From what may be any wrapped key to rows, in this order: downwards from buckets, and upwards from what is wanted."""
_CACHE_KIB = 64 << 10
_SEGMENT_BYTES = 65_536


class Remains:
    """Everything that was found; rows of before and of today side by side."""

    def __init__(self, stack: ExitStack) -> None:
        """Its file goes with the `stack`."""
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="callvault-probe-"))
        self.folder = Path(folder)
        self.sql = sqlite3.connect(f"file:{folder}/remains", uri=True, isolation_level=None)
        stack.callback(self.sql.close)
        self.sql.row_factory = sqlite3.Row
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}", "temp_store=FILE"):
            self.sql.execute(f"PRAGMA {pragma}")
        for name, (columns, key) in TABLES.items():
            self.sql.execute(f"CREATE TABLE {name} ({', '.join(columns)}, PRIMARY KEY ({', '.join(key)}))")
        self.sql.executescript(_OWN)
        self.objects: list[ObjectStore] = []
        self.spools: list[Path] = []
        self.found: Counter[str] = Counter()
        self.last: dict[str, int] = {}  # of each tenant the last epoch that there may be

    # Going in.

    @contextmanager
    def attached(self, uri: str) -> Iterator[sqlite3.Connection]:
        """Another database as `src`; Unavailable if it is none."""
        self.sql.execute("ATTACH ? AS src", (uri,))
        try:
            yield self.sql
        except sqlite3.DatabaseError as error:
            raise Unavailable(f"a catalogue cannot be read: {error}") from error
        finally:
            if self.sql.in_transaction:
                self.sql.execute("ROLLBACK")
            self.sql.execute("DETACH src")

    def has(self, table: str) -> bool:
        """Whether the attached database has the table with all columns that are needed; earlier releases' may not."""
        there = {row["name"] for row in self.sql.execute(f"PRAGMA src.table_info({table})")}
        return there.issuperset(TABLES[table][0])

    def take(self, table: str, where: str, parameters: Sequence[object] = ()) -> int:
        """Adds rows of the attached database's table; gives how many were new."""
        columns = ", ".join(TABLES[table][0])
        before = self.sql.total_changes
        self.sql.execute(
            f"INSERT OR IGNORE INTO main.{table} ({columns}) SELECT {columns} FROM src.{table} WHERE {where}",  # noqa: S608  # ours
            parameters,
        )
        return self.sql.total_changes - before

    def add_pairs(self, pairs: Iterable[Pair], *, raw: bool) -> int:
        """Adds what may be wrapped keys behind two ids; gives how many were new."""
        return self._insert("INSERT OR IGNORE INTO pairs VALUES (?, ?, ?, ?)", ((*pair, int(raw)) for pair in pairs))

    def add_tags(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds tags of a batch, as far as they are of what is wanted."""
        statement = "INSERT OR IGNORE INTO tags SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM wanted WHERE id = ?2)"
        self._insert(statement, ((row["leaf"], row["artefact"], row["tag"]) for row in rows))

    def add_tops(self, rows: Iterable[tuple[str, Carved]], *, raw: bool) -> None:
        """Adds rows of epochs and buckets, carved ones (`raw`) apart."""
        sorted_: dict[str, list[Carved]] = {"epochs": [], "buckets": []}
        for name, row in rows:
            sorted_[name].append(row)
        for name, found in sorted_.items():
            self._insert_rows(f"raw_{name}" if raw else name, TABLES[name][0], found)

    def add_artefacts(self, rows: Iterable[Carved]) -> None:
        """Adds carved rows of artefacts."""
        full = ({**row, "segment_bytes": _SEGMENT_BYTES} for row in rows)
        self._insert_rows("raw_artefacts", TABLES["artefacts"][0], full)

    def settle_raw(self, tenants: Iterable[str]) -> None:
        """Joins what was carved, and what batches have, to the rows of databases; counts what no database has."""
        wanted = list(tenants)
        for tenant in wanted:
            newest = self.number("SELECT max(n) FROM epochs WHERE tenant = ?", (tenant,))
            self.last[tenant] = newest + EPOCHS_BEYOND
            for name, n in (("epochs", "n"), ("buckets", "epoch")):
                columns = ", ".join(TABLES[name][0])
                self._count(
                    f"INSERT OR IGNORE INTO {name} ({columns}) SELECT {columns} FROM raw_{name}"  # noqa: S608  # ours
                    f" WHERE tenant = ? AND {n} <= ?",
                    (tenant, self.last[tenant]),
                )
        for raw in (0, 1):
            before = self.sql.total_changes
            for statement in _SETTLING:
                self.sql.execute(f"{statement} AND raw = {raw}")
            self.found["carved"] += raw * (self.sql.total_changes - before)

    def settle_leaves(self) -> None:
        """Which leaves are in buckets that are claimed to be dead."""
        self.sql.execute(
            f"INSERT INTO leaves SELECT l.id, max(EXISTS (SELECT 1 FROM slots s WHERE {_IN_SLOT}))"  # noqa: S608  # ours
            " FROM artefact_keys k JOIN nodes l ON l.id = k.leaf JOIN nodes n ON n.id = l.parent"
            " JOIN buckets b ON b.id = n.parent GROUP BY l.id"
        )

    # Coming out.

    def rows(self, query: str, parameters: Sequence[object] = ()) -> Iterator[sqlite3.Row]:
        """The rows of a query."""
        yield from self.sql.execute(query, parameters)

    def number(self, query: str, parameters: Sequence[object] = ()) -> int:
        """What a query counts."""
        found = self.sql.execute(query, parameters).fetchone()
        return int(found[0] or 0) if found else 0

    def _count(self, statement: str, parameters: Sequence[object] = ()) -> None:
        before = self.sql.total_changes
        self.sql.execute(statement, parameters)
        self.found["carved"] += self.sql.total_changes - before

    def _insert_rows(self, table: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  # ours
        return self._insert(statement, (tuple(row[name] for name in columns) for row in rows))

    def _insert(self, statement: str, rows: Iterable[Sequence[object]]) -> int:
        before = self.sql.total_changes
        self.sql.execute("BEGIN")
        self.sql.executemany(statement, rows)
        self.sql.execute("COMMIT")
        return self.sql.total_changes - before


def is_claimed(bucket: str) -> str:
    """An SQL condition: this bucket, by its alias, is one of those that are claimed to be dead."""
    return f"EXISTS (SELECT 1 FROM main.slots s WHERE {_IN_SLOT.replace('b.', bucket + '.')})"  # noqa: S608  # ours
