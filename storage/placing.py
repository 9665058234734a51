"""Placing keys: wraps them with a leaf's key and writes their rows, under epochs that are held.

The keys of one call, kind and purpose that are placed together go into one leaf.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection, bindparam, select

from storage.envelope import commitment
from storage.filling import Filling, write_leaves
from storage.keys import Node, Slot, artefact_aad, wrap
from storage.liveness import LEAF, NODE
from storage.model import ArtefactId, ArtefactRef, ArtefactState, CallId, Root, Secret, TenantId
from storage.records import ROOTS, Day, Identifier, NewArtefact
from storage.tables import artefact_keys, artefacts
from storage.tags import write_tags

Place = tuple[TenantId, Root]


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch of one tenant and root: its secret, and the slots known here. Made anew when it learns of more."""

    tenant: TenantId
    root: Root
    n: int
    secret: bytes = field(repr=False)
    slots: dict[Slot, Filling] = field(repr=False)
    until: Day
    """The last day that the provider was asked for: buckets up to it are made without it, later ones are not."""


Held = dict[Place, Epoch]
"""The epochs under which a transaction places keys."""


class Wrappable(Protocol):
    """A key that is to be wrapped, and where."""

    @property
    def ref(self) -> ArtefactRef:
        """Which artefact's it is."""
        ...

    @property
    def key(self) -> Secret:
        """What is wrapped."""
        ...

    @property
    def place(self) -> Place:
        """The tree that the wrap belongs to."""
        ...

    @property
    def slot(self) -> Slot:
        """The bucket that the wrap belongs to."""
        ...


@dataclass(frozen=True, slots=True)
class Placing:
    """A new artefact that is to get its rows: its key, creation day, first state, and what it is found by."""

    artefact: NewArtefact
    day: Day
    state: ArtefactState = ArtefactState.WRITING
    size: int = 0
    identifiers: tuple[Identifier, ...] = ()

    @property
    def ref(self) -> ArtefactRef:
        """Which artefact it is."""
        return self.artefact.ref

    @property
    def key(self) -> Secret:
        """Its key."""
        return self.artefact.key

    @property
    def place(self) -> Place:
        """The tree that it belongs to."""
        return self.artefact.ref.tenant, ROOTS[self.artefact.ref.kind]

    @property
    def slot(self) -> Slot:
        """The bucket that it belongs to."""
        return Slot(self.artefact.ref.kind, self.artefact.ref.purpose, self.day)


@dataclass(frozen=True, slots=True)
class Keeping:
    """A stored artefact that is to be kept for something else as well: for another purpose (under the root of its
    kind), or for a hold (under root `hold`, with the hold's id as purpose). `day` is that of its creation."""

    ref: ArtefactRef
    key: Secret
    purpose: str
    day: Day
    root: Root

    @property
    def place(self) -> Place:
        """The tree of the further wrap."""
        return self.ref.tenant, self.root

    @property
    def slot(self) -> Slot:
        """The bucket of the further wrap."""
        return Slot(self.ref.kind, self.purpose, self.day)


_IN_BUCKETS = (
    select(artefact_keys.c.artefact, NODE.c.parent)
    .select_from(artefact_keys.join(LEAF, LEAF.c.id == artefact_keys.c.leaf).join(NODE, NODE.c.id == LEAF.c.parent))
    .where(artefact_keys.c.artefact.in_(bindparam("artefacts", expanding=True)))
)


def insert_artefacts(connection: Connection, items: Iterable[Placing]) -> None:
    """The rows of new artefacts."""
    connection.execute(artefacts.insert(), [_artefact_row(item) for item in items])


def insert_keys(connection: Connection, items: Sequence[Wrappable], held: Held) -> dict[ArtefactId, Node]:
    """Wraps keys and writes their rows, with those of leaves that are new; gives each artefact's leaf."""
    together = Counter((item.place, item.slot, item.ref.call) for item in items)
    chosen: dict[tuple[Place, Slot, CallId], Node] = {}
    used: dict[TenantId, dict[str, Filling]] = {}
    leaves: dict[ArtefactId, Node] = {}
    rows = []
    for item in items:
        ref, place, slot = item.ref, item.place, item.slot
        group = place, slot, ref.call
        leaf = chosen.get(group)
        if leaf is None:
            filling = held[place].slots[slot]
            leaf = chosen[group] = filling.leaf_for(together[group])
            used.setdefault(ref.tenant, {})[leaf.id] = filling
        leaves[ref.artefact] = leaf
        wrapped = wrap(leaf.key, item.key.reveal(), artefact_aad(ref, leaf.id))
        rows.append({"artefact": ref.artefact, "leaf": leaf.id, "wrapped": wrapped})
    for tenant, fillings in used.items():
        write_leaves(connection, tenant, fillings)
    connection.execute(artefact_keys.insert(), rows)
    return leaves


def insert_tags(
    connection: Connection,
    leaves: Mapping[ArtefactId, Node],
    found: Iterable[tuple[ArtefactRef, Sequence[Identifier]]],
) -> None:
    """Writes the tags of artefacts, each under its leaf."""
    of_leaf: dict[Node, list[tuple[ArtefactRef, Sequence[Identifier]]]] = {}
    for ref, identifiers in found:
        of_leaf.setdefault(leaves[ref.artefact], []).append((ref, identifiers))
    for leaf, tagged in of_leaf.items():
        write_tags(connection, leaf, tagged)


def missing_wraps(connection: Connection, items: Sequence[Keeping], held: Held) -> list[Keeping]:
    """Those of these, some hundreds at once, whose artefact has no wrap in that bucket yet."""
    query = connection.execute(_IN_BUCKETS, {"artefacts": [item.ref.artefact for item in items]})
    there = {(row.artefact, row.parent) for row in query}
    return [item for item in items if (item.ref.artefact, held[item.place].slots[item.slot].bucket.id) not in there]


def _artefact_row(item: Placing) -> dict[str, object]:
    ref = item.artefact.ref
    return {
        "id": ref.artefact,
        "tenant": ref.tenant,
        "call": ref.call,
        "participant": ref.participant,
        "kind": ref.kind.value,
        "purpose": ref.purpose,
        "commitment": commitment(item.artefact.key),
        "segment_bytes": item.artefact.segment_bytes,
        "state": item.state.value,
        "interrupted": False,
        "size": item.size,
    }
