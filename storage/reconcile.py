"""Compares catalogue, spool, objects and outbox, so that nothing in one of them stands without the others' account.

Rules (those of calls stand in `accounts`):

- Each slice has its object, of its size and, if asked, its hash; slices of a stream are numbered without a hole.
- Each living artefact's key opens: asked with the hashes.
- Each object belongs to a slice. One of a known call that no slice names is a leftover: an upload that was cut off.
- The newest change of each tenant's policy that the ledger has is a row.
- Each search tag belongs to an artefact and to a leaf whose key may still be there.
- Each spool record above what is uploaded belongs to a stream that may still grow.

Everything moves while it is compared. So only rows are judged that stood before the first look (what they need was
durable before them), and of what is found wrong only what a second look, some time later, finds again (`audit.both`).
No snapshot of the catalogue is held for long: it would keep erasures from emptying the write-ahead file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, select

from storage.accounts import Accounts, Explain
from storage.audit import FOREIGN, NAMED_MAX, ORPHAN, Audit, Weight
from storage.catalogue import Catalogue
from storage.epochs import ALIVE
from storage.errors import NotFound
from storage.keytree import KeyTree
from storage.model import ArtefactId, is_id
from storage.objects import ObjectInfo, ObjectStore
from storage.policies import missing_rows
from storage.slicerows import Stored, read_stored
from storage.spoolview import SpoolView, StreamView
from storage.tables import artefacts, calls, dead_jobs, nodes, outbox, slices, tags, tombstones

_ROWS_AT_ONCE = 500
"""Looked up with one query: below SQLite's oldest limit of 999 values."""


def reconcile(
    catalogue: Catalogue,
    tree: KeyTree,
    objects: ObjectStore,
    look: Callable[[], SpoolView],
    explain: Explain,
    *,
    hashes: bool = False,
) -> Audit:
    """One look at everything. Unavailable if a part is away; what is wrong with one thing is a finding."""
    audit = Audit()
    with catalogue.reading() as connection:
        newest_call = connection.scalar(select(func.max(calls.c.serial))) or 0
        newest_slice = connection.scalar(select(func.max(slices.c.serial))) or 0
    spool = look()  # before the catalogue: what is uploaded meanwhile is then seen twice and not missed
    _Objects(catalogue, objects, audit, newest_slice).compare(hashes=hashes)
    with catalogue.reading() as connection:
        _compare_numbers(connection, audit)
        _compare_tags(connection, audit)
        _compare_spool(connection, audit, spool)
        for entry in missing_rows(connection):
            audit.find(Weight.UNEXPLAINED, "policy that the ledger has and its table lacks", entry.body["tenant"])
        audit.jobs = connection.scalar(select(func.count()).select_from(outbox)) or 0
        for job in connection.scalars(select(outbox.c.id).limit(NAMED_MAX)):
            audit.find(Weight.PENDING, "job not handed to the queue yet", job)
        for call in connection.scalars(select(dead_jobs.c.call).limit(NAMED_MAX)):
            audit.find(Weight.PENDING, "job that was given up: `callvault jobs`", call)
    Accounts(catalogue, tree, audit, {artefact for artefact, _ in spool.streams}, explain).compare(
        newest_call, keys=hashes
    )
    return audit


def sweep(catalogue: Catalogue, objects: ObjectStore, names: Iterable[str]) -> int:
    """Delete those of the objects that no slice names now either; gives how many. Only while nobody uploads."""
    swept = 0
    rest = iter(names)
    while batch := list(islice(rest, _ROWS_AT_ONCE)):
        with catalogue.reading() as connection:
            known = select(slices.c.stream_id).where(slices.c.stream_id.in_([_stream_id(name) for name in batch]))
            kept = set(connection.scalars(known))
        for name in batch:
            if _stream_id(name) not in kept and not objects.delete(name):  # what a lock keeps is not swept yet
                swept += 1
    return swept


class _Objects:
    """Objects against slices: one listing, looked up in batches, and a bit for each slice that was met."""

    def __init__(self, catalogue: Catalogue, objects: ObjectStore, audit: Audit, newest: int) -> None:
        self._catalogue = catalogue
        self._objects = objects
        self._audit = audit
        self._newest = newest
        self._met = bytearray((newest >> 3) + 1)

    def compare(self, *, hashes: bool) -> None:
        listed = self._objects.list("")
        while batch := list(islice(listed, _ROWS_AT_ONCE)):
            self._batch(batch, hashes=hashes)
        for info in self._objects.foreign():
            self._audit.find(Weight.UNEXPLAINED, FOREIGN, info.name)
        self._find_missing()

    def _batch(self, batch: Sequence[ObjectInfo], *, hashes: bool) -> None:
        query = (
            select(slices.c.serial, slices.c.stream_id, slices.c.size, slices.c.digest, artefacts.c.tenant)
            .add_columns(artefacts.c.call)
            .join(artefacts, artefacts.c.id == slices.c.artefact)
            .where(slices.c.stream_id.in_([_stream_id(info.name) for info in batch]))
        )
        with self._catalogue.reading() as connection:
            rows = {f"{row.tenant}/{row.call}/{row.stream_id}": row for row in connection.execute(query)}
            strays = [info.name for info in batch if info.name not in rows]
            homes = set(connection.scalars(select(calls.c.id).where(calls.c.id.in_(map(_call_of, strays)))))
        for info in batch:
            self._audit.objects += 1
            self._audit.object_bytes += info.size
            row = rows.get(info.name)
            if row is None:
                known = _call_of(info.name) in homes
                what = ORPHAN if known else "object of a call that the catalogue does not know"
                self._audit.find(Weight.LEFTOVER if known else Weight.UNEXPLAINED, what, info.name)
                continue
            if row.serial <= self._newest:
                self._met[row.serial >> 3] |= 1 << (row.serial & 7)
            if info.size != row.size:
                self._audit.find(Weight.UNEXPLAINED, "object of another size than its slice", info.name)
            elif hashes:
                self._compare_hash(info.name, row.digest)

    def _compare_hash(self, name: str, digest: bytes) -> None:
        try:
            stored = self._objects.get(name)
        except NotFound:
            return  # erased since it was listed, or found to be missing below
        self._audit.hashes += 1
        if sha256(stored).digest() != digest:
            self._audit.find(Weight.UNEXPLAINED, "object whose content is not its slice's", name)

    def _find_missing(self) -> None:
        after = 0
        query = (
            select(slices.c.serial, slices.c.stream_id, artefacts.c.state)
            .join(artefacts, artefacts.c.id == slices.c.artefact)
            .order_by(slices.c.serial)
            .limit(_ROWS_AT_ONCE)
        )
        while True:
            with self._catalogue.reading() as connection:
                page = query.where(slices.c.serial > after, slices.c.serial <= self._newest)
                rows = connection.execute(page).all()
            if not rows:
                return
            for row in rows:
                self._audit.slices += 1
                if row.state in ALIVE and not self._met[row.serial >> 3] & 1 << (row.serial & 7):
                    self._audit.find(Weight.UNEXPLAINED, "slice without its object", row.stream_id)
            after = rows[-1].serial


def _compare_numbers(connection: Connection, audit: Audit) -> None:
    """Slices are numbered from 0 within their artefact."""
    numbers = func.count(), func.max(slices.c.slice_no)
    query = select(slices.c.artefact).group_by(slices.c.artefact).having(numbers[0] != numbers[1] + 1)
    for artefact in connection.scalars(query):
        audit.find(Weight.UNEXPLAINED, "stream with a slice left out", artefact)


def _compare_tags(connection: Connection, audit: Audit) -> None:
    """A tag stands under a leaf, and leads to an artefact, that are there."""
    of_leaf = select(tags.c.leaf).distinct().where(tags.c.leaf.not_in(select(nodes.c.id)))
    for leaf in connection.scalars(of_leaf.limit(NAMED_MAX)):
        audit.find(Weight.UNEXPLAINED, "search tags of a leaf that is not there", leaf)
    lost = tags.outerjoin(artefacts, artefacts.c.id == tags.c.artefact)
    of_artefact = select(tags.c.artefact).distinct().select_from(lost).where(artefacts.c.id.is_(None))
    for artefact in connection.scalars(of_artefact.limit(NAMED_MAX)):
        audit.find(Weight.UNEXPLAINED, "search tags of an artefact that is not there", artefact)


def _compare_spool(connection: Connection, audit: Audit, spool: SpoolView) -> None:
    for file in spool.files:
        if file.fault:
            audit.find(Weight.UNEXPLAINED, "spool file that cannot be read", file.name)
        elif file.broken:  # its streams end as interrupted, and say so
            audit.find(Weight.PENDING, "spool file with broken places", file.name)
    for stream, (weight, what) in judged(connection, spool):
        audit.find(weight, what, f"{stream.artefact} {stream.run}")


def judged(connection: Connection, spool: SpoolView) -> Iterator[tuple[StreamView, tuple[Weight, str]]]:
    """Each stream in the spool, and what it waits for."""
    streams = iter(spool.streams.values())
    while batch := list(islice(streams, _ROWS_AT_ONCE)):
        ids = list({stream.artefact for stream in batch})
        rows = select(artefacts.c.id, artefacts.c.state, calls.c.closed).join(calls, calls.c.id == artefacts.c.call)
        known = {row.id: row for row in connection.execute(rows.where(artefacts.c.id.in_(ids)))}
        stored = read_stored(connection, ids)
        whole = select(tombstones.c.artefact).where(tombstones.c.artefact.in_(ids), tombstones.c.purpose == "")
        buried = set(connection.scalars(whole))
        for stream in batch:
            yield stream, _judge(stream, known.get(stream.artefact), stored, stream.artefact in buried)


def _judge(
    stream: StreamView, row: Any | None, stored: Mapping[ArtefactId, Stored], buried: bool
) -> tuple[Weight, str]:
    """What a stream in the spool waits for. `row` is its artefact's, `stored` what slices have of it."""
    if buried or (row is not None and row.state not in ALIVE):
        return Weight.LEFTOVER, "spool records of an erased recording"
    if row is None:
        return Weight.UNEXPLAINED, "spool records of a stream that the catalogue does not know"
    if stream.last_seq <= stored[stream.artefact].uploaded.get(stream.run, -1):
        return Weight.LEFTOVER, "spool records that are uploaded, in a file with others that are not"
    if row.closed:
        return Weight.LEFTOVER, "spool records without audio of a call that is closed"
    return Weight.PENDING, "spool records that wait to be uploaded"


def _stream_id(name: str) -> str:
    return name.rpartition("/")[2]


def _call_of(name: str) -> str:
    """The call in an object's name; empty for names that are not of our making."""
    parts = name.split("/")
    return parts[1] if len(parts) == 3 and all(map(is_id, parts)) else ""
