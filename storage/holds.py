"""Holds: what must not be destroyed, and on which ground. A held call outlives its term, its tenant, and whoever asks.

A hold is a further wrap of the keys of all that a call holds, under the tenant's root `hold`: so expiry and the end of
a tenant pass it by, and an erasure is refused with its ground. What is made of a held call later is held as well.
Releasing a hold erases what nothing else keeps: see `storage.erasure`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from storage.calls import IS_CALL
from storage.catalogue import Catalogue
from storage.erasure import Eraser, Target
from storage.errors import Erased, NotFound, OnHold, Refused
from storage.keeping import Keeper, Stored, held_alone, stored
from storage.ledger import Ledger
from storage.model import ArtefactId, CallId, CallState, Kind, Root, TenantId, new_id
from storage.tables import calls, held_calls, holds
from storage.tags import ROWS_AT_ONCE, batches
from storage.witness.pending import Kept, note
from storage.words import check_words

ENTRY = "hold"
"""The type of the ledger's entry; a release is the intent of its erasure."""

CALLS_MAX = 1_000
"""Calls in one hold: their keys are wrapped in one transaction, some 0.1 ms each, and others wait to write."""

RELEASED = "the hold is released"
"""The ground of the erasure that a release is."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold: why, since when (UTC), by whose doing, and of what."""

    id: str
    ground: str
    at: str
    actor: str
    released: bool
    calls: tuple[CallId, ...]


class Holds:
    """All tenants' holds; thread-safe. Every method may raise Unavailable."""

    def __init__(
        self,
        catalogue: Catalogue,
        keeper: Keeper,
        eraser: Eraser,
        ledger: Ledger,
        keep: Callable[[str], object],
        clock: Callable[[], float],
    ) -> None:
        """`keep` puts what a hold has placed into the witness: a restore then brings it back, whatever ends."""
        self._catalogue = catalogue
        self._keeper = keeper
        self._eraser = eraser
        self._ledger = ledger
        self._keep = keep
        self._clock = clock

    def place(self, tenant: TenantId, of: Sequence[CallId], ground: str, actor: str) -> str:
        """Holds calls, live ones too; gives the hold's id. Ground and actor are kept for ever (Refused).

        NotFound, Erased where one of them has nothing left to hold: then nothing is held.
        """
        check_words(ground, actor)
        named, id = list(dict.fromkeys(of)), new_id()
        if not 0 < len(named) <= CALLS_MAX:
            raise Refused(f"{len(named)} calls: a hold is of 1 to {CALLS_MAX}; place several")

        def find(connection: Connection) -> dict[ArtefactId, Stored]:
            _check_calls(connection, tenant, named)
            found = stored(connection, named, self._clock())
            if empty := set(named).difference(one.ref.call for one in found.values()):
                raise Erased(f"call {min(empty)} has nothing that could be held")
            return found

        def write(connection: Connection) -> None:
            facts = {"hold": id, "tenant": tenant, "calls": named, "ground": ground, "actor": actor}
            _insert(connection, facts, self._ledger.append(connection, ENTRY, self._clock(), facts), named)
            note(connection, tenant, Kept.HOLD, id)

        self._keeper.keep(find, (Root.HOLD, id), write)
        self._keep(id)
        return id

    def release(self, tenant: TenantId, hold: str, actor: str) -> dict[str, Any]:
        """Ends a hold and destroys what it alone has kept; gives the certificate, of a released one its own.

        NotFound; Unavailable if a step failed: the rest is done at the next start, or when asked again.
        """
        with self._catalogue.reading() as connection:
            if connection.scalar(select(holds.c.id).where(holds.c.id == hold, holds.c.tenant == tenant)) is None:
                raise NotFound(f"no hold {hold}")
        return self._eraser.erase(tenant, Target.of_release(hold), RELEASED, actor)

    def of_tenant(self, tenant: TenantId, *, released: bool = False) -> list[Hold]:
        """The tenant's holds that stand, or all that there ever were; oldest first."""
        query = select(holds).where(holds.c.tenant == tenant)
        if not released:
            query = query.where(holds.c.released.is_(False))
        with self._catalogue.reading() as connection:
            rows = connection.execute(query.order_by(holds.c.serial)).all()
            return self._with_calls(connection, rows)

    def check(self, tenant: TenantId, call: CallId) -> None:
        """OnHold, with the ground, if the call is held; what is asked before anything is done towards its erasure."""
        query = select(holds.c.ground).join(held_calls, held_calls.c.hold == holds.c.id)
        query = query.where(held_calls.c.call == call, holds.c.tenant == tenant, holds.c.released.is_(False))
        with self._catalogue.reading() as connection:
            ground = connection.scalar(query.order_by(holds.c.serial).limit(1))
        if ground is not None:
            raise OnHold(f"call {call} is held, ground: {ground}")

    def alone(self, call: CallId) -> dict[ArtefactId, Kind]:
        """What of a call nothing keeps but a hold. Its time is over: it is there for those whom the hold concerns."""
        with self._catalogue.reading() as connection:
            return held_alone(connection, call, self._clock())

    def _with_calls(self, connection: Connection, rows: Sequence[Row[Any]]) -> list[Hold]:
        entries = self._ledger.bodies(connection, [row.entry for row in rows])
        found = []
        for row in rows:
            entry = entries[row.entry]
            of = tuple(_calls_of(connection, row.id))
            found.append(Hold(row.id, row.ground, entry["at"], entry["actor"], row.released, of))
        return found


def complete(catalogue: Catalogue, keeper: Keeper, clock: Callable[[], float], hold: str) -> int:
    """Wraps what a hold should keep and does not, after a restore: what it placed was not in the witness.

    Gives how many keys that were; 0 if it is released.
    """
    with catalogue.reading() as connection:
        row = connection.execute(select(holds).where(holds.c.id == hold, holds.c.released.is_(False))).first()
        of = _calls_of(connection, hold)
    if row is None:
        return 0
    way = (Root.HOLD, hold)
    wrapped = keeper.keep(lambda connection: stored(connection, of, clock()), way, lambda _connection: None)
    if wrapped:
        with catalogue.writing() as connection:
            note(connection, row.tenant, Kept.HOLD, hold)
    return wrapped


def replay(connection: Connection, facts: Mapping[str, Any]) -> None:
    """Does again what an entry `hold` tells, in a write transaction after a restore; once, however often.

    Of calls that are there; their wraps come with the keys that were kept beside the ledger, or by `complete`.
    """
    if connection.scalar(select(holds.c.id).where(holds.c.id == facts["hold"])) is not None:
        return
    here: list[CallId] = []
    for batch in batches(facts["calls"], ROWS_AT_ONCE):
        query = select(calls.c.id).where(calls.c.id.in_(batch), calls.c.tenant == facts["tenant"])
        here += map(CallId, connection.scalars(query))
    _insert(connection, facts, facts["seq"], here)


def _insert(connection: Connection, facts: Mapping[str, Any], entry: int, of: Sequence[CallId]) -> None:
    row = {"id": facts["hold"], "tenant": facts["tenant"], "ground": facts["ground"]}
    connection.execute(holds.insert(), row | {"released": False, "entry": entry})
    if of:
        connection.execute(held_calls.insert(), [{"call": call, "hold": facts["hold"]} for call in of])


def _calls_of(connection: Connection, hold: str) -> list[CallId]:
    query = select(held_calls.c.call).join(calls, calls.c.id == held_calls.c.call).where(held_calls.c.hold == hold)
    return [CallId(call) for call in connection.scalars(query.order_by(calls.c.serial))]


def _check_calls(connection: Connection, tenant: TenantId, wanted: Sequence[CallId]) -> None:
    states: dict[str, str] = {}
    for batch in batches(wanted, ROWS_AT_ONCE):
        query = select(calls.c.id, calls.c.state).where(calls.c.id.in_(batch), calls.c.tenant == tenant, IS_CALL)
        states |= {row.id: row.state for row in connection.execute(query)}
    for call in wanted:
        if call not in states:
            raise NotFound(f"no call {call}")
        if states[call] == CallState.ERASED:
            raise Erased(f"call {call} is erased")
