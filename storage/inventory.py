"""What is stored of each tenant: every byte under exactly one kind, and whatever is of none by its name.

Objects, spool records and rows are counted as they lie there, sealed. An object belongs to the kind of the artefact
whose slice names it; a spool record to that of its stream's. Beside the kinds of artefacts there are `manifest`,
`statistics`, and `leftover`: objects of erased calls that the store's lock keeps, whose keys are gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import Connection, func, select

from storage.catalogue import Catalogue
from storage.model import Kind, TenantId
from storage.objects import ObjectInfo, ObjectStore
from storage.spoolview import SpoolView
from storage.tables import (
    artefacts,
    calls,
    documents,
    identifiers,
    leftovers,
    manifests,
    slices,
    statistics,
    tombstones,
)

_ROWS_AT_ONCE = 500
"""Looked up with one query: below SQLite's oldest limit of 999 values."""

MANIFEST, STATISTICS, LEFTOVER = "manifest", "statistics", "leftover"

CLASSES: dict[str, str] = {
    Kind.AUDIO: "audio",
    Kind.REDACTED_AUDIO: "audio",
    Kind.VOICEMAIL: "audio",
    Kind.TRANSCRIPT: "transcript",
    Kind.REDACTED_TRANSCRIPT: "transcript",
    Kind.SPANS: "transcript",
    Kind.DTMF: "transcript",
    Kind.IDENTITY: "metadata",
    Kind.CALL_DETAIL: "metadata",
    Kind.RATING: "metadata",
    Kind.CONSENT: "metadata",
    Kind.ANNOTATION: "metadata",
    Kind.REQUEST: "metadata",
    Kind.DISCLOSURE: "metadata",
    Kind.EGRESS: "metadata",
    Kind.BREACH: "metadata",
    MANIFEST: "metadata",
    STATISTICS: "metadata",
    LEFTOVER: "waste",
}
"""Of which class of communication data each kind is: audio, transcripts (what was said or pressed), metadata."""


@dataclass(slots=True)
class Held:
    """How much there is of one kind, sizes in bytes as they lie there."""

    artefacts: int = 0
    objects: int = 0
    object_bytes: int = 0
    rows: int = 0
    row_bytes: int = 0
    spool_records: int = 0
    spool_bytes: int = 0


@dataclass(slots=True)
class Inventory:
    """One look: what each tenant has, by kind; and what has no kind, which should not be."""

    tenants: dict[TenantId, dict[str, Held]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Held)))
    unclassified: dict[str, int] = field(default_factory=dict)  # name → size in bytes

    def of(self, tenant: str, kind: str) -> Held:
        """What a tenant has of a kind."""
        return self.tenants[TenantId(tenant)][kind]


def take_inventory(catalogue: Catalogue, objects: ObjectStore, look: Callable[[], SpoolView]) -> Inventory:
    """Unavailable if a part is away. What is being stored while it is looked at may seem to have no kind."""
    found = Inventory()
    spool = look()
    listed = objects.list("")
    while batch := list(islice(listed, _ROWS_AT_ONCE)):
        with catalogue.reading() as connection:
            _sort_objects(connection, batch, found)
    for info in objects.foreign():
        found.unclassified[info.name] = info.size
    with catalogue.reading() as connection:
        _count_rows(connection, found)
        _sort_spool(connection, spool, found)
    return found


def _sort_objects(connection: Connection, batch: Sequence[ObjectInfo], found: Inventory) -> None:
    streams = [info.name.rpartition("/")[2] for info in batch]
    query = select(slices.c.stream_id, artefacts.c.tenant, artefacts.c.call, artefacts.c.kind)
    query = query.join(artefacts, artefacts.c.id == slices.c.artefact).where(slices.c.stream_id.in_(streams))
    rows = {f"{row.tenant}/{row.call}/{row.stream_id}": row for row in connection.execute(query)}
    kept = select(leftovers.c.name, leftovers.c.tenant).where(leftovers.c.name.in_([info.name for info in batch]))
    waste = {row.name: row.tenant for row in connection.execute(kept)}
    for info in batch:
        if (row := rows.get(info.name)) is not None:
            held = found.of(row.tenant, row.kind)
        elif info.name in waste:
            held = found.of(waste[info.name], LEFTOVER)
        else:
            found.unclassified[info.name] = info.size
            continue
        held.objects += 1
        held.object_bytes += info.size


def _count_rows(connection: Connection, found: Inventory) -> None:
    counted = select(artefacts.c.tenant, artefacts.c.kind, func.count()).group_by(artefacts.c.tenant, artefacts.c.kind)
    for tenant, kind, count in connection.execute(counted):
        found.of(tenant, kind).artefacts = count
    for tenant, kind, rows, size in _row_sizes(connection):
        held = found.of(tenant, kind)
        held.rows += rows
        held.row_bytes += size


def _row_sizes(connection: Connection) -> Iterator[tuple[str, str, int, int]]:
    """Tenant, kind, number and size of rows with content, table by table."""
    for table, column in (
        (documents, documents.c.sealed),
        (identifiers, identifiers.c.sealed),
        (slices, slices.c.sealed_index),
    ):
        query = select(artefacts.c.tenant, artefacts.c.kind, func.count(), func.sum(func.length(column)))
        query = query.join(table, table.c.artefact == artefacts.c.id).group_by(artefacts.c.tenant, artefacts.c.kind)
        yield from (tuple(row) for row in connection.execute(query))
    of_calls = select(calls.c.tenant, func.count(), func.sum(func.length(manifests.c.body)))
    of_calls = of_calls.join(manifests, manifests.c.call == calls.c.id).group_by(calls.c.tenant)
    for tenant, rows, size in connection.execute(of_calls):
        yield tenant, MANIFEST, rows, size
    published = select(statistics.c.tenant, func.count(), func.sum(func.length(statistics.c.sealed)))
    for tenant, rows, size in connection.execute(published.group_by(statistics.c.tenant)):
        yield tenant, STATISTICS, rows, size


def _sort_spool(connection: Connection, spool: SpoolView, found: Inventory) -> None:
    """Records stay in a file until all in it are done: those of an erased artefact are waste without a key."""
    streams = iter(spool.streams.values())
    while batch := list(islice(streams, _ROWS_AT_ONCE)):
        ids = list({stream.artefact for stream in batch})
        query = select(artefacts.c.id, artefacts.c.tenant, artefacts.c.kind).where(artefacts.c.id.in_(ids))
        known = {row.id: (row.tenant, row.kind) for row in connection.execute(query)}
        buried = select(tombstones.c.artefact, tombstones.c.tenant).where(tombstones.c.artefact.in_(ids))
        known = {row.artefact: (row.tenant, LEFTOVER) for row in connection.execute(buried)} | known
        for stream in batch:
            if stream.artefact not in known:
                found.unclassified[f"spool {stream.artefact} {stream.run}"] = stream.size
                continue
            held = found.of(*known[stream.artefact])
            held.spool_records += stream.records
            held.spool_bytes += stream.size
    for file in spool.files:
        if file.fault:
            found.unclassified[f"spool file {file.name}"] = file.size
