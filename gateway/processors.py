"""The register of sub-processors as the configuration in effect makes it, for each tenant; and telling tenants of it.

Where a part of the store is on another machine, an entry of `[[processors]]` with that host says whose it is, and what
Art. 28 GDPR wants to know; without one the configuration is refused. Embedded defaults, on this machine, need none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from gateway.outside import Destination, SubProcessor, is_here, twice
from gateway.policy import Tenant
from storage.model import TenantId
from storage.processor import DESTINATION, Notice, Processor, Told
from storage.regions import is_within

if TYPE_CHECKING:
    from gateway.config import Settings
    from storage.recordings import Recordings

_HOSTLESS = ("file", "pkcs11")
"""Schemes of URLs that name no host: a folder, a module on this machine."""


@dataclass(frozen=True, slots=True)
class Held:
    """A part of the store that is on another machine: on which, and where the setting of its own says that is."""

    part: str
    host: str
    region: str = ""


def elsewhere(settings: Settings, tenant: Tenant | None = None) -> list[Held]:
    """What is on other machines, of a tenant, or of all."""
    store, queue = settings.store, settings.queue
    tenants = settings.tenants if tenant is None else (tenant,)
    found = [
        Held("objects", host_of(settings.objects_url), store.objects_region),
        Held("catalogue", host_of(store.catalogue)),
        Held("witness", host_of(settings.witness_url), store.witness_region),
        Held("queue", host_of(queue.url), queue.region),
    ]
    if any(not one.keys for one in tenants):
        found.append(Held("keys", host_of(settings.keys_url), store.keys_region or _told(settings.keys_url)))
    found += [Held("keys", host_of(one.keys), _told(one.keys)) for one in tenants if one.keys]
    return [held for held in dict.fromkeys(found) if held.host]


def host_of(url: str) -> str:
    """The other machine that a URL names; "" for this one."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return ""  # whoever opens it says what is wrong with it
    return "" if parts.scheme in _HOSTLESS or is_here(host) else host


def _told(url: str) -> str:
    """The region that a key provider's URL names; of a bucket's `?region=` only signs."""
    return dict(parse_qsl(urlsplit(url).query)).get("region", "")


def register(settings: Settings, tenant: Tenant) -> list[Processor]:
    """Who besides us gets or holds data of this tenant."""
    if not tenant.stores:
        return []  # nothing of its calls goes anywhere
    held = elsewhere(settings, tenant)
    entries = [_entry(one, held) for one in settings.processors if not one.own]
    return [*(entry for entry in entries if entry.gets), *(one.entry() for one in tenant.destinations)]


def region_of(settings: Settings, host: str) -> str:
    """Where a host is, as the entry of who has it says; "" if none does."""
    return next((one.region for one in settings.processors if host in one.hosts), "")


def processor_problems(settings: Settings) -> list[str]:
    """What is not said of those who would get or hold data, each with the setting that it belongs to (CT-04)."""
    held, listed = elsewhere(settings), settings.processors
    problems = [f"processor {name!r} is defined twice" for name in twice([one.name for one in listed])]
    hosts = [host for one in listed for host in one.hosts]
    problems += [f"host {host!r} belongs to two processors" for host in twice(hosts)]
    for one in held:
        if one.host not in hosts:
            problems.append(
                f"{one.part} are at {one.host}, another machine: an entry of [[processors]] with that host says whose"
                " it is (own = true where it is yours)"
            )
        elif one.region and (other := region_of(settings, one.host)) and not is_within(one.region, [other]):
            problems.append(f"{one.part} are at {one.host}, in {one.region} by one setting and in {other} by another")
    for row in listed:
        unused = sorted(set(row.hosts) - {one.host for one in held})
        problems += [f"processor {row.name!r} has host {host}, and nothing is there" for host in unused]
        if not (row.own or row.hosts or row.gets):
            problems.append(f"processor {row.name!r} has no hosts and gets nothing")
        if not row.own and (missing := _entry(row, held).missing()):
            problems.append(f"processor {row.name!r} gets nothing before its {', '.join(missing)} is said")
    for tenant in settings.tenants:
        for destination in tenant.destinations:
            problems += [
                f"tenant {tenant.name!r}: {text}" for text in _destination_problems(tenant, destination.entry())
            ]
    return problems


def announce(recordings: Recordings, settings: Settings) -> list[tuple[TenantId, Notice]]:
    """Tells every tenant what is new or changed in its register, before any of it is used; gives what was told."""
    news = []
    for tenant in settings.tenants:
        of = recordings.tenant(tenant.name)
        days = {DESTINATION + one.name: tenant.notice_days for one in tenant.destinations}
        news += [(of, notice) for notice in recordings.register.announce(of, register(settings, tenant), days)]
    return news


def shown(entry: Processor, told: Mapping[str, Told], allowed: Sequence[Destination]) -> dict[str, Any]:
    """An entry for people: with the notice of exactly this entry, and who has authorised a destination."""
    notice = told.get(entry.name)
    known = notice is not None and notice.processor == entry
    row = {**entry.to_json(), "in_eea": entry.in_eea, "notice": None, "from": None, "told": False}
    if notice is not None and known:
        row |= {"notice": notice.seq, "from": notice.since, "told": True}
    for one in allowed:
        if DESTINATION + one.name == entry.name:
            until = None if one.until is None else one.until.isoformat()
            row |= {"authorised_by": one.authorised_by, "authorised_on": one.authorised_on.isoformat(), "until": until}
    return row


def _destination_problems(tenant: Tenant, entry: Processor) -> Iterable[str]:
    if missing := entry.missing():
        yield f"{entry.name} gets nothing before its {', '.join(missing)} is said"
    elif not is_within(entry.region, tenant.regions):
        yield f"{entry.name} is in {entry.region}, and {', '.join(tenant.regions)} is all that is allowed"


def _entry(row: SubProcessor, held: Sequence[Held]) -> Processor:
    here = [one for one in held if one.host in row.hosts]
    told = row.region or next((one.region for one in here if one.region), "")
    return Processor(
        name=row.name,
        company=row.company,
        region=told,
        gets=tuple(sorted({*row.gets, *(one.part for one in here)})),
        retention=row.retention,
        encryption=row.encryption,
        dpa="" if row.dpa is None else row.dpa.isoformat(),
        place=" ".join(sorted({one.host for one in here})),
    )
