"""Finds calls by an identifier: one tag for each living leaf, the newest day first, until a page is full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from sqlalchemy import Connection

from storage.calls import Mark, marks_of, read_mark, read_marked
from storage.keys import Bucket
from storage.keytree import KeyTree
from storage.model import CallId, Kind, TenantId
from storage.records import CallRecord, Day, Identifier
from storage.tags import ROWS_AT_ONCE, batches, find_tagged

_BUCKETS_MAX = 256
"""Looked into before asking whether the page is full; of whole days. It begins with one and four times as many follow,
since all calls of a group that are found are put in order: a hotline's number is found thousands of times in a day."""


def find_calls(
    connection: Connection,
    tree: KeyTree,
    tenant: TenantId,
    wanted: Sequence[Identifier],
    limit: int,
    before: CallId | None,
) -> list[CallRecord]:
    """The tenant's living calls that have one of the identifiers, newest first, older than `before`; NotFound."""
    mark = None if before is None else read_mark(connection, tenant, before)
    buckets = tree.open_buckets(connection, tenant, Kind.IDENTITY)
    found: list[Mark] = []
    for group in _whole_days([(day, bucket) for day, bucket in buckets if mark is None or day <= mark.day]):
        marks: set[Mark] = set()
        for keys in tree.index_keys(connection, tenant, group):
            for batch in batches(find_tagged(connection, keys, wanted), ROWS_AT_ONCE):
                marks |= marks_of(connection, tenant, batch, tree.now())
        found += sorted((at for at in marks if mark is None or at < mark), reverse=True)
        if len(found) >= limit:
            break
    return read_marked(connection, found[:limit])


def _whole_days(buckets: Sequence[tuple[Day, Bucket]]) -> Iterator[list[Bucket]]:
    """Groups of some size that part no day: what is found in one is newer than all that is found in the next."""
    size, group = 1, list[Bucket]()
    for _, of_day in groupby(buckets, key=lambda item: item[0]):
        group += [bucket for _, bucket in of_day]
        if len(group) >= size:
            yield group
            size, group = min(4 * size, _BUCKETS_MAX), []
    if group:
        yield group
