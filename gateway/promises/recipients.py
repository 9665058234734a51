"""Where data of a tenant goes, by the configuration, as the record of processing tells it."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config import Settings
from gateway.places import places_of, visited
from gateway.policy import Tenant
from storage.places import Place
from storage.regions import EEA


def places(settings: Settings, tenant: Tenant) -> Sequence[Place]:
    """Where the tenant's data goes, this machine included."""
    return visited(tenant, places_of(settings))


def outside(settings: Settings, tenant: Tenant) -> Sequence[Place]:
    """Places outside the European Economic Area, and those of which nobody says where they are."""
    return [place for place in places(settings, tenant) if place.region[:2] not in EEA]
