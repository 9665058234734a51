"""Where the parts of this installation are, by its configuration, and which tenants that does not suit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from gateway.processors import host_of, region_of
from storage.places import Part, Place, misplaced

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.policy import Tenant

HERE = "here"
"""The name of places on this machine."""


def places_of(settings: Settings, *, transcribing: bool = False) -> tuple[Place, ...]:
    """Every place that data of calls goes to; `transcribing`: by a process that does so, whatever `serve` starts.

    What lies on this machine is where it is, unless its own setting says otherwise: a folder may be somebody else's.
    Of another machine nothing is known that is not said: by its own setting, or by whose it is (`processors`).
    """
    here, store, queue = settings.region, settings.store, settings.queue
    catalogue, witness = host_of(store.catalogue), settings.witness_url
    objects, keys = settings.objects_url, settings.keys_url
    of_objects = store.objects_region or _of_host(settings, objects) or _local(objects, here)
    of_keys = store.keys_region or _told(keys) or _of_host(settings, keys) or _local(keys, here)
    of_witness = store.witness_region or _of_host(settings, witness) or _local(witness, here)
    embedded = queue.url == "embedded"
    found = [
        Place(Part.CATALOGUE, region_of(settings, catalogue) if catalogue else here, catalogue or HERE),
        Place(Part.SPOOL, here),
        Place(Part.CALLS, here),
        Place(Part.OBJECTS, of_objects, _name(objects)),
        Place(Part.KEYS, of_keys, _name(keys)),
        Place(Part.WITNESS, of_witness, _name(witness)),
        Place(Part.QUEUE, here, HERE)
        if embedded
        else Place(Part.QUEUE, queue.region or _of_host(settings, queue.url), _name(queue.url)),
    ]
    if transcribing or settings.transcription.workers:
        found.append(Place(Part.TRANSCRIPTION, here))
    return tuple(found)


def residency_problems(tenants: Iterable[Tenant], places: Sequence[Place]) -> list[str]:
    """For each tenant the places that its regions do not allow, each with the setting that says where it is."""
    return [
        f"tenant {tenant.name!r} allows {', '.join(tenant.regions)} only: {found}"
        for tenant in tenants
        for found in misplaced(tenant.regions, visited(tenant, places))
    ]


def visited(tenant: Tenant, places: Iterable[Place]) -> list[Place]:
    """Those of these places that its data goes to: where nothing is stored, only where calls are taken."""
    return [place for place in places if tenant.stores or place.part is Part.CALLS]


def _local(url: str, here: str) -> str:
    return here if urlsplit(url).scheme == "file" else ""


def _of_host(settings: Settings, url: str) -> str:
    """Where another machine is, by what is said of whose it is."""
    host = host_of(url)
    return region_of(settings, host) if host else ""


def _told(url: str) -> str:
    """The region that a key provider's URL names."""
    return dict(parse_qsl(urlsplit(url).query)).get("region", "")


def _name(url: str) -> str:
    """What a place is called: the host, and the bucket there. Credentials do not stand in URLs."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return HERE
    return (
        (parts.hostname or parts.scheme) + parts.path
        if parts.scheme.startswith("s3")
        else parts.hostname or parts.scheme
    )
