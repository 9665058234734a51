"""Calls against their own accounts: each call's state, its streams, its manifest, and what call detail says of it.

A call is closed with a manifest that names exactly the slices that its streams have; or it is live, or what it waits
for is there: an erasure, a spool record, the end of a run. An interrupted call says which milliseconds are missing,
one that was not recorded says why; one that never got keys, and so has no parts, says it in its row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, or_, select

from storage.audit import Audit, Weight
from storage.calls import IS_CALL
from storage.catalogue import Catalogue
from storage.content import open_document, sealed_document
from storage.epochs import ALIVE
from storage.errors import DataError, Erased, Refused, Unavailable
from storage.keytree import KeyTree
from storage.model import ArtefactId, ArtefactState, CallId, CallState, Kind, TenantId
from storage.records import STREAMS
from storage.tables import artefacts, calls, changes, erased_calls, erasures, manifests, slices
from storage.tags import ROWS_AT_ONCE, batches

CALLS_AT_ONCE = 250
"""Looked up with one query: with their manifests some megabytes."""

Explain = Callable[[CallState, bytes], str]
"""What is wrong with a call's account of itself: its state and its opened call detail → "" if nothing is."""


class Accounts:
    """Each call's state against its streams, its manifest, and its own account."""

    _IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)
    _ARTEFACTS = select(artefacts).where(artefacts.c.call.in_(_IDS)).order_by(artefacts.c.serial)
    _MANIFESTS = select(manifests).where(manifests.c.call.in_(_IDS))
    _SLICES = (
        select(slices.c.artefact, slices.c.stream_id)
        .join(artefacts, artefacts.c.id == slices.c.artefact)
        .where(artefacts.c.call.in_(_IDS))
    )
    _ERASING = (
        select(erased_calls.c.call)
        .join(erasures, erasures.c.id == erased_calls.c.erasure)
        .outerjoin(changes, changes.c.id == erasures.c.change)
        .where(erased_calls.c.call.in_(_IDS), or_(changes.c.id.is_(None), changes.c.finished.is_(False)))
    )

    def __init__(
        self, catalogue: Catalogue, tree: KeyTree, audit: Audit, spooled: Collection[ArtefactId], explain: Explain
    ) -> None:
        self._catalogue = catalogue
        self._tree = tree
        self._audit = audit
        self._spooled = spooled
        self._explain = explain

    def compare(self, newest: int, *, keys: bool = False) -> None:
        """Judge all calls up to that serial number, a page and a snapshot at a time; if asked, open every key too."""
        after = 0
        query = select(calls).where(IS_CALL).order_by(calls.c.serial).limit(CALLS_AT_ONCE)
        while True:
            with self._catalogue.reading() as connection:
                rows = connection.execute(query.where(calls.c.serial > after, calls.c.serial <= newest)).all()
                if not rows:
                    return
                self._page(connection, rows, keys=keys)
            after = rows[-1].serial

    def _page(self, connection: Connection, rows: Sequence[Any], *, keys: bool) -> None:
        names = {"ids": [row.id for row in rows]}
        parts: dict[str, list[Any]] = {}
        for part in connection.execute(self._ARTEFACTS, names):
            parts.setdefault(part.call, []).append(part)
        signed = {row.call: row.body for row in connection.execute(self._MANIFESTS, names)}
        sliced: dict[str, set[str]] = {}
        for artefact, stream_id in connection.execute(self._SLICES, names):
            sliced.setdefault(artefact, set()).add(stream_id)
        if keys:
            self._open(connection, [part.id for of_call in parts.values() for part in of_call if part.state in ALIVE])
        erasing = set(connection.scalars(self._ERASING, names))
        for row in rows:
            self._audit.outcomes[row.state] += 1
            if row.state == CallState.ERASED:
                if row.id in erasing:
                    self._audit.find(Weight.PENDING, "erasure not finished", row.id)
            elif row.state == CallState.KEYLESS:
                self._audit.find(
                    Weight.PENDING, "call whose keys are away, or that is told to be lost at a start", row.id
                )
            elif row.state == CallState.LIVE:
                self._audit.find(Weight.PENDING, "call that is live, or ends when a server starts", row.id)
            else:
                self._ended(row, parts.get(row.id, []), signed.get(row.id), sliced)
                if row.state in (CallState.INTERRUPTED, CallState.NOT_RECORDED):
                    self._hear(connection, row, parts.get(row.id, []))
                if row.reason and row.id in parts:
                    self._audit.find(Weight.UNEXPLAINED, "call that never had keys, and has parts", row.id)
                elif not row.reason and row.id not in parts:
                    self._audit.find(Weight.UNEXPLAINED, "call without parts that does not say why", row.id)

    def _open(self, connection: Connection, living: Sequence[str]) -> None:
        for batch in batches(living, ROWS_AT_ONCE):
            for artefact, opened in self._tree.open_each(connection, [ArtefactId(name) for name in batch]).items():
                if isinstance(opened, DataError | Unavailable):  # not what is expired
                    self._audit.find(Weight.UNEXPLAINED, "artefact whose key does not open", artefact)

    def _ended(self, row: Any, parts: Sequence[Any], signed: str | None, sliced: Mapping[str, set[str]]) -> None:
        ever = [part for part in parts if Kind(part.kind) in STREAMS]
        streams = [part for part in ever if part.state in ALIVE]
        writing = [part for part in streams if part.state == ArtefactState.WRITING]
        if row.closed and (writing or signed is None):
            what = "closed call with an open stream" if writing else "closed call without a manifest"
            self._audit.find(Weight.UNEXPLAINED, what, row.id)
        elif not row.closed:
            endless = [part for part in writing if part.id not in self._spooled and part.id not in sliced]
            if endless:
                self._audit.find(Weight.UNEXPLAINED, "ended call with a stream that nothing will end", row.id)
            else:
                self._audit.find(Weight.PENDING, "ended call that waits for its manifest", row.id)
        if row.state == CallState.STORED and len(streams) == len(ever) and not any(part.id in sliced for part in ever):
            self._audit.find(Weight.UNEXPLAINED, "stored call without stored audio", row.id)
        if row.state == CallState.STORED and any(part.interrupted for part in streams):
            self._audit.find(Weight.UNEXPLAINED, "stored call with an interrupted stream", row.id)
        if signed is not None and not _is_true(signed, sliced, [part.id for part in streams]):
            self._audit.find(Weight.UNEXPLAINED, "manifest that names other slices than there are", row.id)

    def _hear(self, connection: Connection, row: Any, parts: Sequence[Any]) -> None:
        """What the call itself says, under seal, of why it is not stored whole."""
        for part in parts:
            if part.kind != Kind.CALL_DETAIL or part.state not in ALIVE:
                continue
            try:
                opened = self._tree.open(connection, ArtefactId(part.id), TenantId(row.tenant))
                found = sealed_document(connection, ArtefactId(part.id))
                wrong = self._explain(CallState(row.state), open_document(opened, *found)) if found else "no detail"
            except Erased:
                continue  # its time is over, or it has been erased since its row was read
            except (DataError, Refused) as error:
                wrong = f"call detail that does not open: {type(error).__name__}"
            if wrong:
                self._audit.find(Weight.UNEXPLAINED, wrong, CallId(row.id))


def _is_true(manifest: str, sliced: Mapping[str, set[str]], streams: Collection[str]) -> bool:
    """Whether the streams' slices in a manifest are those of the catalogue."""
    named: dict[str, set[str]] = {}
    for entry in json.loads(manifest)["artefacts"]:
        named[entry["artefact"]] = {found["object"].rpartition("/")[2] for found in entry["slices"]}
    return all(named.get(stream, set()) == sliced.get(stream, set()) for stream in streams)
