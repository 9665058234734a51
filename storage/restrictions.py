"""Restriction of processing (Art. 18 GDPR): of a restricted call nothing is read, exported or derived; its bytes stay.

What goes on: the recording of a call that lives, its way into the object store, its manifest, and erasure. Its terms
run on, too: who wants the bytes kept beyond them places a hold as well. Whoever reads when a restriction begins is cut
off within the lease of 500 ms. A job of a restricted call is set aside, and comes back when the restriction is lifted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from storage.calls import check_alive
from storage.catalogue import Catalogue
from storage.errors import AlreadyExists, NotFound
from storage.jobs import retry_aside
from storage.ledger import Ledger
from storage.model import CallId, CallState, TenantId, new_id
from storage.tables import calls, restrictions
from storage.words import check_words

ENTRY, LIFTED = "restriction", "unrestriction"
"""The types of the ledger's entries of this module."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """A call that is kept and not read: why, since when (UTC), and by whose doing."""

    id: str
    call: CallId
    ground: str
    at: str
    actor: str


class Restrictions:
    """All tenants' restrictions; thread-safe. Every method may raise Unavailable."""

    def __init__(self, catalogue: Catalogue, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._ledger = ledger
        self._clock = clock

    def place(self, tenant: TenantId, call: CallId, ground: str, actor: str) -> str:
        """Restricts a call; reads are refused from now on, elsewhere within the lease. Gives the restriction's id.

        NotFound, Erased; AlreadyExists if it is restricted. Ground and actor are kept for ever (Refused).
        """
        check_words(ground, actor)
        id = new_id()
        with self._catalogue.writing() as connection:
            if check_alive(connection, tenant, call, (), self._clock()) is CallState.DOSSIER:
                raise NotFound(f"no call {call}")
            if _standing(connection, tenant, call) is not None:
                raise AlreadyExists(f"call {call} is restricted already")
            facts = {"restriction": id, "tenant": tenant, "call": call, "ground": ground, "actor": actor}
            entry = self._ledger.append(connection, ENTRY, self._clock(), facts)
            row = {"id": id, "tenant": tenant, "call": call, "ground": ground, "lifted": False, "entry": entry}
            connection.execute(restrictions.insert(), row)
        return id

    def lift(self, tenant: TenantId, call: CallId, actor: str) -> str:
        """Lifts the call's restriction and lets its jobs go on; gives the restriction's id. NotFound if none stands."""
        check_words("-", actor)
        with self._catalogue.writing() as connection:
            id = _standing(connection, tenant, call)
            if id is None:
                raise NotFound(f"no restriction of call {call}")
            facts = {"restriction": id, "tenant": tenant, "call": call, "actor": actor}
            self._ledger.append(connection, LIFTED, self._clock(), facts)
            connection.execute(update(restrictions).where(restrictions.c.id == id).values(lifted=True))
            retry_aside(connection, call)
        return id

    def standing(self, tenant: TenantId) -> list[Restriction]:
        """The tenant's restrictions that are not lifted, oldest first."""
        query = select(restrictions).where(restrictions.c.tenant == tenant, restrictions.c.lifted.is_(False))
        with self._catalogue.reading() as connection:
            rows = connection.execute(query.order_by(restrictions.c.serial)).all()
            entries = self._ledger.bodies(connection, [row.entry for row in rows])
        return [
            Restriction(row.id, CallId(row.call), row.ground, entries[row.entry]["at"], entries[row.entry]["actor"])
            for row in rows
        ]


def replay(connection: Connection, facts: Mapping[str, Any]) -> None:
    """Does again what an entry of this module tells, in a write transaction after a restore; once, however often."""
    of_id = restrictions.c.id == facts["restriction"]
    if facts["type"] == LIFTED:
        connection.execute(update(restrictions).where(of_id).values(lifted=True))
        return
    here = select(calls.c.id).where(calls.c.id == facts["call"], calls.c.tenant == facts["tenant"])
    if connection.scalar(select(restrictions.c.id).where(of_id)) is None and connection.scalar(here) is not None:
        row = {"id": facts["restriction"], "lifted": False, "entry": facts["seq"]}
        connection.execute(restrictions.insert(), row | {name: facts[name] for name in ("tenant", "call", "ground")})


def _standing(connection: Connection, tenant: TenantId, call: CallId) -> str | None:
    query = select(restrictions.c.id).where(restrictions.c.call == call, restrictions.c.tenant == tenant)
    found: str | None = connection.scalar(query.where(restrictions.c.lifted.is_(False)))
    return found
