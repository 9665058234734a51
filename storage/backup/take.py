"""A backup, taken while the server runs, in an order in which nothing can fall between two stools.

    mark      an entry in the ledger, and the whole ledger in the witness: a restore will ask for both
    spool     hard links to the spool files: they keep what is drained and deleted from here on
    snapshot  one moment of the catalogue
    spool     links to files that are new; then all are copied, with what was appended meanwhile
    objects   those that the snapshot names, as far as the backup has not got them
    batches   key batches of the witness that the snapshot contains: older versions need them
    manifest  signed, and last

What was recorded before the snapshot is in it: in the spool, or in an object that a row names.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.backup.layout import (
    BATCHES,
    CATALOGUE,
    MANIFEST,
    OBJECT_LIST,
    OBJECTS,
    SPOOL,
    Manifest,
    Version,
    sha256_of,
    versions,
)
from storage.backup.objectcopy import Copied, copy_objects, forget_objects, list_objects
from storage.backup.rows import copy_rows
from storage.backup.snapshot import reading_file, snapshot
from storage.backup.spoolcopy import linked_spool
from storage.catalogue import Catalogue
from storage.chain import Entry
from storage.errors import RolledBack, Unavailable
from storage.ledger import Ledger, entries_of
from storage.model import new_id
from storage.objects import ObjectStore
from storage.objects.folder import FolderStore
from storage.signing import Signer
from storage.times import utc
from storage.witness import Batch, Batches, Witness

BATCHES_KEPT = timedelta(days=35)
"""Batches that a backup contains stay in the witness for as long: somebody may have a monthly backup elsewhere."""

_INCOMING = ".incoming"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """The store that is backed up. `clock` gives Unix time."""

    data_folder: Path
    catalogue: Catalogue
    on_server: bool  # whether the catalogue is a server's, and not a file in the data folder
    objects: ObjectStore
    witness: Witness
    ledger: Ledger
    signer: Signer
    clock: Callable[[], float]


@dataclass(slots=True)
class Taken:
    """What came of it."""

    version: Version
    objects: Copied = field(default_factory=Copied)
    forgotten: int = 0  # objects in the backup's folder that no version names any more
    pruned: int = 0  # batches that went from the witness
    forgotten_batches: int = 0  # in the backup's folder, which every version contains


def take(source: Source, target: Path, *, with_objects: bool | None = None, tell: Tell = lambda _line: None) -> Taken:
    """Makes a new version in `target`. Objects are copied if they are files, or if that is asked for.

    Unavailable if anything that it takes is away; what was begun is swept by the next one.
    """
    kept = isinstance(source.objects, FolderStore) if with_objects is None else with_objects
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(target):
            return _take(source, target, tell, kept=kept)
    except OSError as error:
        raise Unavailable(f"the backup cannot be written to {target}: {error.strerror}") from error


def _take(source: Source, target: Path, tell: Tell, *, kept: bool) -> Taken:
    backup = new_id()
    incoming = _prepare(target, backup)
    with source.catalogue.writing() as connection:
        source.ledger.append(connection, "backup", source.clock(), {"backup": backup})
    source.witness.copies.publish(source.catalogue)  # without it a restore could not tell what came after
    with linked_spool(source.data_folder) as spool:
        _snapshot(source, incoming, tell)
        spool.link()
        spool.copy(incoming / SPOOL)
    with reading_file(incoming / CATALOGUE) as connection:
        newest = source.ledger.newest(connection)
        assert newest is not None  # the mark is in it
        list_objects(connection, incoming / OBJECT_LIST)
        named = entries_of(connection, "keys")
    version = Version(incoming, _manifest(source, incoming, backup, newest, kept=kept))
    taken = Taken(version)
    if kept:
        taken.objects = copy_objects(source.objects, version, FolderStore(target / OBJECTS), tell)
    tell("key batches")
    oldest = min((Version.open(folder).manifest.seq for folder in versions(target)), default=newest.seq)
    younger = [Batch.of(entry) for entry in named if entry.seq > oldest]
    _keep_batches(source.witness.batches, Batches(FolderStore(target / BATCHES)), younger)
    _write(incoming / MANIFEST, version.manifest.encode(source.signer))
    taken.version = Version(_named(incoming, target, source.clock()), version.manifest)
    taken.forgotten = forget_objects(target)
    taken.forgotten_batches = _forget_batches(target, {batch.id for batch in younger})
    taken.pruned = _prune(source.witness, named, source.clock())
    return taken


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    with (target / ".lock").open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another backup is being written to {target}") from None
        yield


def _prepare(target: Path, backup: str) -> Path:
    """A folder for a new version, and an end to what earlier backups left unfinished."""
    for left in target.glob(f"{_INCOMING}-*"):
        shutil.rmtree(left)
    incoming = target / f"{_INCOMING}-{backup}"
    incoming.mkdir(mode=0o700)
    return incoming


def _snapshot(source: Source, incoming: Path, tell: Tell) -> None:
    """One moment of the catalogue as a file, whatever database it is in."""
    if not source.on_server:
        snapshot(source.data_folder / CATALOGUE, incoming / CATALOGUE, lambda share: tell(f"catalogue: {share:.0%}"))
        return
    with tempfile.TemporaryDirectory(prefix=".catalogue-", dir=incoming) as folder:
        copy = Catalogue(Path(folder))
        try:
            with source.catalogue.reading() as connection, copy.writing() as target:
                copy_rows(connection, target)
        finally:
            copy.close()
        snapshot(Path(folder) / CATALOGUE, incoming / CATALOGUE, lambda share: tell(f"catalogue: {share:.0%}"))


def _manifest(source: Source, folder: Path, backup: str, newest: Entry, *, kept: bool) -> Manifest:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {path.relative_to(folder).as_posix(): (path.stat().st_size, sha256_of(path)) for path in paths}
    made_at, key = utc(source.clock()), source.ledger.public_key
    return Manifest(backup, made_at, files, kept, newest.seq, newest.hash, key)


def _keep_batches(witness: Batches, kept: Batches, named: list[Batch]) -> None:
    """Beside the backup stands every batch that its snapshot contains and its oldest version does not: that can be
    restored with them."""
    for batch in named:
        if kept.has(batch):
            continue
        try:
            kept.keep(batch, list(witness.parts(batch)))
        except RolledBack:
            continue  # pruned before this folder had a backup; the snapshot has what is in it


def _forget_batches(target: Path, needed: set[str]) -> int:
    """Deletes batches beside the backup that its oldest version contains, as all later ones do; gives how many."""
    kept = Batches(FolderStore(target / BATCHES))
    old = kept.there() - needed
    for batch in old:
        kept.forget(Batch(batch, "", ()))
    return len(old)


def _prune(witness: Witness, named: list[Entry], now_s: float) -> int:
    """Deletes batches that the backup contains and that nobody's older backup is likely to need."""
    before = utc((datetime.fromtimestamp(now_s, UTC) - BATCHES_KEPT).timestamp())
    there = witness.batches.there()
    old = [batch for entry in named if entry.body["at"] < before and (batch := Batch.of(entry)).id in there]
    for batch in old:
        witness.batches.forget(batch)
    return len(old)


def _named(incoming: Path, target: Path, now_s: float) -> Path:
    """The version under its name: the time, with a number if another one has it."""
    name = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    folder, number = target / name, 1
    while folder.exists():
        number += 1
        folder = target / f"{name}-{number}"
    incoming.rename(folder)
    handle = os.open(target, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return folder


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
