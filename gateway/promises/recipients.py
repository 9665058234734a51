"""Who else gets data of a tenant, by the configuration: the one place where the record of processing learns of it.

A register of sub-processors goes in here: `sub_processors` gives its rows. Today's are the places that are not this
machine's, and who keeps something for the provider by the tenant's policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.config import Settings
from gateway.places import HERE, places_of, visited
from gateway.policy import Tenant
from storage.places import Place
from storage.policy.model import Policy
from storage.policy.term import Term
from storage.regions import EEA


@dataclass(frozen=True, slots=True)
class SubProcessor:
    """Somebody who processes for us: what, where ("" unknown), and how long; None: as long as the tenant's terms."""

    name: str
    what: str
    region: str = ""
    term: Term | None = None


def places(settings: Settings, tenant: Tenant) -> Sequence[Place]:
    """Where the tenant's data goes, this machine included."""
    return visited(tenant, places_of(settings))


def sub_processors(settings: Settings, tenant: Tenant, policy: Policy) -> Sequence[SubProcessor]:
    """Who processes the tenant's data for whoever runs this installation."""
    elsewhere = [place for place in places(settings, tenant) if place.name != HERE]
    found = [SubProcessor(place.name, place.part.value, place.region) for place in elsewhere]
    return [*found, *(SubProcessor(row.what, "", "", row.term) for row in policy.processors)]


def outside(settings: Settings, tenant: Tenant) -> Sequence[Place]:
    """Places outside the European Economic Area, and those of which nobody says where they are."""
    return [place for place in places(settings, tenant) if place.region[:2] not in EEA]
