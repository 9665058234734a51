"""One root's next epoch in the making: what a change of epoch replaces is wrapped anew ahead of it, a few leaves at a
time, so that the transaction that ends the epoch before has little left to do.

What is prepared are rows below buckets that have no row: they lead nowhere, and nobody reads or finds by them, until
that one transaction gives the buckets theirs. Others write meanwhile. So of everything whose successor was prepared it
is known how many rows stood below it and the sum of their serials: rows of a living tree are only ever appended, so
that the same count is the same rows. In the transaction this is compared, and only what has changed is done again.

- Replaced leaves are fixed before: they hold a wrap that a grave names, and of what has a grave no wrap is made.
- The key of a successor is in memory alone until the transaction wraps it; what a crash leaves of a preparation is
  waste, listed in `preparations`, and cleared before the next.
- `due` of a bucket is the one that its row has in the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Connection, Row, func, select

from storage.keys import Bucket, Node, WrappingKey, artefact_place, fresh_key, leaf_place, wrap_node
from storage.manyrows import insert_rows
from storage.model import Secret, new_id
from storage.preparations import clear_leaves, note_prepared
from storage.survival import artefact_ref, check_left_behind, children, open_survivor, survivors
from storage.tables import artefact_keys, nodes, tags
from storage.tags import ROWS_AT_ONCE, batches, moved_tags

LEAVES_AT_ONCE = 16
"""Leaves prepared in one transaction: some 1,000 keys, 20 ms, and as many as the last transaction may be left with."""

ROUNDS_MAX = 8
"""How often what others changed meanwhile is prepared again before it is left to the last transaction: each round is
shorter than the one before, so a second one is seldom."""

Seen = tuple[int, int]
"""How many rows there were, and the sum of their serials."""
_NOTHING: Seen = (0, 0)


@dataclass(slots=True, eq=False)
class Branch:
    """A bucket or node that is replaced, its successor, and what stood below it when that was looked at."""

    before: Bucket | Node
    after: Bucket | Node
    purpose: str
    row: dict[str, object]
    """The successor's, written in the last transaction if anything lives below it; of a bucket it is made there."""
    seen: Seen = _NOTHING
    known: set[str] = field(default_factory=set)
    kept: int = 0


@dataclass(slots=True, eq=False)
class Twig:
    """A leaf that is replaced. `after`: its successor, if any key lives on in it."""

    before: Node
    below: Branch
    seen: tuple[Seen, Seen] | None = None
    after: Node | None = None
    keys: int = 0
    tags: int = 0


@dataclass(slots=True)
class Rows:
    """What is to be written: the successors' ids, each with its bucket's, and rows; and leaves that were in vain."""

    made: list[tuple[str, str]] = field(default_factory=list)
    nodes: list[dict[str, object]] = field(default_factory=list)
    keys: list[tuple[str, str, bytes]] = field(default_factory=list)
    tags: list[tuple[str, str, bytes]] = field(default_factory=list)
    in_vain: list[str] = field(default_factory=list)


class Rewrapping:
    """What lives on below some buckets of one tenant, wrapped anew. Whoever meets an exception begins with a new one.

    `touched` has, for each bucket that is replaced, its nodes that are, each with its leaves that are.
    """

    def __init__(self, tenant: str, touched: dict[str, dict[str, set[str]]]) -> None:
        self._tenant = tenant
        self._touched = touched
        self._nodes_replaced = {node for below in touched.values() for node in below}
        self._leaves_replaced = {leaf for below in touched.values() for leaves in below.values() for leaf in leaves}
        self.buckets: dict[str, Branch] = {}
        self._nodes: dict[str, Branch] = {}
        self._leaves: dict[str, Twig] = {}
        self._waiting = Rows()
        self._left: set[tuple[str, str]] = set()

    def add(self, before: Bucket, purpose: str) -> None:
        """A bucket that is replaced, opened."""
        self.buckets[before.id] = Branch(before, Bucket(new_id(), fresh_key(), before.due), purpose, {})

    def prepare(
        self,
        reading: Callable[[], AbstractContextManager[Connection]],
        writing: Callable[[], AbstractContextManager[Connection]],
        change: str,
    ) -> None:
        """Writes ahead, in short transactions; the last one is left with few leaves, so with all if they are few."""
        for _ in range(ROUNDS_MAX):
            with reading() as connection:
                stale = self.look(connection)
            if len(stale) <= LEAVES_AT_ONCE:
                return
            for batch in batches(stale, LEAVES_AT_ONCE):
                with reading() as connection:
                    rows = self._wrapped(connection, batch)
                with writing() as connection:
                    note_prepared(connection, change, rows.made)
                    self._write(connection, rows)

    def look(self, connection: Connection) -> list[Twig]:
        """Takes note of what has come below branches; gives the leaves that are to be done, or done again."""
        for of, below in ((self.buckets, self._nodes), (self._nodes, self._leaves)):
            now = _seen(connection, nodes.c.parent, of)
            changed = [branch for id, branch in of.items() if now.get(id, _NOTHING) != branch.seen]
            for purpose, branches in _by_purpose(changed):
                self._branch_out(connection, purpose, branches, leaves=below is self._leaves)
            for branch in changed:
                branch.seen = now.get(branch.before.id, _NOTHING)
        keys, tagged = (_seen(connection, table.c.leaf, self._leaves) for table in (artefact_keys, tags))
        return [
            twig for id, twig in self._leaves.items() if twig.seen != (keys.get(id, _NOTHING), tagged.get(id, _NOTHING))
        ]

    def finish(self, connection: Connection, stale: Sequence[Twig], counts: dict[str, int]) -> set[str]:
        """Writes what is left, in the last transaction; gives the successors of buckets below which anything lives."""
        for key, purpose in self._left:  # whoever holds its key may have put something there since
            check_left_behind(connection, key, purpose)
        for batch in batches(stale, LEAVES_AT_ONCE):
            self._write(connection, self._wrapped(connection, batch))
        self._write(connection, self._waiting)
        filled = {twig.below.after.id for twig in self._leaves.values() if twig.after is not None}
        lasting = [branch for branch in self._nodes.values() if branch.kept or branch.after.id in filled]
        _insert_nodes(connection, [branch.row for branch in lasting])
        counts["nodes_replaced"] += len(lasting)
        counts["nodes_kept"] += sum(branch.kept for branch in self.buckets.values())
        counts["leaves_kept"] += sum(branch.kept for branch in self._nodes.values())
        counts["leaves_replaced"] += sum(twig.after is not None for twig in self._leaves.values())
        counts["keys_rewrapped"] += sum(twig.keys for twig in self._leaves.values())
        counts["tags_moved"] += sum(twig.tags for twig in self._leaves.values())
        above = {str(branch.row["parent"]) for branch in lasting}
        return above | {branch.after.id for branch in self.buckets.values() if branch.kept}

    def _branch_out(self, connection: Connection, purpose: str, branches: list[Branch], *, leaves: bool) -> None:
        by_id = {branch.before.id: branch for branch in branches}
        for node in children(connection, self._tenant, [branch.before for branch in branches], purpose, self._left):
            above = by_id[node.parent]
            if node.id in above.known:
                continue
            above.known.add(node.id)
            if leaves and node.id in self._leaves_replaced:
                self._leaves[node.id] = Twig(node, above)
            elif not leaves and node.id in self._nodes_replaced:
                after = Node(new_id(), fresh_key(), above.after.id)
                row = wrap_node(after, self._tenant, above.after.key)
                self._nodes[node.id] = Branch(node, after, purpose, row)
                self._waiting.made.append((after.id, after.parent))
            else:
                above.kept += 1
                row = wrap_node(Node(node.id, node.key, above.after.id), self._tenant, above.after.key)
                self._waiting.nodes.append(row)

    def _wrapped(self, connection: Connection, leaves: Sequence[Twig]) -> Rows:
        """The keys and tags that live on of some leaves, under successors that are new."""
        by_id = {twig.before.id: twig for twig in leaves}
        keys, tagged = (_seen(connection, table.c.leaf, by_id) for table in (artefact_keys, tags))
        rows, self._waiting = self._waiting, Rows()
        for id, twig in by_id.items():
            rows.in_vain += [twig.after.id] if twig.after is not None else []
            twig.seen = keys.get(id, _NOTHING), tagged.get(id, _NOTHING)
            twig.after, twig.keys, twig.tags = None, 0, 0
        for purpose, of in _by_purpose_of(leaves):
            self._wrap_leaves(connection, purpose, {twig.before.id: twig for twig in of}, rows)
        return rows

    def _wrap_leaves(self, connection: Connection, purpose: str, by_id: dict[str, Twig], rows: Rows) -> None:
        opened: dict[str, tuple[Node, Row[Any], Secret]] = {}
        at: dict[str, tuple[WrappingKey, WrappingKey, bytes, bytes, Node]] = {}
        for row in survivors(connection, by_id, purpose):
            leaf = at.get(row.leaf)
            if leaf is None:
                leaf = at[row.leaf] = self._successor(by_id[row.leaf], rows)
            old, new, old_place, new_place, after = leaf
            place = artefact_place(self._tenant, row.call, row.participant, row.id, row.kind, row.purpose)
            key = open_survivor(row.id, row.wrapped, old, place + old_place)
            rows.keys.append((row.id, after.id, new.wrap(key, place + new_place)))
            opened[row.id] = after, row, Secret(key)
            by_id[row.leaf].keys += 1
        moved = moved_tags(connection, opened, artefact_ref)
        rows.tags += moved
        by_after = {twig.after.id: twig for twig in by_id.values() if twig.after is not None}
        for leaf_id, _, _ in moved:
            by_after[leaf_id].tags += 1

    def _successor(self, twig: Twig, rows: Rows) -> tuple[WrappingKey, WrappingKey, bytes, bytes, Node]:
        node = twig.below.after
        after = twig.after = Node(new_id(), fresh_key(), node.id)
        rows.made.append((after.id, str(twig.below.row["parent"])))
        rows.nodes.append(wrap_node(after, self._tenant, node.key))
        before = twig.before
        return WrappingKey(before.key), WrappingKey(after.key), leaf_place(before.id), leaf_place(after.id), after

    def _write(self, connection: Connection, rows: Rows) -> None:
        clear_leaves(connection, rows.in_vain)
        _insert_nodes(connection, rows.nodes)
        insert_rows(connection, artefact_keys, ("artefact", "leaf", "wrapped"), rows.keys)
        insert_rows(connection, tags, ("leaf", "artefact", "tag"), rows.tags)


def _insert_nodes(connection: Connection, rows: Sequence[dict[str, object]]) -> None:
    insert_rows(connection, nodes, ("id", "parent", "wrapped"), [(*row.values(),) for row in rows])


def _seen(connection: Connection, of: Column[str], ids: Iterable[str]) -> dict[str, Seen]:
    """Of each of these that any row stands below; by an index that has nothing else to look for."""
    serial = of.table.c.serial
    found: dict[str, Seen] = {}
    for batch in batches(ids, ROWS_AT_ONCE):
        query = select(of, func.count(), func.sum(serial)).where(of.in_(batch)).group_by(of)
        found |= {id: (count, int(total)) for id, count, total in connection.execute(query)}
    return found


def _by_purpose(branches: Iterable[Branch]) -> Iterable[tuple[str, list[Branch]]]:
    found: dict[str, list[Branch]] = {}
    for branch in branches:
        found.setdefault(branch.purpose, []).append(branch)
    return found.items()


def _by_purpose_of(twigs: Iterable[Twig]) -> Iterable[tuple[str, list[Twig]]]:
    found: dict[str, list[Twig]] = {}
    for twig in twigs:
        found.setdefault(twig.below.purpose, []).append(twig)
    return found.items()
