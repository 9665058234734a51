"""Where each tenant's data may be, and where it is or ever was.

A process opens the store with its places: which part of the work is done where. Before any data of a tenant goes to one
of them it is compared with the tenant's rule, which stands in the catalogue so that a process with another
configuration finds it, too; and if it is new for the tenant, the ledger gets a signed entry. Locations are never
deleted: what was once held there may still lie in a copy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from storage.catalogue import Catalogue
from storage.chain import Entry
from storage.errors import Misplaced, Refused
from storage.ledger import Ledger
from storage.model import TenantId
from storage.places import Part, Place, misplaced
from storage.records import Day
from storage.regions import RULES_MAX, rule_problem
from storage.tables import locations, residency, tenants
from storage.times import day_of


@dataclass(frozen=True, slots=True)
class Location:
    """A place that holds or held data of a tenant, since that day; the ledger's entry `seq` has the time."""

    place: Place
    day: Day
    seq: int


class Residency:
    """The rules of all tenants, and their locations; thread-safe. Every method may raise Unavailable."""

    def __init__(
        self, catalogue: Catalogue, ledger: Ledger, places: Sequence[Place], clock: Callable[[], float]
    ) -> None:
        self.places = tuple(places)
        """Those of this process."""
        self._catalogue = catalogue
        self._ledger = ledger
        self._clock = clock
        self._entered: set[TenantId] = set()
        self._entering = threading.Lock()

    def settle(self, tenant: TenantId, rules: Sequence[str], places: Sequence[Place] | None = None) -> list[Place]:
        """Sets a tenant's rule, and notes this process's places as its locations; gives those that are new.

        `places` are those of them that its data goes to, if not all. Of a part that moves back to where it was, that is
        noted as well. Misplaced, and nothing is changed, if the rule does not allow all of them; Refused for what is no
        rule.
        """
        wrong = [found for rule in rules if (found := rule_problem(rule))]
        if wrong or len(rules) > RULES_MAX:
            raise Refused("; ".join(wrong) or f"a tenant has up to {RULES_MAX} regions")
        places = self.places if places is None else places
        _refuse(tenant, rules, places)
        with self._catalogue.reading() as connection:
            settled = self._is_settled(connection, tenant, rules, places)
        new: list[Place] = []
        if not settled:
            with self._catalogue.writing() as connection:
                self._set_rule(connection, tenant, rules)
                new = self._moved(connection, tenant, places)
                self._note(connection, tenant, new)
        if set(places) == set(self.places):
            self._entered.add(tenant)
        return new

    def check(self, connection: Connection, tenants: Iterable[TenantId]) -> None:
        """Misplaced if data of one of these tenants may not be at a place of this process: before writing any."""
        for refusal in self._refused(connection, tenants).values():
            raise refusal

    def enter(self, tenant: TenantId) -> None:
        """The same before data of the tenant goes anywhere else than into the catalogue; new places are noted first."""
        with self._catalogue.reading() as connection:
            self.check(connection, [tenant])
        if tenant in self._entered or not self.places:
            return
        with self._entering, self._catalogue.writing() as connection:
            self.check(connection, [tenant])
            known = {location.place for location in _read(connection, tenant)}
            self._note(connection, tenant, [place for place in self.places if place not in known])
        self._entered.add(tenant)

    def refused(self, tenants: Collection[TenantId]) -> dict[TenantId, Misplaced]:
        """Those of these tenants that `enter` refuses, of many at once."""
        with self._catalogue.reading() as connection:
            found = self._refused(connection, tenants)
        for tenant in tenants:
            if tenant not in found and tenant not in self._entered:
                try:
                    self.enter(tenant)
                except Misplaced as error:  # since a moment ago
                    found[tenant] = error
        return found

    def rules(self, tenant: TenantId) -> tuple[str, ...]:
        """Where the tenant's data may be; empty: anywhere."""
        with self._catalogue.reading() as connection:
            return _rules(connection, tenant)

    def locations(self, tenant: TenantId) -> list[Location]:
        """Every place that holds or ever held data of the tenant, the oldest first."""
        with self._catalogue.reading() as connection:
            return _read(connection, tenant)

    def _refused(self, connection: Connection, tenants: Iterable[TenantId]) -> dict[TenantId, Misplaced]:
        if not self.places:
            return {}
        query = select(residency).where(residency.c.tenant.in_(set(tenants)))
        found = {}
        for row in connection.execute(query):
            try:
                _refuse(TenantId(row.tenant), row.rules.split(), self.places)
            except Misplaced as error:
                found[TenantId(row.tenant)] = error
        return found

    def _is_settled(
        self, connection: Connection, tenant: TenantId, rules: Sequence[str], places: Sequence[Place]
    ) -> bool:
        return set(_rules(connection, tenant)) == set(rules) and not self._moved(connection, tenant, places)

    def _moved(self, connection: Connection, tenant: TenantId, places: Sequence[Place]) -> list[Place]:
        """Those of these places where their part was not last."""
        newest = {location.place.part: location.place for location in _read(connection, tenant)}
        return [place for place in places if newest.get(place.part) != place]

    def _set_rule(self, connection: Connection, tenant: TenantId, rules: Sequence[str]) -> None:
        if set(rules) == set(_rules(connection, tenant)):
            return
        told = sorted(set(rules))
        connection.execute(delete(residency).where(residency.c.tenant == tenant))
        if told:
            connection.execute(residency.insert(), {"tenant": tenant, "rules": " ".join(told)})
        self._ledger.append(connection, "regions", self._clock(), {"tenant": tenant, "rules": told})

    def _note(self, connection: Connection, tenant: TenantId, places: Iterable[Place]) -> None:
        now_s = self._clock()
        for place in places:
            facts = {"tenant": tenant, "part": place.part.value, "region": place.region, "place": place.name}
            seq = self._ledger.append(connection, "location", now_s, facts)
            connection.execute(locations.insert(), facts | {"day": day_of(now_s), "seq": seq})


def replay_rule(connection: Connection, entry: Entry) -> None:
    """What an entry of type `regions` did, done again after a restore."""
    tenant = entry.body["tenant"]
    connection.execute(delete(residency).where(residency.c.tenant == tenant))
    if entry.body["rules"] and _is_known(connection, tenant):
        connection.execute(residency.insert(), {"tenant": tenant, "rules": " ".join(entry.body["rules"])})


def replay_location(connection: Connection, entry: Entry) -> None:
    """What an entry of type `location` did, done again after a restore."""
    if _is_known(connection, entry.body["tenant"]):
        facts = {name: entry.body[name] for name in ("tenant", "part", "region", "place")}
        connection.execute(locations.insert(), facts | {"day": entry.body["at"][:10], "seq": entry.seq})


def _is_known(connection: Connection, tenant: str) -> bool:
    """Not of a tenant that came after the backup: nothing of it is here."""
    return connection.scalar(select(tenants.c.id).where(tenants.c.id == tenant)) is not None


def held_in(found: Sequence[Location], day: Day) -> dict[str, list[str]]:
    """Where what was recorded on a day is or was since: for each part the regions, "unknown" for one without a name."""
    regions: dict[str, list[str]] = {}
    for part in Part:
        of_part = [location for location in found if location.place.part is part]
        before = [location.day for location in of_part if location.day <= day]
        since = max(before, default=day)
        names = [location.place.region or "unknown" for location in of_part if location.day >= since]
        if names:
            regions[part.value] = list(dict.fromkeys(names))
    return regions


def _refuse(tenant: TenantId, rules: Sequence[str], places: Iterable[Place]) -> None:
    found = misplaced(rules, places)
    if found:
        raise Misplaced(f"tenant {tenant} allows {', '.join(rules)} only: {'; '.join(found)}")


def _rules(connection: Connection, tenant: TenantId) -> tuple[str, ...]:
    found = connection.scalar(select(residency.c.rules).where(residency.c.tenant == tenant))
    return tuple(str(found).split()) if found else ()


def _read(connection: Connection, tenant: TenantId) -> list[Location]:
    rows = connection.execute(select(locations).where(locations.c.tenant == tenant).order_by(locations.c.serial))
    return [Location(Place(Part(row.part), row.region, row.place), Day(row.day), row.seq) for row in rows]
