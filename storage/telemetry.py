"""How good tracks sounded, apart from the calls: under a rotating id, which nobody can make again after some days.

Each tenant and day has a secret, wrapped by a key of its own at the tenant's provider. A row's id is a keyed hash of
its call and track, and its values are sealed, both under that secret: as long as it lives, who knows a call's id finds
its rows, and nobody finds a call from a row. No number and no address is ever among the values, which are classes; of a
source there is at most the network's prefix.

After the days that the tenant allows (`rotate`) the key is destroyed, and with it the way from any call to any row, in
every backup as well. What stays are counts: values that at least `CELL_MIN` tracks of the day share, in tens, without
an id. Rarer ones are gone. Hashing alone would not do: the catalogue has all ids of calls, to be tried.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, exists, select, update

from storage.catalogue import Catalogue
from storage.envelope import derive, length_prefixed
from storage.errors import AlreadyExists, Erased, Refused
from storage.keys import unwrap, wrap
from storage.ledger import Ledger
from storage.model import CallId, Secret, TenantId
from storage.providers import KeyProvider
from storage.records import Day
from storage.tables import telemetry, telemetry_days
from storage.times import day_of

ENTRY = "telemetry"
"""The type of the ledger's entries of this module: a day's key was destroyed."""

CELL_MIN = 10
"""Tracks that share all their values, before these may stay; and the step of their count."""
DAYS_MAX = 90
TRACKS_MAX = 16
"""Looked for of one call."""
BODY_BYTES = 192
"""All rows have one length."""
TAG_BYTES = 16
_SECRET_BYTES = 32
_AT_ONCE = 400
_VALUE = re.compile(r"[A-Za-z0-9_<>=.:/-]{1,43}\Z")
_NAMES = frozenset({"codec", "mos", "loss_percent", "jitter_ms", "network"})


@dataclass(frozen=True, slots=True)
class Point:
    """What is noted of one track: classes by name, of `codec`, `mos`, `loss_percent`, `jitter_ms`, `network`."""

    tenant: TenantId
    call: CallId
    track: int
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Noted:
    """A row: under its id while its day's secret lives, and later, without one, how many tracks had these values."""

    day: Day
    id: str
    count: int
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Day:
    tag: bytes = field(repr=False)
    seal: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> _Day:
        key = Secret(secret)
        return cls(derive(key, b"", b"callvault rotating id"), derive(key, b"", b"callvault telemetry"))


class Telemetry:
    """All tenants' telemetry; thread-safe. Every method may raise Unavailable."""

    def __init__(
        self, catalogue: Catalogue, provider: KeyProvider, key: Secret, ledger: Ledger, clock: Callable[[], float]
    ) -> None:
        self._catalogue = catalogue
        self._provider = provider
        self._key = derive(key, b"", b"callvault telemetry counts")
        self._ledger = ledger
        self._clock = clock
        self._days: dict[tuple[TenantId, Day], _Day] = {}
        self._making = threading.Lock()

    def note(self, points: Sequence[Point]) -> None:
        """Writes rows of today; Refused for what is no class of values. A track that is there already stays."""
        day = day_of(self._clock())
        rows = []
        for point in points:
            _check(point.values)
            secret = self._today(point.tenant, day)
            tag = _tag(secret, point.call, point.track)
            body = json.dumps(dict(point.values), separators=(",", ":")).encode().ljust(BODY_BYTES)
            sealed = wrap(secret.seal, body, _aad(point.tenant, day, tag))
            rows.append({"tenant": point.tenant, "day": day, "tag": tag, "sealed": sealed})
        tags = [row["tag"] for row in rows]
        with self._catalogue.writing() as connection:
            there: set[Any] = set()
            for at in range(0, len(tags), _AT_ONCE):
                wanted = select(telemetry.c.tag).where(telemetry.c.tag.in_(tags[at : at + _AT_ONCE]))
                there |= set(connection.scalars(wanted))
            new = {row["tag"]: row for row in rows if row["tag"] not in there}
            if new:
                connection.execute(telemetry.insert(), list(new.values()))

    def of_call(self, tenant: TenantId, call: CallId) -> list[Noted]:
        """The rows of a call, as long as that can be told; none after its day was rotated."""
        found: list[Noted] = []
        with self._catalogue.reading() as connection:
            for day, wrapped in _open_days(connection, tenant):
                secret = self._opened(tenant, day, wrapped)
                if secret is not None:
                    ids = {_tag(secret, call, track).hex() for track in range(TRACKS_MAX)}
                    found += [noted for noted in self._rows(connection, tenant, day, secret) if noted.id in ids]
        return found

    def all(self, tenant: TenantId) -> list[Noted]:
        """What there is: rows under their ids, of days that live, and counts of those that are over."""
        found: list[Noted] = []
        kept = select(telemetry).where(telemetry.c.tenant == tenant, telemetry.c.tag.is_(None))
        with self._catalogue.reading() as connection:
            for row in connection.execute(kept.order_by(telemetry.c.serial)):
                body = json.loads(unwrap(self._key, row.sealed, _aad(tenant, row.day, b"")))
                found.append(Noted(Day(row.day), "", body.pop("count"), body))
            for day, wrapped in _open_days(connection, tenant):
                if (secret := self._opened(tenant, day, wrapped)) is not None:
                    found += self._rows(connection, tenant, day, secret)
        return found

    def rotate(self, keep_days: Callable[[TenantId], int]) -> int:
        """Ends the days that are over, by how many days each tenant allows (0: today's as well); gives how many.

        Resumed after a crash where it was: the counts are written before the key is destroyed, once.
        """
        now_s, ended = self._clock(), 0
        with self._catalogue.reading() as connection:
            rows = connection.execute(select(telemetry_days.c.tenant, telemetry_days.c.day)).all()
        for row in rows:
            tenant, day = TenantId(row.tenant), Day(row.day)
            allowed = keep_days(tenant)
            if allowed > 0 and day > day_of(now_s, -allowed):
                continue
            self._end(tenant, day)
            ended += 1
        of_day = (telemetry_days.c.tenant == telemetry.c.tenant, telemetry_days.c.day == telemetry.c.day)
        bare = (telemetry.c.tag.is_not(None), ~exists().where(*of_day))  # written by who did not know yet
        with self._catalogue.writing() as connection:
            connection.execute(delete(telemetry).where(*bare))
        return ended

    def _end(self, tenant: TenantId, day: Day) -> None:
        self._days.pop((tenant, day), None)
        here = (telemetry.c.tenant == tenant, telemetry.c.day == day, telemetry.c.tag.is_not(None))
        with self._catalogue.reading() as connection:
            wrapped = dict(_open_days(connection, tenant)).get(day)
        secret = None if wrapped is None else self._opened(tenant, day, wrapped)
        with self._catalogue.writing() as connection:
            noted = [] if secret is None else self._rows(connection, tenant, day, secret)
            cells = Counter(tuple(sorted(row.values.items())) for row in noted)
            kept = [(cell, count - count % CELL_MIN) for cell, count in sorted(cells.items()) if count >= CELL_MIN]
            for cell, count in kept:
                body = json.dumps(dict(cell) | {"count": count}, separators=(",", ":")).encode().ljust(BODY_BYTES)
                sealed = wrap(self._key, body, _aad(tenant, day, b""))
                connection.execute(telemetry.insert(), {"tenant": tenant, "day": day, "tag": None, "sealed": sealed})
            connection.execute(delete(telemetry).where(*here))
        answer = self._provider.destroy(_key_name(tenant, day))
        of_day = (telemetry_days.c.tenant == tenant, telemetry_days.c.day == day)
        with self._catalogue.writing() as connection:
            connection.execute(update(telemetry_days).where(*of_day).values(wrapped=bytes(len(wrapped or b""))))
            connection.execute(delete(telemetry_days).where(*of_day))
            facts = {"tenant": tenant, "day": day, "rows": len(noted), "kept": len(kept), "answer": answer}
            self._ledger.append(connection, ENTRY, self._clock(), facts)

    def _rows(self, connection: Connection, tenant: TenantId, day: Day, secret: _Day) -> list[Noted]:
        here = (telemetry.c.tenant == tenant, telemetry.c.day == day, telemetry.c.tag.is_not(None))
        rows = connection.execute(select(telemetry).where(*here).order_by(telemetry.c.tag)).all()
        return [
            Noted(day, row.tag.hex(), 1, json.loads(unwrap(secret.seal, row.sealed, _aad(tenant, day, row.tag))))
            for row in rows
        ]

    def _today(self, tenant: TenantId, day: Day) -> _Day:
        with self._making:
            if (tenant, day) not in self._days:
                self._days[tenant, day] = self._make(tenant, day)
            return self._days[tenant, day]

    def _make(self, tenant: TenantId, day: Day) -> _Day:
        """The day's secret, made by whoever comes first."""
        with self._catalogue.reading() as connection:
            wrapped = dict(_open_days(connection, tenant)).get(day)
        if wrapped is None:
            name, fresh = _key_name(tenant, day), os.urandom(_SECRET_BYTES)
            self._provider.create(name)
            wrapped = self._provider.wrap(name, fresh, _aad(tenant, day, b"secret"))
            try:
                with self._catalogue.writing() as connection:
                    row = {"tenant": tenant, "day": day, "wrapped": wrapped}
                    connection.execute(telemetry_days.insert(), row)
            except AlreadyExists:
                with self._catalogue.reading() as connection:
                    wrapped = dict(_open_days(connection, tenant))[day]
        return _Day.of(self._provider.unwrap(_key_name(tenant, day), wrapped, _aad(tenant, day, b"secret")))

    def _opened(self, tenant: TenantId, day: Day, wrapped: bytes) -> _Day | None:
        """The day's secret; None once its key is destroyed, as in a backup that was brought back."""
        try:
            return _Day.of(self._provider.unwrap(_key_name(tenant, day), wrapped, _aad(tenant, day, b"secret")))
        except Erased:
            return None


def _open_days(connection: Connection, tenant: TenantId) -> Iterator[tuple[Day, bytes]]:
    query = select(telemetry_days).where(telemetry_days.c.tenant == tenant).order_by(telemetry_days.c.day)
    for row in connection.execute(query).all():
        yield Day(row.day), row.wrapped


def _check(values: Mapping[str, str]) -> None:
    """Refused for anything but classes: a number or a whole address has no room."""
    if values.keys() - _NAMES or not all(_VALUE.match(value) for value in values.values()):
        raise Refused("telemetry has classes of values, by their names")
    network = values.get("network", "none")
    if network != "none" and not network.endswith(("/24", "/48")):
        raise Refused("of an address telemetry has the prefix: /24, or /48 of IPv6")


def _tag(day: _Day, call: CallId, track: int) -> bytes:
    return hmac.digest(day.tag, length_prefixed(call.encode(), str(track).encode()), "sha256")[:TAG_BYTES]


def _aad(tenant: str, day: str, what: bytes) -> bytes:
    return length_prefixed(b"callvault telemetry v1", tenant.encode(), day.encode(), what)


def _key_name(tenant: TenantId, day: Day) -> str:
    """Begins with the tenant, so that it is at the tenant's own provider, where it has one."""
    return f"{tenant}-telemetry-{day.replace('-', '')}"
