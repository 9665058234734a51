"""The catalogue's side of the uploader: keys to seal with, slices that were stored, streams and calls that are over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, select, update

from storage.calls import calls_due, read_call
from storage.catalogue import Catalogue
from storage.errors import Erased, NotFound, NotReady, Refused, StoreError, Swapped
from storage.keytree import KeyTree, Opened
from storage.manifest import Closing, make_manifests, parse_manifest
from storage.manifest import verify as verify_manifest
from storage.model import ArtefactId, ArtefactState, CallId, CallState, Root, TenantId
from storage.records import ROOTS, STREAMS, Day
from storage.residency import Residency
from storage.signing import Signer
from storage.slicerows import add_slices, end_streams, read_stored
from storage.slices import SliceRow, StreamKey
from storage.tables import artefacts, calls, manifests, slices

_CALLS = select(calls.c.id, calls.c.tenant, calls.c.state, calls.c.day, calls.c.closed).where(
    calls.c.id.in_(bindparam("ids", expanding=True))
)
_CLOSED = (
    select(artefacts.c.id)
    .join(calls, calls.c.id == artefacts.c.call)
    .where(artefacts.c.id.in_(bindparam("ids", expanding=True)), calls.c.closed.is_(True))
)
_INTERRUPTED = select(artefacts.c.call).where(
    artefacts.c.call.in_(bindparam("ids", expanding=True)), artefacts.c.interrupted.is_(True)
)
_WHOLE = update(artefacts).where(artefacts.c.id.in_(bindparam("ids", expanding=True))).values(interrupted=False)
_STREAMS_OF = select(artefacts.c.id, artefacts.c.call).where(
    artefacts.c.call.in_(bindparam("ids", expanding=True)), artefacts.c.kind.in_(STREAMS)
)
_CLOSE = update(calls).where(calls.c.id == bindparam("of")).values(state=bindparam("to"), closed=True)


class SliceBook:
    """Implements `storage.slices.Slices`; thread-safe."""

    def __init__(self, catalogue: Catalogue, tree: KeyTree, signer: Signer, residency: Residency) -> None:
        self._catalogue = catalogue
        self._tree = tree
        self._signer = signer
        self._residency = residency

    def artefact_keys(self, wanted: Sequence[ArtefactId]) -> dict[ArtefactId, StreamKey | StoreError]:
        """The keys, and what is stored, in one snapshot; instead of a key what `KeyTree.open` would raise.

        NotFound also for streams of a call that has its manifest, Misplaced where its objects must not go.
        """
        with self._catalogue.reading() as connection:
            keys = self._tree.open_each(connection, wanted)
            stored = read_stored(connection, wanted)
            closed = set(connection.scalars(_CLOSED, {"ids": wanted}))
        outcomes: dict[ArtefactId, StreamKey | StoreError] = {}
        refused = self._residency.refused({key.ref.tenant for key in keys.values() if isinstance(key, Opened)})
        for artefact, key in keys.items():
            if isinstance(key, Opened) and ROOTS[key.ref.kind] is Root.STATUTORY:  # which holds no content
                outcomes[artefact] = NotFound(f"artefact {artefact} is no stream")
            elif artefact in closed and isinstance(key, Opened):  # sealing and storing would be for nothing
                outcomes[artefact] = NotFound(f"the call of artefact {artefact} has its manifest")
            elif isinstance(key, Opened) and key.ref.tenant in refused:
                outcomes[artefact] = refused[key.ref.tenant]
            elif isinstance(key, Opened):
                has = stored[artefact]
                outcomes[artefact] = StreamKey(key.ref, key.key, key.segment_bytes, has.next_slice, has.uploaded)
            else:
                outcomes[artefact] = key
        return outcomes

    def commit(self, rows: Sequence[SliceRow], ends: Mapping[ArtefactId, bool]) -> list[Refused | None]:
        """Slices and ends of streams in one transaction; the outcome of each row."""
        with self._catalogue.writing() as connection:
            outcomes = add_slices(connection, rows)
            refused = {row.artefact for row, outcome in zip(rows, outcomes, strict=True) if outcome is not None}
            end_streams(connection, {artefact: end for artefact, end in ends.items() if artefact not in refused})
        return outcomes

    def complete_stream(self, artefact: ArtefactId, interrupted: bool) -> None:
        """The stream is over; nothing happens if it is unknown or erased."""
        self.commit((), {artefact: interrupted})

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

    def streams_of(self, calls: Sequence[CallId]) -> dict[ArtefactId, CallId]:
        """The streams of these calls, each with its call."""
        with self._catalogue.reading() as connection:
            rows = connection.execute(_STREAMS_OF, {"ids": list(calls)})
            return {ArtefactId(artefact): CallId(call) for artefact, call in rows}

    def interrupted(self, of: Sequence[tuple[TenantId, CallId]]) -> list[tuple[TenantId, CallId]]:
        """Those of these calls of which a stream was interrupted."""
        with self._catalogue.reading() as connection:
            found = set(connection.scalars(_INTERRUPTED, {"ids": [call for _, call in of]}))
        return [(tenant, call) for tenant, call in of if call in found]

    def whole(self, streams: Sequence[ArtefactId]) -> None:
        """Nothing of these streams is missing, though a run of theirs ended without a word; before the manifest."""
        with self._catalogue.writing() as connection:
            connection.execute(_WHOLE, {"ids": list(streams)})

    def store_manifest(self, tenant: TenantId, call: CallId) -> None:
        """Signs and stores one manifest, if the call has none; Erased, NotFound."""
        (outcome,) = self.store_manifests([(tenant, call)])
        if outcome is not None:
            raise outcome

    def store_manifests(self, due: Sequence[tuple[TenantId, CallId]]) -> list[Refused | None]:
        """Signs and stores manifests, and moves ended calls to STORED or INTERRUPTED; the outcome of each call."""
        with self._catalogue.writing() as connection:
            rows = {row.id: row for row in connection.execute(_CALLS, {"ids": [call for _, call in due]})}
            outcomes = [_outcome(tenant, call, rows.get(call)) for tenant, call in due]
            closing = [
                Closing(tenant, call, Day(rows[call].day))
                for (tenant, call), outcome in zip(due, outcomes, strict=True)
                if outcome is None and rows[call].closed is False
            ]
            made = make_manifests(connection, self._signer, closing)
            if made:
                bodies = [{"call": call, "body": json.dumps(manifest)} for call, manifest in made.items()]
                connection.execute(manifests.insert(), bodies)
                closed = [{"of": call, "to": _closed_as(rows[call].state, made[call])} for call in made]
                connection.execute(_CLOSE, closed)
        return outcomes

    def manifest(self, tenant: TenantId, call: CallId) -> dict[str, Any]:
        """The signed manifest; NotFound, Erased, NotReady, and DataError if it is not what was signed for this call."""
        with self._catalogue.reading() as connection:
            record = read_call(connection, tenant, call)
            body = connection.scalar(select(manifests.c.body).where(manifests.c.call == call))
        if record.state is CallState.ERASED:
            raise Erased(f"call {call} is erased")
        if body is None:
            raise NotReady(f"call {call} has no manifest yet")
        manifest = parse_manifest(body.encode())
        verify_manifest(manifest, self._signer.public_key)
        if (manifest["tenant"], manifest["call"]) != (tenant, call):
            raise Swapped(f"the manifest of call {call} is another call's")
        return manifest


def _outcome(tenant: TenantId, call: CallId, row: Any | None) -> Refused | None:
    if row is None or row.tenant != tenant:
        return NotFound(f"no call {call}")
    return Erased(f"call {call} is erased") if row.state == CallState.ERASED else None


def _closed_as(state: str, manifest: dict[str, Any]) -> str:
    if state != CallState.ENDED:
        return state
    interrupted = any(entry["interrupted"] for entry in manifest["artefacts"])
    return (CallState.INTERRUPTED if interrupted else CallState.STORED).value
