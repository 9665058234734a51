"""Calls whose tenant's key provider is away: a row in clear from when that is found out, so that none gets lost unseen.

The row has the call's random id, its day and its state, and needs no key; all else of the call is in the memory of the
process that receives it. When its keys come, the row becomes that of a call like any other. When they do not, it ends
with a reason in clear, since there is no call detail that could give one: `NOT_RECORDED` where the process ended in
order, `INTERRUPTED` where it died and the next start finds the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import func, select

from storage.calls import move_keyless, open_calls
from storage.catalogue import Catalogue
from storage.leaving import check_open
from storage.model import CallId, CallState, TenantId
from storage.records import NewCall
from storage.residency import Residency
from storage.tables import calls

KEYS_AWAY = "keys_away"


class KeylessCalls:
    """Their rows. Every method may raise Unavailable."""

    def __init__(self, catalogue: Catalogue, residency: Residency, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._residency = residency
        self._clock = clock

    def begin(self, new: NewCall) -> None:
        """Writes down that there is such a call, and that it waits for keys. Refused of a tenant that has left."""
        row = {"id": new.call, "tenant": new.tenant, "state": CallState.KEYLESS.value, "day": new.day}
        with self._catalogue.writing() as connection:
            self._residency.check(connection, [new.tenant])
            check_open(connection, {new.tenant}, self._clock())
            connection.execute(calls.insert(), row | {"closed": False, "reason": KEYS_AWAY})

    def end(self, call: CallId) -> bool:
        """The call's keys are not going to come: nothing of it is recorded. Whether it was still waiting for them."""
        with self._catalogue.writing() as connection:
            return bool(move_keyless(connection, CallState.NOT_RECORDED, KEYS_AWAY, call))

    def lost(self) -> int:
        """At start: what a process held that died is lost, and says so from here on. Gives how many calls."""
        with self._catalogue.writing() as connection:
            return move_keyless(connection, CallState.INTERRUPTED, KEYS_AWAY)

    def waiting(self) -> Sequence[tuple[TenantId, CallId]]:
        """Those that wait for keys, or did when their process died; the oldest first."""
        with self._catalogue.reading() as connection:
            return open_calls(connection, CallState.KEYLESS)

    def count(self) -> int:
        """How many there are."""
        query = select(func.count()).where(calls.c.closed.is_(False), calls.c.state == CallState.KEYLESS.value)
        with self._catalogue.reading() as connection:
            return connection.scalar(query) or 0
