"""What the witness must have beside the ledger: noted in the transaction that writes it, put there at once, or later.

    record      a dossier (a request, an order, a copy that left), an annotation, the evidence of a consent: as it
                stands, sealed, with the rows of its keys; anew whenever it is amended
    hold        the keys that a hold placed
    statistics  what was published of a period

Each becomes a batch of rows, named by an entry `keys` of the ledger. A note goes in the transaction of that entry, and
only if what the batch has is what stands there: so it is never lost, whoever crashes, and of what was amended five
times while the witness was away only the last state goes there.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select

from storage.catalogue import Catalogue
from storage.errors import Unavailable
from storage.ledger import Ledger
from storage.model import Root, new_id
from storage.tables import consents, unwitnessed
from storage.witness import Witness
from storage.witness.batches import Batch, digests
from storage.witness.rows import Rows, encode, rows_below, rows_of, rows_published

AT_ONCE = 100
"""Put there by one look: some 0.2 s in a folder and 15 s in a bucket, after which others have their turn."""

_ATTEMPTS = 8
"""How often a batch is made again because what it is of was changed meanwhile: people change it, so once is rare."""


class Kept(StrEnum):
    """Of what kind it is, and the ledger's word for what names it."""

    RECORD = "record"
    HOLD = "hold"
    STATISTICS = "statistics"


_ROWS: dict[str, Callable[[Connection, str, str], Rows]] = {
    Kept.RECORD: rows_of,
    Kept.HOLD: lambda connection, tenant, hold: rows_below(connection, tenant, [Root.HOLD.value], hold),
    Kept.STATISTICS: rows_published,
}


def note(connection: Connection, tenant: str, kind: Kept, named: str) -> None:
    """The witness is to have it as it will be once this write transaction is over."""
    of = {"tenant": tenant, "kind": kind.value, "named": named}
    there = select(unwitnessed.c.serial).where(*(unwitnessed.c[name] == value for name, value in of.items()))
    if connection.scalar(there) is None:
        connection.execute(unwitnessed.insert(), {"id": new_id(), **of})


def waiting(catalogue: Catalogue, tenant: str | None = None) -> int:
    """How much the witness has to get yet, of all or of one tenant."""
    query = select(func.count()).select_from(unwitnessed)
    if tenant is not None:
        query = query.where(unwitnessed.c.tenant == tenant)
    with catalogue.reading() as connection:
        return connection.scalar(query) or 0


class Keeping:
    """Puts there what was noted; thread-safe, and safe beside other processes."""

    def __init__(self, catalogue: Catalogue, witness: Witness, ledger: Ledger, clock: Callable[[], float]) -> None:
        """`clock` gives Unix time."""
        self._catalogue = catalogue
        self._witness = witness
        self._ledger = ledger
        self._clock = clock

    def publish(
        self, *, tenant: str | None = None, named: str | None = None, placed: bool = False, limit: int | None = None
    ) -> None:
        """Puts there what waits, of all or of these, oldest first, and the ledger with it; `placed`: only holds, and
        consents with their evidence, which have placed keys.

        Unavailable if the witness is away; DataError if it gives back something else.
        """
        query = select(unwitnessed).order_by(unwitnessed.c.serial).limit(limit)
        if tenant is not None:
            query = query.where(unwitnessed.c.tenant == tenant)
        if named is not None:
            query = query.where(unwitnessed.c.named == named)
        if placed:
            of_consent = unwitnessed.c.named.in_(select(consents.c.id))
            query = query.where(or_(unwitnessed.c.kind == Kept.HOLD.value, of_consent))
        with self._catalogue.reading() as connection:
            found = connection.execute(query).all()
        for row in found:
            self._publish(row)
        self._witness.copies.publish(self._catalogue)

    def _publish(self, noted: Any) -> None:
        of_note = unwitnessed.c.id == noted.id
        for _ in range(_ATTEMPTS):
            with self._catalogue.reading() as connection:
                rows = _rows(connection, noted)
            batch = self._put(noted, rows)
            with self._catalogue.writing() as connection:
                if connection.scalar(select(unwitnessed.c.serial).where(of_note)) is None:
                    return  # another process was first
                now = _rows(connection, noted)
                if now:
                    if batch is None or digests(encode(noted.id, now)) != batch.parts:
                        continue
                    facts = batch.facts() | {noted.kind: noted.named}
                    self._ledger.append(connection, "keys", self._clock(), facts)
                connection.execute(delete(unwitnessed).where(of_note))  # what is erased has nothing to be kept
            return
        raise Unavailable(f"{noted.kind} {noted.named} does not come to rest; try again")

    def _put(self, noted: Any, rows: Rows) -> Batch | None:
        return self._witness.batches.publish(noted.id, noted.tenant, lambda: rows) if rows else None


def _rows(connection: Connection, noted: Any) -> Rows:
    return _ROWS[noted.kind](connection, noted.tenant, noted.named)
