"""What is left of a tenant's calls: rows from every database, log and batch, and the places of their ciphertext."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import select

from storage.backup.layout import BATCHES, CATALOGUE, OBJECTS, SPOOL, versions
from storage.catalogue import Catalogue
from storage.chain import ENTRY_BYTES_MAX, Entry
from storage.databases import is_elsewhere
from storage.errors import StoreError, Unavailable
from storage.ledger import entries_of
from storage.objects import ObjectStore
from storage.objects.folder import FolderStore
from storage.probe.carving import carve_pairs, carve_tops
from storage.signing import parse_json
from storage.tables import metadata
from storage.witness import Batch, Batches

Row = Mapping[str, Any]

KEY_TABLES = ("epochs", "buckets", "nodes", "artefact_keys")
CONTENT_TABLES = ("artefacts", "documents", "slices", "identifiers", "tags", "calls")
EPOCHS_BEYOND = 2
"""Epochs that there may be although no database has them: keys of the provider, rows of a transaction cut short."""

_LOGS = ("", "-wal", "-journal")


class Remains:
    """Everything that was found, each row once, by table; rows of before and of today side by side."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[tuple[Any, ...], Row]] = {name: {} for name in (*KEY_TABLES, *CONTENT_TABLES)}
        self.files: list[Path] = []  # of databases: to be carved
        self.spools: list[Path] = []
        self.objects: list[ObjectStore] = []
        self.keys_entries: list[Entry] = []  # of the ledger: which batches there are
        self.found: Counter[str] = Counter()

    def add(self, table: str, rows: Iterable[Row]) -> None:
        """Rows of one table."""
        known = self.rows[table]
        for row in rows:
            known.setdefault(tuple(value for name, value in sorted(row.items()) if name != "serial"), row)

    def of(self, table: str) -> Iterator[Row]:
        """The rows of one table, from wherever."""
        yield from self.rows[table].values()

    def carve(self, tenant: str, wanted: Collection[str]) -> None:
        """Adds what the bytes of the files hold of the tenant's buckets and epochs, and above these artefacts."""
        epochs_max = max((row["n"] for row in self.of("epochs") if row["tenant"] == tenant), default=0) + EPOCHS_BEYOND
        for path in self.files:
            for table, row in carve_tops(path, tenant, epochs_max):
                self._carved(table, row)
        above = set(wanted)
        for table, one, two in (
            ("artefact_keys", "artefact", "leaf"),
            ("nodes", "id", "parent"),
            ("nodes", "id", "parent"),
        ):
            for path in self.files:
                for name, other, wrapped in carve_pairs(path, above):
                    self._carved(table, {one: name, two: other, "wrapped": wrapped})
            above = {row[two] for row in self.of(table) if row[one] in above}

    def _carved(self, table: str, row: Row) -> None:
        self.add(table, [row])
        self.found["carved"] += 1

    def add_batches(self, places: Sequence[Batches]) -> None:
        """Adds the rows of every batch that an entry of the ledger names, from wherever it is kept."""
        for entry in self.keys_entries:
            batch = Batch.of(entry)
            for place in places:
                try:
                    for rows in place.read(batch):
                        for table, row in rows:
                            if table in self.rows:  # else it is neither key nor content
                                self.add(table, [row])
                        self.found["rows of batches"] += len(rows)
                except StoreError:
                    continue  # not kept here; whether a batch is whole is not what is asked


def gather(folders: Sequence[Path], remains: Remains, stack: ExitStack) -> list[Batches]:
    """What lies in backups, or in copies of data folders; gives where key batches are kept. Unavailable.

    Databases are read from copies, which go with the `stack`: reading one with its log would change it.
    """
    batches = []
    for folder in folders:
        parts = versions(folder) or [folder]
        for part in parts:
            if (part / CATALOGUE).is_file():
                gather_database(part / CATALOGUE, remains, stack)
            elif not is_elsewhere(part):
                raise Unavailable(f"{part} is neither a backup nor a copy of a data folder: it has no {CATALOGUE}")
            remains.spools.append(part / SPOOL)
        for shared in {path.parent for path in parts} | {folder}:
            if (shared / OBJECTS).is_dir():
                remains.objects.append(FolderStore(shared / OBJECTS))
            if (shared / BATCHES).is_dir():
                batches.append(Batches(FolderStore(shared / BATCHES)))
    return batches


def gather_database(path: Path, remains: Remains, stack: ExitStack) -> None:
    """A database with its log, and without: what a log hides is a state, too."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="callvault-probe-")))
    for suffix in _LOGS:
        log = path.with_name(path.name + suffix)
        if log.is_file():
            shutil.copyfile(log, folder / log.name)
            remains.files.append(folder / log.name)
    remains.found["databases"] += 1
    whole = folder / "whole"
    whole.mkdir()
    for suffix in _LOGS:
        copy = folder / (path.name + suffix)
        if copy.is_file():
            shutil.copyfile(copy, whole / copy.name)
    _read(whole / path.name, remains)
    if (folder / (path.name + "-wal")).is_file():
        remains.found["databases"] += 1
        alone = folder / "alone"
        alone.mkdir()
        shutil.copyfile(folder / path.name, alone / path.name)
        _read(alone / path.name, remains)


def gather_server(url: str, remains: Remains, stack: ExitStack) -> None:
    """A catalogue on a server, as it is now. Its files are the server's: their bytes are not looked at."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="callvault-probe-"))
    catalogue = Catalogue(Path(folder), url)
    remains.found["databases"] += 1
    try:
        with catalogue.reading() as connection:
            for name in (*KEY_TABLES, *CONTENT_TABLES):
                remains.add(name, (dict(row._mapping) for row in connection.execute(select(metadata.tables[name]))))
            remains.keys_entries += entries_of(connection, "keys")
    finally:
        catalogue.close()


def _read(path: Path, remains: Remains) -> None:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        for name in (*KEY_TABLES, *CONTENT_TABLES):
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone():
                remains.add(name, (dict(row) for row in connection.execute(f"SELECT * FROM {name}")))  # noqa: S608  # ours
        rows = connection.execute("SELECT body, previous, hash, signature FROM ledger").fetchall()
    except sqlite3.DatabaseError as error:
        if remains.rows["calls"]:
            return  # one of several states of it; its bytes are carved all the same
        raise Unavailable(f"{path.name} cannot be read: {error}") from error
    finally:
        connection.close()
    _note_batches(remains, rows)


def _note_batches(remains: Remains, rows: Iterable[Any]) -> None:
    for row in rows:
        if '"type":"keys"' in row["body"]:
            body = parse_json(row["body"].encode(), ENTRY_BYTES_MAX)
            members = {"body": body, **{name: row[name] for name in ("previous", "hash", "signature")}}
            remains.keys_entries.append(Entry.of(members))
