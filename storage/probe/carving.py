"""Key rows out of raw bytes: of deleted cells, free pages, dead tuples and write-ahead logs that no query reaches.

SQLite writes the types of a row's columns, and then these one behind the other, texts and blobs as they are; PostgreSQL
puts one octet before each short one (its length with itself, times two, plus one) and aligns integers; a dump has tabs
and hexadecimal digits. So a row shows by its ids, and what stands behind them is tried as if it were the wrapped key:
what is none does not open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from storage.model import Kind, Root

WRAPPED_BYTES = 60
REACH = 600
"""Of a row from its first octet to its last: windows overlap by so much, and no row is cut."""

_ROOTS = [re.compile(root.value.encode()) for root in Root]
_ANY_ROOT = rb"|".join(root.pattern for root in _ROOTS)
_ID = re.compile(rb"[0-9a-f]{32}")
_DAY = re.compile(rb"\d{4}-\d\d-\d\d")
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)
_BEHIND = 260
"""From a bucket's root to the end of its wrapped key: two words of 32 characters, a day, two integers, the key."""
_EPOCH_MAX = 1 << 31
_KINDS = sorted((kind.value.encode() for kind in Kind), key=len, reverse=True)
_KINDS_TUPLE = tuple(_KINDS)
_VAULT = re.compile(rb"vault:v\d{1,4}:[A-Za-z0-9+/]{80}")
"""A key of 32 bytes as OpenBao wraps it: base64 of 60 bytes. What stands behind it begins with letters, too."""

_ID32, _KEY = rb"([0-9a-f]{32})", rb"(.{60})"
_PAIRS = (  # each begins with octets that stand still: 1 GB/s, where a class of digits is looked for with 25 MB/s
    re.compile(rb"MM\x81\x04" + _ID32 + _ID32 + _KEY, re.DOTALL),  # SQLite's types: two texts of 32, a blob of 60
    re.compile(rb"C" + _ID32 + rb"C" + _ID32 + rb"\{" + _KEY, re.DOTALL),  # 33 and 61 octets, times two, plus one
    re.compile(rb"\t" + _ID32 + rb"\t" + _ID32 + rb"\t\\\\x([0-9a-f]{120})"),
)
_ARTEFACT = re.compile(
    rb"C" + _ID32 + rb"C" + _ID32 + rb"C" + _ID32 + rb"C" + _ID32
    + rb".(" + rb"|".join(_KINDS) + rb")([\x05-\x43])(.{1,32})C(.{32})", re.DOTALL
)  # fmt: skip
_DUMPED_EPOCH = re.compile(rb"\t" + _ID32 + rb"\t(" + _ANY_ROOT + rb")\t(\d{1,9})\t\\\\x([0-9a-f]{2,1000})\t")
_DUMPED_BUCKET = re.compile(
    rb"\t" + _ID32 + rb"\t" + _ID32 + rb"\t(" + _ANY_ROOT
    + rb")\t(\d{1,9})\t([a-z_]{1,32})\t([^\t\n]{1,32})\t(\d{4}-\d\d-\d\d)\t[^\t]{1,20}\t\\\\x([0-9a-f]{120})"
)  # fmt: skip

Carved = Mapping[str, Any]


class Pair(NamedTuple):
    """What may be a row of `artefact_keys` (artefact, leaf) or of `nodes` (id, parent)."""

    one: str
    two: str
    wrapped: bytes


def carve_pairs(raw: bytes) -> Iterator[Pair]:
    """Everything that may be a wrapped key behind two ids."""
    for pattern in _PAIRS[:2]:
        for found in pattern.finditer(raw):
            yield Pair(found[1].decode(), found[2].decode(), found[3])
    for found in _PAIRS[2].finditer(raw):
        yield Pair(found[1].decode(), found[2].decode(), bytes.fromhex(found[3].decode()))


def carve_tops(raw: bytes) -> Iterator[tuple[str, Carved]]:
    """Everything that may be a row of epochs or buckets, with its table's name."""
    for found in chain.from_iterable(root.finditer(raw) for root in _ROOTS):
        behind = raw[found.end() : found.end() + _BEHIND]
        for form in (_SQLITE, _POSTGRES):
            tenant = form.id_before(raw, found.start())
            if tenant is None:
                continue
            named = {"tenant": tenant, "root": found[0].decode()}
            yield from (("epochs", row) for row in form.epochs(behind, named))
            bucket = form.id_before(raw, found.start() - form.id_bytes)
            if bucket is not None:
                yield from (("buckets", row) for row in form.buckets(behind, named | {"id": bucket}))
    for found in _DUMPED_EPOCH.finditer(raw):
        tenant, root, n, wrapped = (part.decode() for part in found.groups())
        if len(wrapped) % 2 == 0:
            yield "epochs", {"tenant": tenant, "root": root, "n": int(n), "wrapped": bytes.fromhex(wrapped)}
    for found in _DUMPED_BUCKET.finditer(raw):
        id, tenant, root, n, kind, purpose, day, wrapped = (part.decode("ascii", "replace") for part in found.groups())
        words = {"id": id, "tenant": tenant, "root": root, "epoch": int(n), "kind": kind, "purpose": purpose}
        yield "buckets", {**words, "day": day, "wrapped": bytes.fromhex(wrapped)}


def carve_artefacts(raw: bytes) -> Iterator[Carved]:
    """Rows of artefacts out of PostgreSQL's pages. (SQLite's stay until every wrap of them is gone.)"""
    for found in _ARTEFACT.finditer(raw):
        id, tenant, call, participant, kind = (part.decode() for part in found.groups()[:5])
        size = _short(found[6][0])
        purpose, rest = raw[found.start(7) : found.start(7) + size], raw[found.start(7) + size :][:40]
        if not rest.startswith(b"C") or len(rest) < 33:
            continue
        row = {"id": id, "tenant": tenant, "call": call, "participant": participant, "kind": kind}
        yield row | {"purpose": purpose.decode("ascii", "replace"), "commitment": rest[1:33]}


class _Sqlite:
    id_bytes = 32

    def id_before(self, raw: bytes, at: int) -> str | None:
        found = raw[max(at - 32, 0) : at]
        return found.decode() if _ID.fullmatch(found) else None

    def epochs(self, behind: bytes, named: Carved) -> Iterator[Carved]:
        for size in _INTEGER_BYTES[:5]:
            if behind.startswith(_KINDS_TUPLE, size):
                return  # a bucket's row
            vault = _VAULT.match(behind, size)
            wrapped = vault[0] if vault else behind[size : size + WRAPPED_BYTES]
            for n in _numbers(behind[:size]):
                if 0 <= n < _EPOCH_MAX:
                    yield {**named, "n": n, "wrapped": wrapped}

    def buckets(self, behind: bytes, named: Carved) -> Iterator[Carved]:
        day = _DAY.search(behind)
        if day is None:
            return
        between = behind[: day.start()]
        for size in _INTEGER_BYTES[:5]:
            kind = next((kind for kind in _KINDS if between[size:].startswith(kind)), None)
            if kind is None:
                continue
            purpose = between[size + len(kind) :]
            for n in _numbers(between[:size]):
                for due in _INTEGER_BYTES:
                    wrapped = behind[day.end() + due : day.end() + due + WRAPPED_BYTES]
                    if 0 <= n < _EPOCH_MAX and len(wrapped) == WRAPPED_BYTES:
                        yield {**named, **_words(kind, purpose, day[0]), "epoch": n, "wrapped": wrapped}


class _Postgres:
    id_bytes = 33

    def id_before(self, raw: bytes, at: int) -> str | None:
        """`at` is where a text begins: before it stands the octet of its length, and before that the id."""
        found = raw[max(at - 33, 0) : at - 1] if at > 0 else b""
        return found.decode() if _ID.fullmatch(found) and raw[at - 34 : at - 33] == b"C" else None

    def epochs(self, behind: bytes, named: Carved) -> Iterator[Carved]:
        for n, at in _integers(behind):
            if at < len(behind) and behind[at] & 1 and _short(behind[at]) >= WRAPPED_BYTES:
                yield {**named, "n": n, "wrapped": behind[at + 1 : at + 1 + _short(behind[at])]}

    def buckets(self, behind: bytes, named: Carved) -> Iterator[Carved]:
        for n, begun in _integers(behind):
            words, at = [], begun
            for _ in range(3):
                size = _short(behind[at]) if at < len(behind) else -1
                words.append(behind[at + 1 : at + 1 + size] if 0 < size <= 32 else b"")
                at += 1 + max(size, 0)
            if words[0] not in _KINDS or _DAY.fullmatch(words[2]) is None:
                continue
            for start in range(at, min(at + 17, len(behind) - WRAPPED_BYTES)):  # an aligned integer of 8, or none
                if behind[start] == 2 * (WRAPPED_BYTES + 1) + 1:
                    wrapped = behind[start + 1 : start + 1 + WRAPPED_BYTES]
                    yield {**named, **_words(*words), "epoch": n, "wrapped": wrapped}


_SQLITE, _POSTGRES = _Sqlite(), _Postgres()


def _words(kind: bytes, purpose: bytes, day: bytes) -> dict[str, str]:
    return {"kind": kind.decode(), "purpose": purpose.decode("ascii", "replace"), "day": day.decode()}


def _integers(behind: bytes) -> Iterator[tuple[int, int]]:
    """What may be an aligned integer of 4 octets, and where it ends. Machines that run us are little-endian."""
    for pad in range(4):
        if not any(behind[:pad]):
            n = int.from_bytes(behind[pad : pad + 4], "little", signed=True)
            if 0 <= n < _EPOCH_MAX:
                yield n, pad + 4


def _short(octet: int) -> int:
    """How long the text behind this octet is."""
    return (octet >> 1) - 1


def _numbers(raw: bytes) -> tuple[int, ...]:
    """The integer; 0 and 1 have no bytes of their own."""
    return (int.from_bytes(raw, "big", signed=True),) if raw else (0, 1)
