"""Where remains are looked for: backups, copies of data folders, servers' catalogues, raw files, witnesses, today."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, NullPool, create_engine

from storage.backup.layout import BATCHES, CATALOGUE, MANIFEST, OBJECTS, SPOOL, Version, versions
from storage.backup.rows import copy_rows
from storage.catalogue import Catalogue
from storage.databases import is_elsewhere
from storage.errors import DataError, StoreError, Unavailable
from storage.objects import ObjectStore
from storage.objects.folder import FolderStore
from storage.probe.carving import Pair
from storage.probe.rawfiles import files_below
from storage.probe.remains import Remains
from storage.tables import metadata
from storage.witness.rows import Rows, decode

_LOGS = ("-wal", "-journal")
_KEYS = "keys/"
_SEALED = frozenset({OBJECTS, BATCHES})
"""Folders of ciphertext under random names, which is tried piece by piece: their bytes are not searched besides."""


@dataclass(frozen=True, slots=True)
class State:
    """One state of a catalogue, as a SQLite database."""

    uri: str
    source: str  # what people call it
    today: bool = False


@dataclass(slots=True)
class Sources:
    """Everything that is looked at."""

    states: list[State] = field(default_factory=list)
    raw: list[Path] = field(default_factory=list)  # files whose bytes are carved, and searched
    witnesses: list[ObjectStore] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)  # for the report: what was looked at, and from when


def add_backups(folders: Sequence[Path], remains: Remains, sources: Sources) -> None:
    """What lies in backups, or in copies of data folders. Unavailable."""
    for folder in folders:
        parts = versions(folder) or [folder]
        for part in parts:
            if (part / CATALOGUE).is_file():
                _add_database(part / CATALOGUE, part.name, remains, sources)
            elif not is_elsewhere(part):
                raise Unavailable(f"{part} is neither a backup nor a copy of a data folder: it has no {CATALOGUE}")
            remains.spools.append(part / SPOOL)
            sources.told.append(_told(part))
        for shared in {path.parent for path in parts} | {folder}:
            if (shared / OBJECTS).is_dir():
                remains.objects.append(FolderStore(shared / OBJECTS))
            if (shared / BATCHES).is_dir():
                sources.witnesses.append(FolderStore(shared / BATCHES))
        sources.raw += [path for path in files_below(folder) if _SEALED.isdisjoint(path.relative_to(folder).parts)]


def add_server(url: str, name: str, remains: Remains, sources: Sources, *, today: bool = False) -> None:
    """A catalogue on a server, as it is now, row by row. Unavailable."""
    folder = remains.folder / f"server{len(sources.states)}"
    folder.mkdir()
    file = folder / "rows"
    catalogue = Catalogue(folder, url)
    engine = create_engine(URL.create("sqlite", database=str(file)), poolclass=NullPool)
    try:
        with catalogue.reading() as source, engine.begin() as target:
            metadata.create_all(target)
            copy_rows(source, target)
    finally:
        catalogue.close()
        engine.dispose()
    remains.found["databases"] += 1
    sources.states.append(State(_uri(file), name, today))


def add_folder(folder: Path, remains: Remains, sources: Sources) -> None:
    """Raw files: a server's data directory or its archived log, dumps, logs, a queue's files. Unavailable."""
    found = files_below(folder)
    sources.raw += found
    remains.found["raw files"] += len(found)
    sources.told.append({"what": "files", "name": folder.name, "files": len(found)})


def add_today(data_folder: Path, catalogue_url: str, remains: Remains, sources: Sources) -> None:
    """Today's catalogue with its bytes, and the other files of the data folder. Unavailable."""
    if catalogue_url:
        add_server(catalogue_url, "today", remains, sources, today=True)
    else:
        _add_database(data_folder / CATALOGUE, "today", remains, sources, today=True)
    remains.spools.append(data_folder / SPOOL)
    sources.raw += [
        path for path in files_below(data_folder) if _SEALED.isdisjoint(path.relative_to(data_folder).parts)
    ]


def read_batches(store: ObjectStore, remains: Remains, tenants: Sequence[str]) -> int:
    """Adds every row of every version of every batch, named by a ledger or not; gives how many. Unavailable."""
    count = 0
    for name, version in store.versions(_KEYS):
        try:
            rows = _rows(store.get_version(name, version))
        except (DataError, StoreError) as error:
            if isinstance(error, Unavailable):
                raise
            continue  # deleted meanwhile, or no batch: whether a batch is whole is not what is asked
        count += len(rows)
        tops = [(table, row) for table, row in rows if table in ("epochs", "buckets") and row["tenant"] in tenants]
        remains.add_tops(tops, raw=False)
        pairs = [_pair(table, row) for table, row in rows if table in ("nodes", "artefact_keys")]
        remains.add_pairs(pairs, raw=False)
        remains.add_tags(row for table, row in rows if table == "tags")
    return count


def _rows(part: bytes) -> Rows:
    with suppress(ValueError, AttributeError):
        head = json.loads(part)
        return decode(str(head.get("batch")), int(head.get("part")), part)
    return []


def _pair(table: str, row: Mapping[str, Any]) -> Pair:
    one, two = ("artefact", "leaf") if table == "artefact_keys" else ("id", "parent")
    return Pair(row[one], row[two], row["wrapped"])


def _add_database(path: Path, name: str, remains: Remains, sources: Sources, *, today: bool = False) -> None:
    """A database with its log, and without: what a log hides is a state, too.

    One with a log is read from a copy, since reading it there would change it; one without is only read.
    """
    logs = [path.with_name(path.name + suffix) for suffix in _LOGS]
    logs = [log for log in logs if log.is_file() and log.stat().st_size]
    states = [_uri(path, "?immutable=1")]
    if logs or today:
        copy = remains.folder / f"copy{len(sources.states)}" / path.name
        copy.parent.mkdir()
        for file in (path, *logs):
            with suppress(FileNotFoundError):  # a log that a server has emptied meanwhile
                shutil.copyfile(file, copy.with_name(file.name))
        states = [_uri(copy)]
        if logs:
            alone = copy.with_name("alone")
            shutil.copyfile(copy, alone)
            states.append(_uri(alone, "?immutable=1"))
    readable = [uri for uri in states if _readable(uri)]
    if not readable:
        raise Unavailable(f"{path} cannot be read: it is no database")
    remains.found["databases"] += len(readable)
    sources.states += [State(uri, name, today) for uri in readable]


def _readable(uri: str) -> bool:
    """One of several states may be torn; its bytes are carved all the same."""
    try:
        connection = sqlite3.connect(uri, uri=True)
    except sqlite3.Error:
        return False
    try:
        connection.execute("SELECT count(*) FROM calls").fetchone()
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()
    return True


def _uri(path: Path, options: str = "") -> str:
    return f"file:{quote(str(path.absolute()))}{options}"


def _told(part: Path) -> dict[str, Any]:
    """Of a version of a backup when it was made, by its signed manifest; a copy says nothing of itself."""
    if not (part / MANIFEST).is_file():
        return {"what": "copy of a data folder", "name": part.name}
    with suppress(StoreError):
        manifest = Version.open(part).manifest
        return {"what": "backup", "name": part.name, "made_at": manifest.made_at, "ledger": manifest.seq}
    return {"what": "backup whose manifest does not hold", "name": part.name}
