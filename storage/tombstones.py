"""The rows of an erasure: tombstones that refuse, steps that are remembered, and what is swept at the end."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, and_, delete, func, select, update

from storage.calls import close_call
from storage.epochs import ALIVE
from storage.jobs import forget_jobs
from storage.lapsed import shred, sweep_tree
from storage.liveness import LEAF, NODE
from storage.model import ArtefactState, CallId, CallState, Root
from storage.records import ROOTS
from storage.tables import (
    artefact_keys,
    artefacts,
    buckets,
    documents,
    erasure_steps,
    identifiers,
    manifests,
    slices,
    tenants,
    tombstones,
)

_KEPT_ROOTS = frozenset({Root.STATUTORY})
"""What the law wants kept has no content and no far party, and outlives the erasure of its call."""


_WRAPS = (
    tombstones.join(artefact_keys, artefact_keys.c.artefact == tombstones.c.artefact)
    .join(LEAF, LEAF.c.id == artefact_keys.c.leaf)
    .join(NODE, NODE.c.id == LEAF.c.parent)
    .join(buckets, buckets.c.id == NODE.c.parent)
)
_NAMED = tombstones.c.purpose.in_(("", buckets.c.purpose))
"""Of a tombstone and a wrap of its artefact: it is erased by that."""


def bury(connection: Connection, erasure: str, tenant: str, call: str) -> None:
    """Tombstones for all content of the call, an end to its jobs, and a raised fence: reads are refused."""
    content = [kind.value for kind, root in ROOTS.items() if root not in _KEPT_ROOTS]
    where = and_(artefacts.c.call == call, artefacts.c.tenant == tenant, artefacts.c.kind.in_(content))
    buried = connection.scalars(select(artefacts.c.id).where(where)).all()
    if buried:
        whole = {"purpose": "", "tenant": tenant, "call": call, "erasure": erasure}
        connection.execute(tombstones.insert(), [{"artefact": artefact, **whole} for artefact in buried])
    connection.execute(update(artefacts).where(where).values(state=ArtefactState.ERASING.value))
    close_call(connection, CallId(call), CallState.ERASED)
    forget_jobs(connection, call)
    raise_fence(connection, tenant)


def raise_fence(connection: Connection, tenant: str) -> None:
    """Tells every process that what it holds of this tenant's keys may be out of date."""
    connection.execute(update(tenants).where(tenants.c.id == tenant).values(fence=tenants.c.fence + 1))


def roots_of(connection: Connection, erasure: str) -> list[Root]:
    """The roots under which a key of what is erased stands."""
    query = select(buckets.c.root).distinct().select_from(_WRAPS).where(tombstones.c.erasure == erasure, _NAMED)
    return sorted(Root(root) for root in connection.scalars(query))


def leaves_of(connection: Connection, erasure: str) -> set[str]:
    """The leaves that ever wrapped a key of what is erased."""
    query = select(LEAF.c.id).distinct().select_from(_WRAPS).where(tombstones.c.erasure == erasure, _NAMED)
    return set(connection.scalars(query))


def close_graves(connection: Connection, erasure: str) -> None:
    """The key is destroyed: ERASING becomes ERASED."""
    erased = select(tombstones.c.artefact).where(tombstones.c.erasure == erasure, tombstones.c.purpose == "")
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
        sweep_tree(connection, tenant, root, n)
    erased = select(tombstones.c.artefact).where(tombstones.c.erasure == erasure, tombstones.c.purpose == "")
    shred(connection, artefact_keys, artefact_keys.c.artefact.in_(erased))
    for table in (documents, slices, identifiers):
        connection.execute(delete(table).where(table.c.artefact.in_(erased)))
    call = select(tombstones.c.call).where(tombstones.c.erasure == erasure)
    connection.execute(delete(manifests).where(manifests.c.call.in_(call)))
    connection.execute(delete(artefacts).where(artefacts.c.id.in_(erased)))
