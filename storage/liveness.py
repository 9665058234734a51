"""Which artefacts are alive: not erased, and kept by at least one way whose time is not over.

A way is a wrap of the artefact's key: key row → leaf → node → bucket → epoch. It counts in the newest epoch of its root
only, while its bucket is not due, and unless an erasure of its purpose names it. An artefact dies with its last way.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, exists, or_, select
from sqlalchemy.sql.elements import ColumnElement

from storage.epochs import ALIVE
from storage.errors import Erased, Expired
from storage.model import ArtefactId
from storage.tables import artefact_keys, artefacts, buckets, epochs, nodes, tombstones

LEAF: Final = nodes.alias("leaf")
NODE: Final = nodes.alias("node")
"""The two levels of `nodes`, in statements that follow a way."""

_LATER: Final = epochs.alias("later")

IS_NEWEST: Final[ColumnElement[bool]] = ~exists().where(
    _LATER.c.tenant == buckets.c.tenant, _LATER.c.root == buckets.c.root, _LATER.c.n > buckets.c.epoch
)
"""Of a row of `buckets`: no epoch came after it. Rows of epochs that are over stay until they are swept."""

IS_BURIED: Final[ColumnElement[bool]] = exists().where(
    tombstones.c.artefact == artefacts.c.id, tombstones.c.purpose.in_(("", buckets.c.purpose))
)
"""Of an artefact and a bucket: this way is being erased."""

_WAYS = (
    artefacts.join(artefact_keys, artefact_keys.c.artefact == artefacts.c.id)
    .join(LEAF, LEAF.c.id == artefact_keys.c.leaf)
    .join(NODE, NODE.c.id == LEAF.c.parent)
    .join(buckets, buckets.c.id == NODE.c.parent)
)
_ALIVE = (
    select(artefacts.c.id)
    .distinct()
    .select_from(_WAYS)
    .where(
        artefacts.c.id.in_(bindparam("artefacts", expanding=True)),
        artefacts.c.state.in_(ALIVE),
        or_(buckets.c.due.is_(None), buckets.c.due > bindparam("now")),
        and_(IS_NEWEST, ~IS_BURIED),
    )
)


def is_due(due: int | None, now_s: float) -> bool:
    """Whether a bucket's reads are refused by now."""
    return due is not None and due <= now_s


def alive(connection: Connection, wanted: Collection[ArtefactId], now_s: float) -> set[ArtefactId]:
    """Those of these artefacts that are alive at that Unix time; some hundreds at once."""
    if not wanted:
        return set()
    found: Any = connection.scalars(_ALIVE, {"artefacts": list(wanted), "now": int(now_s)})
    return set(found)


def check_living(connection: Connection, artefact: ArtefactId, now_s: float) -> None:
    """Erased unless the artefact is alive; Expired if it is only that its time is over."""
    if alive(connection, [artefact], now_s):
        return
    state = connection.scalar(select(artefacts.c.state).where(artefacts.c.id == artefact))
    raise expired(artefact) if state in ALIVE else erased(artefact)


def erased(artefact: ArtefactId) -> Erased:
    """The answer to whoever asks for it."""
    return Erased(f"artefact {artefact} is erased")


def expired(artefact: ArtefactId) -> Expired:
    """The answer to whoever asks for it, whatever was dropped of it already."""
    return Expired(f"the time of artefact {artefact} is over")
