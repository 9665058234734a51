"""The register of sub-processors: who besides us gets or holds data of a tenant, and what the tenant was told of that.

An entry that is new or changed is told before any data follows it: its row and the ledger's entry `processor` are
written in one transaction, and whoever sends data asks `check` first, which goes by the row alone. So a crash in
between leaves a notice without data, never data without a notice. What is told names companies and machines, and no
person: it stands in clear, and for ever. A change of a location (`storage.residency`) is a notice as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from storage.catalogue import Catalogue
from storage.chain import Entry
from storage.errors import Refused
from storage.ledger import Ledger
from storage.model import TenantId
from storage.processor import Notice, Processor, Told
from storage.records import Day
from storage.signing import canonical, parse_json
from storage.tables import locations, processors, tenants
from storage.times import day_of, utc
from storage.words import names_somebody

ENTRIES_MAX = 200
"""Of one tenant: each is a company that somebody has a contract with."""
ENTRY_BYTES_MAX = 32 << 10
"""Of one entry: a destination may name some hundred fields."""
NOTICES_MAX = 1_000
"""In one listing, the newest."""
DAY_S = 86_400


class Register:
    """All tenants' registers; thread-safe. Every method may raise Unavailable."""

    def __init__(self, catalogue: Catalogue, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._catalogue = catalogue
        self._ledger = ledger
        self._clock = clock

    def announce(
        self, tenant: TenantId, entries: Sequence[Processor], notice_days: Mapping[str, int] | None = None
    ) -> list[Notice]:
        """These are the tenant's sub-processors from now on; gives what it is told, durable by then: nothing, mostly.

        Data may go to an entry that is new or changed once its `notice_days`, by name, are over; without, at once.
        Refused for what names somebody, or for too many.
        """
        _check(entries)
        wanted, days = {entry.name: entry for entry in entries}, notice_days or {}
        with self._catalogue.reading() as connection:
            if self._same(connection, tenant, wanted):
                return []
        with self._catalogue.writing() as connection:
            known = _newest(connection, tenant)
            news: list[Notice] = []
            for name, entry in wanted.items():
                before = known.get(name)
                if before is None or before.processor != entry:
                    event = "processor_announced" if before is None else "processor_changed"
                    news.append(self._tell(connection, tenant, name, entry, event, days.get(name, 0)))
            gone = sorted(known.keys() - wanted.keys())
            news += [self._tell(connection, tenant, name, None, "processor_ended", 0) for name in gone]
        return news

    def told(self, tenant: TenantId) -> dict[str, Told]:
        """The register as the tenant was told it last, by name."""
        with self._catalogue.reading() as connection:
            return _newest(connection, tenant)

    def check(self, tenant: TenantId, entry: Processor) -> None:
        """Refused unless the tenant was told of exactly this entry, and the time of its notice is over."""
        if missing := entry.missing():
            raise Refused(f"{entry.name} gets nothing: the register does not say its {', '.join(missing)}")
        found = self.told(tenant).get(entry.name)
        if found is None or found.processor != entry:
            raise Refused(f"{entry.name} gets nothing: the tenant was not told of it as it is now")
        if self._clock() < found.from_s:
            raise Refused(f"{entry.name} gets nothing before {found.since}: the tenant was given notice until then")

    def notices(self, tenant: TenantId, *, limit: int = NOTICES_MAX) -> list[Notice]:
        """What the tenant was told, newest first."""
        with self._catalogue.reading() as connection:
            rows = connection.execute(select(processors).where(processors.c.tenant == tenant)).all()
            moved = select(locations).where(locations.c.tenant == tenant).order_by(locations.c.serial)
            seqs = [row.seq for row in rows]
            before: dict[str, Any] = {}
            for row in connection.execute(moved):
                if row.part in before:
                    seqs.append(row.seq)
                before[row.part] = row
            newest = sorted(seqs, reverse=True)[: min(limit, NOTICES_MAX)]
            bodies = self._ledger.bodies(connection, newest)
        return [_notice(seq, bodies[seq]) for seq in newest if seq in bodies]

    def _same(self, connection: Connection, tenant: TenantId, wanted: Mapping[str, Processor]) -> bool:
        return {name: told.processor for name, told in _newest(connection, tenant).items()} == wanted

    def _tell(
        self, connection: Connection, tenant: TenantId, name: str, entry: Processor | None, event: str, days: int
    ) -> Notice:
        now_s = self._clock()
        from_s = int(now_s) + days * DAY_S
        body = None if entry is None else entry.to_json()
        facts = {"tenant": tenant, "name": name, "event": event, "entry": body, "from": utc(from_s)}
        seq = self._ledger.append(connection, "processor", now_s, facts)
        text = "" if body is None else canonical(body).decode()
        row = {"tenant": tenant, "name": name, "body": text, "from_s": from_s, "day": day_of(now_s), "seq": seq}
        connection.execute(processors.insert(), row)
        return _notice(seq, {**facts, "type": "processor", "at": utc(now_s)})


def replay(connection: Connection, entry: Entry) -> None:
    """What an entry of type `processor` did, done again after a restore."""
    body = entry.body
    if connection.scalar(select(tenants.c.id).where(tenants.c.id == body["tenant"])) is None:
        return  # of a tenant that came after the backup
    text = "" if body["entry"] is None else canonical(body["entry"]).decode()
    from_s = int(datetime.fromisoformat(body["from"]).astimezone(UTC).timestamp())
    row = {"tenant": body["tenant"], "name": body["name"], "body": text, "from_s": from_s}
    connection.execute(processors.insert(), row | {"day": body["at"][:10], "seq": entry.seq})


def _newest(connection: Connection, tenant: TenantId) -> dict[str, Told]:
    """The newest row of each name, but for those that have ended."""
    found: dict[str, Told] = {}
    query = select(processors).where(processors.c.tenant == tenant).order_by(processors.c.serial)
    for row in connection.execute(query):
        if row.body:
            entry = Processor.parse(parse_json(row.body.encode(), ENTRY_BYTES_MAX))
            found[row.name] = Told(entry, row.seq, Day(row.day), row.from_s)
        else:
            found.pop(row.name, None)
    return found


def _notice(seq: int, body: Mapping[str, Any]) -> Notice:
    if body["type"] == "location":
        facts = {name: body[name] for name in ("part", "region", "place")}
        return Notice(seq, "location_changed", body["at"], facts)
    facts = {"processor": body["name"], "entry": body["entry"], "from": body["from"]}
    return Notice(seq, body["event"], body["at"], facts)


def _check(entries: Sequence[Processor]) -> None:
    if len(entries) > ENTRIES_MAX or len({entry.name for entry in entries}) != len(entries):
        raise Refused(f"a register has up to {ENTRIES_MAX} entries, each once")
    for entry in entries:
        if len(canonical(entry.to_json())) > ENTRY_BYTES_MAX:
            raise Refused(f"the entry of {entry.name} is longer than {ENTRY_BYTES_MAX} bytes")
        if names_somebody(f"{entry.company} {entry.encryption}"):
            raise Refused(f"{entry.name}: the register names companies, and no number or address of a person")
