"""What a change of epoch has prepared: the ids of nodes and leaves that it made ahead, each with its bucket's.

Until the bucket has a row they lead nowhere. Of an attempt that a crash ended it never gets one: its rows are waste, as
their keys were in memory alone, and go before the next attempt, or with the sweep in a store that was restored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager

from sqlalchemy import Connection, delete, select

from storage.lapsed import shred
from storage.manyrows import insert_rows
from storage.tables import artefact_keys, buckets, nodes, preparations, tags

_CLEARED_AT_ONCE = 16
"""Ids in one transaction, leaves among them with some 64 keys each."""


def note_prepared(connection: Connection, change: str, made: Sequence[tuple[str, str]]) -> None:
    """Notes ids of nodes and leaves with their buckets', in the transaction of their rows."""
    insert_rows(connection, preparations, ("change", "id", "parent"), [(change, id, bucket) for id, bucket in made])


def clear_prepared(writing: Callable[[], AbstractContextManager[Connection]], change: str) -> None:
    """Deletes what was prepared for a change and came to nothing, and all notes, in short write transactions.

    Each looks anew which notes are left: as long as there are any, the change is not swept, nor is a later one, and so
    a bucket without a row is one that never had any.
    """
    query = select(preparations).where(preparations.c.change == change).order_by(preparations.c.serial)
    while True:
        with writing() as connection:
            notes = connection.execute(query.limit(_CLEARED_AT_ONCE)).all()
            if not notes:
                return
            there = set(connection.scalars(select(buckets.c.id).where(buckets.c.id.in_({row.parent for row in notes}))))
            in_vain = [row for row in notes if row.parent not in there]
            clear_leaves(connection, [row.id for row in in_vain])
            shred(connection, nodes, nodes.c.parent.in_({row.id for row in in_vain} | {row.parent for row in in_vain}))
            connection.execute(delete(preparations).where(preparations.c.serial.in_([row.serial for row in notes])))


def clear_leaves(connection: Connection, ids: Collection[str]) -> None:
    """Deletes leaves that were made in vain, with the keys and tags under them."""
    if ids:
        shred(connection, artefact_keys, artefact_keys.c.leaf.in_(ids))
        connection.execute(delete(tags).where(tags.c.leaf.in_(ids)))
        shred(connection, nodes, nodes.c.id.in_(ids))
