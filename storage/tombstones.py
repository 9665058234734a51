"""The rows of an erasure: tombstones that refuse, steps that are remembered, and what is swept at the end."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.calls import close_call
from storage.epochs import ALIVE, replaced_buckets
from storage.jobs import forget_jobs
from storage.model import ArtefactState, CallId, CallState, Kind, Root
from storage.records import ROOTS
from storage.tables import (
    artefact_keys,
    artefacts,
    buckets,
    documents,
    epochs,
    erasure_steps,
    identifiers,
    manifests,
    slices,
    tags,
    tenants,
    tombstones,
)
from storage.zeros import zeros_like

_KEPT_ROOTS = frozenset({Root.STATUTORY})
"""What the law wants kept has no content and no far party, and outlives the erasure of its call."""


def bury(connection: Connection, erasure: str, tenant: str, call: str) -> None:
    """Tombstones for all content of the call, an end to its jobs, and a raised fence: reads are refused."""
    content = [kind.value for kind, root in ROOTS.items() if root not in _KEPT_ROOTS]
    where = and_(artefacts.c.call == call, artefacts.c.tenant == tenant, artefacts.c.kind.in_(content))
    buried = connection.scalars(select(artefacts.c.id).where(where)).all()
    if buried:
        rows = [{"artefact": artefact, "tenant": tenant, "call": call, "erasure": erasure} for artefact in buried]
        connection.execute(tombstones.insert(), rows)
    connection.execute(update(artefacts).where(where).values(state=ArtefactState.ERASING.value))
    close_call(connection, CallId(call), CallState.ERASED)
    forget_jobs(connection, call)
    raise_fence(connection, tenant)


def raise_fence(connection: Connection, tenant: str) -> None:
    """Tells every process that what it holds of this tenant's keys may be out of date."""
    connection.execute(update(tenants).where(tenants.c.id == tenant).values(fence=tenants.c.fence + 1))


def roots_of(connection: Connection, erasure: str) -> list[Root]:
    """The roots under which the erased artefacts stand."""
    query = select(artefacts.c.kind).join(tombstones, tombstones.c.artefact == artefacts.c.id)
    return sorted({ROOTS[Kind(kind)] for kind in connection.scalars(query.where(tombstones.c.erasure == erasure))})


def buckets_of(connection: Connection, erasure: str) -> set[str]:
    """The buckets that ever wrapped a key of the erased artefacts."""
    query = select(artefact_keys.c.bucket).join(tombstones, tombstones.c.artefact == artefact_keys.c.artefact)
    return set(connection.scalars(query.where(tombstones.c.erasure == erasure)))


def close_graves(connection: Connection, erasure: str) -> None:
    """The key is destroyed: ERASING becomes ERASED."""
    erased = select(tombstones.c.artefact).where(tombstones.c.erasure == erasure)
    state = ArtefactState.ERASED.value
    connection.execute(update(artefacts).where(artefacts.c.id.in_(erased)).values(state=state))


def count_kept(connection: Connection, call: str) -> int:
    """How many artefacts of the call go on living."""
    where = and_(artefacts.c.call == call, artefacts.c.state.in_(ALIVE))
    return int(connection.scalar(select(func.count()).select_from(artefacts).where(where)) or 0)


def write_step(connection: Connection, erasure: str, step: str, facts: dict[str, Any]) -> None:
    """Remembers that a step is done, and what came of it."""
    connection.execute(erasure_steps.insert(), {"erasure": erasure, "step": step, "facts": json.dumps(facts)})


def read_steps(connection: Connection, erasure: str) -> dict[str, dict[str, Any]]:
    """The steps that are done, each with what came of it."""
    rows = connection.execute(select(erasure_steps).where(erasure_steps.c.erasure == erasure))
    return {row.step: json.loads(row.facts) for row in rows}


def sweep_rows(connection: Connection, tenant: str, erasure: str, epochs_over: dict[str, int]) -> None:
    """Removes the erased artefacts, and every key row of epochs up to those given.

    The rows are waste paper since the provider's key is gone; this keeps them from being mistaken for anything else.
    """
    for root, n in epochs_over.items():
        replaced = replaced_buckets(connection, tenant, root, n)
        _shred(connection, artefact_keys, artefact_keys.c.bucket.in_(replaced))
        connection.execute(delete(tags).where(tags.c.bucket.in_(replaced)))
        of_root = and_(buckets.c.tenant == tenant, buckets.c.root == root, buckets.c.epoch <= n)
        _shred(connection, buckets, of_root)
        over = and_(epochs.c.tenant == tenant, epochs.c.root == root, epochs.c.n <= n)
        _zero(connection, epochs, over, ("wrapped", "probe"))
    erased = select(tombstones.c.artefact).where(tombstones.c.erasure == erasure)
    _shred(connection, artefact_keys, artefact_keys.c.artefact.in_(erased))
    for table in (documents, slices, identifiers):
        connection.execute(delete(table).where(table.c.artefact.in_(erased)))
    call = select(tombstones.c.call).where(tombstones.c.erasure == erasure)
    connection.execute(delete(manifests).where(manifests.c.call.in_(call)))
    connection.execute(delete(artefacts).where(artefacts.c.id.in_(erased)))


def _shred(connection: Connection, table: Table, where: ColumnElement[bool]) -> None:
    _zero(connection, table, where, ("wrapped",))
    connection.execute(delete(table).where(where))


def _zero(connection: Connection, table: Table, where: ColumnElement[bool], columns: tuple[str, ...]) -> None:
    """Overwrites in place: a row of the same length stays where it is, so no copy of the old one is left elsewhere."""
    zeros = {name: zeros_like(table.c[name]) for name in columns}
    connection.execute(update(table).where(where).values(zeros))
