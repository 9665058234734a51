"""The catalogue's side of the uploader: keys to seal with, slices that were stored, streams and calls that are over."""

from __future__ import annotations

import json
from itertools import islice

from sqlalchemy import Connection, func, select, update

from storage.calls import calls_due, close_call, is_closed, read_call
from storage.catalogue import Catalogue
from storage.content import insert_slice
from storage.epochs import ALIVE
from storage.errors import AlreadyExists, Erased, NotFound
from storage.keytree import KeyTree
from storage.manifest import make_manifest
from storage.model import ArtefactId, ArtefactState, CallId, CallState, TenantId
from storage.objects import ObjectStore
from storage.signing import Signer
from storage.slices import SliceRow, StreamKey
from storage.streams import uploaded
from storage.tables import artefacts, manifests, slices, tombstones

_LOOKUPS_AT_ONCE = 500
"""Objects of a sweep whose rows are looked up together: below SQLite's oldest limit of 999 values."""


class SliceBook:
    """Implements `storage.slices.Slices`; thread-safe."""

    def __init__(self, catalogue: Catalogue, tree: KeyTree, signer: Signer) -> None:
        self._catalogue = catalogue
        self._tree = tree
        self._signer = signer

    def artefact_key(self, artefact: ArtefactId) -> StreamKey:
        """The key, read afresh, and the number of the next slice."""
        with self._catalogue.reading() as connection:
            opened = self._tree.open(connection, artefact)
            query = select(func.max(slices.c.slice_no)).where(slices.c.artefact == artefact)
            newest = connection.scalar(query)
        return StreamKey(opened.ref, opened.key, opened.segment_bytes, 0 if newest is None else newest + 1)

    def uploaded_seq(self, artefact: ArtefactId, run: str) -> int:
        """The highest sequence number of that run that a slice has; -1 if none."""
        with self._catalogue.reading() as connection:
            return uploaded(connection, artefact).get(run, -1)

    def commit_slice(self, row: SliceRow) -> None:
        """Durable when it returns; AlreadyExists, Erased, NotFound. A stream that was complete is open again by it."""
        with self._catalogue.writing() as connection:
            self._check_growing(connection, row.artefact)
            if row.first_seq <= uploaded(connection, row.artefact).get(row.run, -1):
                raise AlreadyExists(f"records of artefact {row.artefact} stand in a slice already")
            insert_slice(connection, row)
            grown = {"state": ArtefactState.WRITING.value, "size": artefacts.c.size + row.size}
            connection.execute(update(artefacts).where(artefacts.c.id == row.artefact).values(grown))

    def complete_stream(self, artefact: ArtefactId, interrupted: bool) -> None:
        """The stream is over; nothing happens if it is unknown or erased."""
        over: dict[str, object] = {"state": ArtefactState.COMPLETE.value}
        if interrupted:
            over["interrupted"] = True
        with self._catalogue.writing() as connection:
            where = (artefacts.c.id == artefact, artefacts.c.state.in_(ALIVE))
            connection.execute(update(artefacts).where(*where).values(over))

    def writing(self) -> list[tuple[ArtefactId, str]]:
        """Artefact and run of streams that have slices and no end."""
        query = select(slices.c.artefact, slices.c.run).join(artefacts, artefacts.c.id == slices.c.artefact)
        with self._catalogue.reading() as connection:
            rows = connection.execute(query.where(artefacts.c.state == ArtefactState.WRITING.value).distinct())
            return [(ArtefactId(artefact), run) for artefact, run in rows]

    def ended_calls(self) -> list[tuple[TenantId, CallId]]:
        """Calls that are over and complete and lack a manifest."""
        with self._catalogue.reading() as connection:
            return calls_due(connection)

    def store_manifest(self, tenant: TenantId, call: CallId) -> None:
        """Signs and stores the manifest, and moves an ended call to STORED or INTERRUPTED; idempotent."""
        with self._catalogue.writing() as connection:
            record = read_call(connection, tenant, call)
            if record.state is CallState.ERASED:
                raise Erased(f"call {call} is erased")
            if is_closed(connection, call):
                return
            manifest = make_manifest(connection, self._signer, tenant, call, record.day)
            connection.execute(manifests.insert(), {"call": call, "body": json.dumps(manifest)})
            interrupted = any(entry["interrupted"] for entry in manifest["artefacts"])
            stored = CallState.INTERRUPTED if interrupted else CallState.STORED
            close_call(connection, call, stored if record.state is CallState.ENDED else record.state)

    def sweep_orphans(self, objects: ObjectStore) -> int:
        """Deletes objects that no slice names; gives their number. Only while nobody uploads: at start."""
        swept = 0
        found = objects.list("")
        while names := list(islice((info.name for info in found), _LOOKUPS_AT_ONCE)):
            known = slices.c.stream_id.in_([name.rpartition("/")[2] for name in names])
            with self._catalogue.reading() as connection:
                kept = set(connection.scalars(select(slices.c.stream_id).where(known)))
            for name in names:
                if name.rpartition("/")[2] not in kept:
                    objects.delete(name)
                    swept += 1
        return swept

    def _check_growing(self, connection: Connection, artefact: ArtefactId) -> None:
        row = connection.execute(select(artefacts.c.state, artefacts.c.call).where(artefacts.c.id == artefact)).first()
        buried = connection.scalar(select(tombstones.c.erasure).where(tombstones.c.artefact == artefact))
        if buried is not None or (row is not None and row.state not in ALIVE):
            raise Erased(f"artefact {artefact} is erased")
        if row is None:
            raise NotFound(f"no artefact {artefact}")
        if is_closed(connection, row.call):
            raise NotFound(f"the call of artefact {artefact} has its manifest: nothing is added to it")
