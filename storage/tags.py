"""Blind tags: what a call is found by, in rows that show neither the identifier nor that two calls share one.

Each leaf has an index key, derived from the leaf's. The n-th artefact of a leaf that has some identifier is found by
the tag of that identifier and n, counted from 0 without a hole: so no two rows are ever equal, and an erased call's old
tag does not tell, by being equal to a survivor's, whose number it was. A search asks for 0, 1, 2 … until one is
missing; a new row's number is found by doubling and halving. An artefact has tags in every leaf that wraps its key.

An epoch change that replaces a leaf computes the survivors' tags anew, from their identifiers, which are kept sealed
under their artefacts' keys; the old tags are waste as soon as the old leaf key is.
"""

from __future__ import annotations

import hmac
import json
import os
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, bindparam, select

from storage.envelope import derive, length_prefixed
from storage.errors import Tampered, Unavailable
from storage.keys import Node
from storage.model import ArtefactId, ArtefactRef, Secret
from storage.records import Identifier
from storage.tables import identifiers, tags

TAG_BYTES = 16
"""128 bits: among 10⁹ rows two are equal by chance with a probability of 10⁻²¹."""

ROWS_AT_ONCE = 500
"""Looked up with one query: below SQLite's oldest limit of 999 values."""

_WIDTH_MAX = 256
"""Numbers asked for at once of one identifier in one leaf, after fewer were all there."""

_PROBES = 16
"""Numbers asked for at once when the first free one is sought: a query costs more than sixteen look-ups."""

_COUNT_BITS = 16
"""Of a number: more artefacts than that no leaf has, though what is placed by many processes at once overfills it."""

_NONCE_BYTES = 12
_AT = select(tags.c.tag, tags.c.artefact)
_SEALED = (
    select(identifiers.c.artefact, identifiers.c.sealed)
    .where(identifiers.c.artefact.in_(bindparam("artefacts", expanding=True)))
    .order_by(identifiers.c.serial)
)

Item = TypeVar("Item")

_INDEX_LABEL, _SEAL_LABEL = b"callvault tags v1", b"callvault identifiers v1"


def index_key(leaf: Node) -> bytes:
    """The key of a leaf's tags."""
    return derive(Secret(leaf.key), b"", _INDEX_LABEL)


def tag(key: bytes, identifier: Identifier, n: int) -> bytes:
    """The tag of the `n`-th artefact that has the identifier."""
    return _tag(key, _message(identifier), n)


def seal_identifiers(ref: ArtefactRef, key: Secret, found: Sequence[Identifier]) -> bytes:
    """Identifiers for their row: they open only with the artefact's key, in this place."""
    nonce = os.urandom(_NONCE_BYTES)
    plain = json.dumps([[identifier.type, identifier.value] for identifier in found]).encode()
    return nonce + AESGCM(derive(key, b"", _SEAL_LABEL)).encrypt(nonce, plain, _place(ref))


def open_identifiers(ref: ArtefactRef, key: Secret, sealed: Iterable[bytes]) -> list[Identifier]:
    """The identifiers in all rows of one artefact; Tampered."""
    decrypt = AESGCM(derive(key, b"", _SEAL_LABEL)).decrypt
    found = []
    for row in sealed:
        try:
            plain = decrypt(row[:_NONCE_BYTES], row[_NONCE_BYTES:], _place(ref))
        except (InvalidTag, ValueError):
            raise Tampered(f"the identifiers of artefact {ref.artefact} do not open") from None
        found += [Identifier(type_, value) for type_, value in json.loads(plain)]
    return found


def write_tags(connection: Connection, leaf: Node, items: Sequence[tuple[ArtefactRef, Sequence[Identifier]]]) -> None:
    """Writes the tags of artefacts whose keys this leaf wraps; within a write transaction."""
    key = index_key(leaf)
    counts = _counts(connection, key, {_message(identifier) for _, found in items for identifier in found})
    rows = [row for ref, found in items for row in _rows(leaf, key, ref.artefact, found, counts)]
    if rows:
        connection.execute(tags.insert(), rows)


def write_identifiers(
    connection: Connection, items: Iterable[tuple[ArtefactRef, Secret, Sequence[Identifier]]]
) -> None:
    """Writes what tags are computed from, sealed; once, in how many leaves ever the artefacts have tags."""
    rows = [{"artefact": ref.artefact, "sealed": seal_identifiers(ref, key, found)} for ref, key, found in items]
    if rows:
        connection.execute(identifiers.insert(), rows)


def read_identifiers(
    connection: Connection, items: Sequence[tuple[ArtefactRef, Secret]]
) -> list[tuple[ArtefactRef, list[Identifier]]]:
    """The identifiers of those of these artefacts that have some; Tampered."""
    found = []
    for batch in batches(items, ROWS_AT_ONCE):
        sealed = _sealed_of(connection, [ref.artefact for ref, _ in batch])
        found += [
            (ref, open_identifiers(ref, key, sealed[ref.artefact])) for ref, key in batch if ref.artefact in sealed
        ]
    return found


def moved_tags(
    connection: Connection,
    survivors: Mapping[str, tuple[Node, Any, Secret]],
    ref_of: Callable[[Any], ArtefactRef],
) -> list[tuple[str, str, bytes]]:
    """The tags of what lives on of replaced leaves, by the leaf after, which has none yet: leaf, artefact, tag.

    Of each artefact its leaf, row and key; `ref_of` makes the reference of a row.
    """
    keys: dict[str, tuple[bytes, dict[bytes, int]]] = {}
    rows = []
    for artefact, sealed in _sealed_of(connection, survivors).items():
        leaf, row, artefact_key = survivors[artefact]
        if leaf.id not in keys:
            keys[leaf.id] = index_key(leaf), {}
        key, counts = keys[leaf.id]
        for identifier in open_identifiers(ref_of(row), artefact_key, sealed):
            message = _message(identifier)
            n = counts[message] = counts.get(message, -1) + 1
            rows.append((leaf.id, artefact, _tag(key, message, n)))
    return rows


def compare_tags(
    connection: Connection, before: Collection[str], after: Collection[str], survivors: Collection[str]
) -> None:
    """Unavailable if one of these artefacts has fewer tags in the leaves after than in those before."""
    there = _tally(connection, after)
    for artefact, count in _tally(connection, before).items():
        if artefact in survivors and there[artefact] < count:
            raise Unavailable(f"artefact {artefact} has lost tags in the new epoch: nothing is destroyed")


def find_tagged(connection: Connection, keys: Sequence[bytes], wanted: Sequence[Identifier]) -> set[ArtefactId]:
    """The artefacts that have one of the identifiers, in leaves with these index keys."""
    found: set[ArtefactId] = set()
    asked = [(key, message, range(1)) for message in map(_message, wanted) for key in keys]
    while asked:
        numbered = {_tag(key, of, n): at for at, (key, of, numbers) in enumerate(asked) for n in numbers}
        met = Counter[int]()
        for batch in batches(numbered, ROWS_AT_ONCE):
            for there, artefact in connection.execute(_AT.where(tags.c.tag.in_(batch))).all():
                found.add(ArtefactId(artefact))
                met[numbered[there]] += 1
        asked = [(key, of, _next(ns)) for at, (key, of, ns) in enumerate(asked) if met[at] == len(ns)]
    return found


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items, so many at a time."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _sealed_of(connection: Connection, wanted: Iterable[str]) -> dict[str, list[bytes]]:
    """The sealed identifiers of those of these artefacts that have any."""
    found: dict[str, list[bytes]] = {}
    for batch in batches(wanted, ROWS_AT_ONCE):
        rows = connection.execute(_SEALED, {"artefacts": batch}).all()
        for artefact, sealed in rows:
            found.setdefault(artefact, []).append(sealed)
    return found


def _next(numbers: range) -> range:
    return range(numbers.stop, numbers.stop + min(4 * len(numbers), _WIDTH_MAX))


def _message(identifier: Identifier) -> bytes:
    """The two, length-prefixed; in full, since an epoch change makes hundred thousands."""
    type_, value = identifier.type.encode(), identifier.value.encode()
    return struct.pack(">H", len(type_)) + type_ + struct.pack(">H", len(value)) + value


def _tag(key: bytes, message: bytes, n: int) -> bytes:
    return hmac.digest(key, message + struct.pack(">Q", n), "sha256")[:TAG_BYTES]


def _place(ref: ArtefactRef) -> bytes:
    where = (ref.tenant, ref.call, ref.participant, ref.artefact, ref.kind.value, ref.purpose)
    return length_prefixed(_SEAL_LABEL, *(part.encode() for part in where))


def _rows(
    leaf: Node, key: bytes, artefact: ArtefactId, found: Iterable[Identifier], counts: dict[bytes, int]
) -> list[dict[str, Any]]:
    rows = []
    for message in map(_message, found):
        n = counts.get(message, 0)
        counts[message] = n + 1
        rows.append({"leaf": leaf.id, "artefact": artefact, "tag": _tag(key, message, n)})
    return rows


def _counts(connection: Connection, key: bytes, messages: Collection[bytes]) -> dict[bytes, int]:
    """How many rows each of these has in the leaf; most have none, which is one query for all of them."""
    counts: dict[bytes, int] = {}
    for batch in batches(messages, ROWS_AT_ONCE):
        first = {_tag(key, message, 0): message for message in batch}
        for found in connection.scalars(select(tags.c.tag).where(tags.c.tag.in_(first))).all():
            counts[first[found]] = _count(connection, key, first[found])
    return counts


def _count(connection: Connection, key: bytes, message: bytes) -> int:
    """The first number that is free, where 0 is not: first between which powers of two, then closer and closer."""
    there, free = _between(connection, key, message, [1 << power for power in range(_COUNT_BITS)])
    while free - there > 1:
        step = max(1, (free - there) // _PROBES)
        there, free = _between(connection, key, message, [*range(there, free, step), free])
    return free


def _between(connection: Connection, key: bytes, message: bytes, numbers: Sequence[int]) -> tuple[int, int]:
    """The last of these rising numbers that is taken, or 0, and the next of them."""
    asked = {_tag(key, message, n): n for n in numbers}
    taken = [asked[found] for found in connection.scalars(select(tags.c.tag).where(tags.c.tag.in_(asked))).all()]
    last = max(taken, default=0)
    return last, next(n for n in numbers if n > last)


def _tally(connection: Connection, leaves: Collection[str]) -> Counter[str]:
    """How many tags each artefact has in these leaves."""
    found = Counter[str]()
    for batch in batches(leaves, ROWS_AT_ONCE):
        found.update(connection.scalars(select(tags.c.artefact).where(tags.c.leaf.in_(batch))).all())
    return found
