"""The objects that a snapshot names: listed with their hashes, and copied as far as the backup has not got them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from storage.backup.layout import OBJECTS, Listed, Version, versions
from storage.errors import AlreadyExists, NotFound
from storage.objects import ObjectStore
from storage.objects.folder import FolderStore
from storage.slices import stored_name
from storage.tables import artefacts, slices
from storage.tags import batches

_COPIERS = 8
"""Objects copied at once: a bucket takes some 50 ms for each, whatever its size."""
_ROWS_AT_ONCE = 10_000
_TOLD_EVERY = 1_000


@dataclass(slots=True)
class Copied:
    """What became of the objects that a snapshot names."""

    named: int = 0
    copied: int = 0  # the others were there
    copied_bytes: int = 0
    missing: int = 0  # named and not in the store: erased meanwhile; else `callvault reconcile` tells


def list_objects(connection: Connection, path: Path) -> None:
    """Writes the list of every object that the catalogue names."""
    columns = (
        slices.c.serial,
        slices.c.stream_id,
        slices.c.size,
        slices.c.digest,
        artefacts.c.tenant,
        artefacts.c.call,
    )
    query = select(*columns).join(artefacts, artefacts.c.id == slices.c.artefact)
    query = query.order_by(slices.c.serial).limit(_ROWS_AT_ONCE)
    serial = 0
    with path.open("w") as lines:
        while rows := connection.execute(query.where(slices.c.serial > serial)).all():
            for row in rows:
                name = stored_name(row.tenant, row.call, row.stream_id)
                lines.write(Listed(name, row.size, row.digest.hex()).line())
            serial = rows[-1].serial


def copy_objects(store: ObjectStore, version: Version, target: FolderStore, tell: Callable[[str], None]) -> Copied:
    """Copies what a version names into `target`; files are linked where they are on one disk. Unavailable."""
    total, lock = Copied(), threading.Lock()

    def copy(listed: Listed) -> None:
        size = _copied(store, target, listed)
        with lock:
            total.named += 1
            total.missing += size is None
            total.copied += bool(size)
            total.copied_bytes += size or 0
            if total.named % _TOLD_EVERY == 0:
                tell(f"objects: {total.named}, {total.copied} copied")

    with ThreadPoolExecutor(_COPIERS) as copiers:
        for batch in batches(version.listed(), _ROWS_AT_ONCE):
            for _ in copiers.map(copy, batch):
                pass
    return total


def forget_objects(folder: Path) -> int:
    """Deletes objects that no version of a backup names any more; gives how many."""
    shared = FolderStore(folder / OBJECTS)
    named = {listed.name for version in versions(folder) for listed in Version.open(version).listed()}
    forgotten = [info.name for info in shared.list() if info.name not in named]
    for name in forgotten:
        shared.delete(name)
    return len(forgotten)


def _copied(store: ObjectStore, target: FolderStore, listed: Listed) -> int | None:
    """How many bytes were copied, 0 if it was there already, None if the store has no such object."""
    if target.size(listed.name) == listed.size:
        return 0
    try:
        if not (isinstance(store, FolderStore) and store.link(listed.name, target)):
            target.put(listed.name, store.get(listed.name))
    except NotFound:
        return None
    except AlreadyExists:  # of another length than the row says: not what was stored
        target.delete(listed.name)
        return _copied(store, target, listed)
    return listed.size
