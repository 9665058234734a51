"""Objects of erased calls that the object store's lock keeps: listed with their day, and deleted when it has come.

Nobody can read them: their keys were destroyed first, and no erasure waits for a deletion. Rules:

- A row stands for an object of which a version is left; it goes when the store says that none is.
- What is still locked on its day gets another day; a legal hold, which has no end of its own, is asked about monthly.
- When nothing of an erasure is left, the ledger says so with one more `swept` entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from storage.catalogue import Catalogue
from storage.ledger import Ledger
from storage.model import CallId, TenantId
from storage.objects import Kept, ObjectStore
from storage.tables import leftovers
from storage.times import day_of

AT_ONCE = 1000
"""Objects in one sweep, two or three requests each; the rest waits for the next."""
HOLD_RETRY_DAYS = 30
"""A legal hold is lifted by people, and nobody tells us."""
_DAYS_AHEAD_MAX = 365 * 100
"""Locks beyond that are tried again then: it keeps dates within what can be written."""
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object that is kept, and the UTC day on which deleting it is tried again."""

    erasure: str
    tenant: TenantId
    call: CallId
    name: str
    day: str


def note_kept(connection: Connection, erasure: str, tenant: str, kept: Sequence[Kept], now_s: float) -> None:
    """Lists what is kept of an erasure, in place of what was listed of it before."""
    connection.execute(delete(leftovers).where(leftovers.c.erasure == erasure))
    rows = [
        {"erasure": erasure, "tenant": tenant, "name": one.name, "day": retry_day(one.until, now_s)} for one in kept
    ]
    if rows:
        connection.execute(leftovers.insert(), rows)


def retry_day(until: float | None, now_s: float) -> str:
    """The first day after a lock that ends at `until`, Unix time; a later one than today."""
    if until is None:
        return day_of(now_s, HOLD_RETRY_DAYS)
    ahead = int(until // _DAY_S) - int(now_s // _DAY_S) + 1
    return day_of(now_s, min(max(ahead, 1), _DAYS_AHEAD_MAX))


def read_leftovers(connection: Connection, day: str | None = None) -> list[Leftover]:
    """The oldest of what is kept, or of what may go on that day."""
    query = select(leftovers)
    if day is not None:
        query = query.where(leftovers.c.day <= day)
    return [
        Leftover(row.erasure, TenantId(row.tenant), CallId(row.name.split("/")[1]), row.name, row.day)
        for row in connection.execute(query.order_by(leftovers.c.serial).limit(AT_ONCE))
    ]


def sweep_leftovers(catalogue: Catalogue, ledger: Ledger, objects: ObjectStore, clock: Callable[[], float]) -> int:
    """Deletes what may go today; gives how many went. Unavailable if the store is away: what is left stays listed."""
    now_s = clock()
    with catalogue.reading() as connection:
        due = read_leftovers(connection, day_of(now_s))
    gone = 0
    for leftover in due:
        still = objects.delete(leftover.name)
        with catalogue.writing() as connection:
            if still:
                day = retry_day(still[0].until, now_s)
                connection.execute(update(leftovers).where(leftovers.c.name == leftover.name).values(day=day))
            else:
                _forget(connection, ledger, leftover, now_s)
                gone += 1
    return gone


def _forget(connection: Connection, ledger: Ledger, gone: Leftover, now_s: float) -> None:
    forgotten = connection.execute(delete(leftovers).where(leftovers.c.name == gone.name)).rowcount
    left = connection.scalar(select(leftovers.c.serial).where(leftovers.c.erasure == gone.erasure).limit(1))
    if forgotten and left is None:  # not forgotten by another process before
        facts = {"erasure": gone.erasure, "tenant": gone.tenant, "kept": 0}
        ledger.append(connection, "swept", now_s, facts)
