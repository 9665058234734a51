"""Batches of rows in the witness: what no backup of before has, and what the next one needs.

A part of a batch is the object `keys/<batch>/<the first 32 digits of its SHA-256>`. Which parts a batch has is said by
an entry of the ledger, of type `keys`, with their whole hashes: a part that is missing, cut, changed or of another
batch is told, and so is a witness that lost a whole batch. Publishing is repeatable: the same rows are the same parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from storage.chain import Entry
from storage.errors import AlreadyExists, DataError, Malformed, NotFound, RolledBack, Tampered, Unavailable
from storage.objects import ObjectStore
from storage.witness.rows import Rows, decode, encode

_FOLDER = "keys/"
_NAME_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the ledger names it: whose rows, and the SHA-256 of every part in order."""

    id: str
    tenant: str
    parts: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """For the ledger's entry of type `keys`."""
        return {"batch": self.id, "tenant": self.tenant, "parts": list(self.parts)}

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The batch that an entry of type `keys` names; Malformed."""
        batch, tenant, parts = (entry.body.get(name) for name in ("batch", "tenant", "parts"))
        if not isinstance(batch, str) or not isinstance(tenant, str) or not isinstance(parts, list):
            raise Malformed(f"entry {entry.seq} of the ledger names no batch of keys")
        return cls(batch, tenant, tuple(str(part) for part in parts))

    def names(self) -> list[str]:
        """The names of its objects."""
        return [f"{_FOLDER}{self.id}/{part[:_NAME_DIGITS]}" for part in self.parts]


def digests(parts: Sequence[bytes]) -> tuple[str, ...]:
    """What the ledger says of a batch's parts."""
    return tuple(hashlib.sha256(part).hexdigest() for part in parts)


class Batches:
    """The key batches of one witness, or of what a backup has kept of it."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def publish(self, batch: str, tenant: str, read_rows: Callable[[], Rows]) -> Batch:
        """Puts the rows, and compares what the witness gives back with the catalogue, which is read again for that.

        Unavailable, or DataError: then nothing may be destroyed that relies on it.
        """
        rows = read_rows()
        parts = encode(batch, rows)
        made = Batch(batch, tenant, digests(parts))
        for name, part in zip(made.names(), parts, strict=True):
            with suppress(AlreadyExists):  # of an attempt before; whether it is the same is seen below
                self._objects.put(name, part)
        if self._given_back(made) != parts or read_rows() != rows:
            raise DataError(f"the witness gives back other rows of key batch {batch}: nothing is destroyed")
        return made

    def read(self, batch: Batch) -> Iterator[Rows]:
        """The rows, part by part. RolledBack if a part is missing, Tampered if it is not what the ledger says."""
        for number, part in enumerate(self.parts(batch)):
            yield decode(batch.id, number, part)

    def parts(self, batch: Batch) -> Iterator[bytes]:
        """The same as bytes."""
        for number, (name, wanted) in enumerate(zip(batch.names(), batch.parts, strict=True)):
            try:
                part = self._objects.get(name)
            except NotFound:
                raise RolledBack(
                    f"part {number} of key batch {batch.id} is missing, the ledger names it: the key table would be too"
                    " old to open what lives; restore a newer backup, or mend the witness"
                ) from None
            if hashlib.sha256(part).hexdigest() != wanted:
                raise Tampered(f"part {number} of key batch {batch.id} is not what the ledger says")
            yield part

    def keep(self, batch: Batch, parts: Sequence[bytes]) -> None:
        """Puts parts that another witness gave."""
        for name, part in zip(batch.names(), parts, strict=True):
            with suppress(AlreadyExists):
                self._objects.put(name, part)

    def has(self, batch: Batch) -> bool:
        """Whether all of its parts are there."""
        there = {info.name for info in self._objects.list(f"{_FOLDER}{batch.id}/")}
        return there.issuperset(batch.names())

    def there(self) -> set[str]:
        """The ids of all batches that have anything here."""
        return {info.name.split("/")[1] for info in self._objects.list(_FOLDER)}

    def _given_back(self, batch: Batch) -> list[bytes]:
        try:
            return [self._objects.get(name) for name in batch.names()]
        except NotFound:
            raise Unavailable(f"the witness lost a part of key batch {batch.id}: nothing is destroyed") from None

    def forget(self, batch: Batch) -> None:
        """Deletes a batch that is superseded; what an object lock keeps, it keeps."""
        self._objects.purge(f"{_FOLDER}{batch.id}/")
