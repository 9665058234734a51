"""Where copies may go: nowhere, but for what the configuration authorises by name, with who, since when, and what.

A copy for the person who asks, fetched by an officer, goes by its request; a copy for anybody else by a destination.
Of what it is not told to get, parts or fields, nothing leaves; and nothing at all before its entry in the register of
sub-processors is complete (CT-04), the tenant was told of it, and the time of that notice is over (UP-10).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from gateway.outside import Destination
from gateway.rights.parts import Part
from storage.errors import Refused
from storage.model import TenantId
from storage.processors import Register


def authorised(destinations: Sequence[Destination], name: str, parts: Collection[Part], day: date) -> Destination:
    """The destination of that name, if all these parts may go there on that day; Refused, which is the rule."""
    for destination in destinations:
        if destination.name == name:
            if not destination.authorised_on <= day <= (destination.until or date.max):
                raise Refused(f"destination {name} is not authorised on that day")
            beyond = sorted(set(parts) - set(destination.parts))
            if beyond:
                raise Refused(f"destination {name} is not authorised for {', '.join(beyond)}")
            if missing := destination.entry().missing():
                raise Refused(f"destination {name} gets nothing: nobody has said its {', '.join(missing)}")
            return destination
    raise Refused(f"no destination {name} is authorised")


def admitted(
    register: Register, tenant: TenantId, destinations: Sequence[Destination], name: str, day: date
) -> Destination:
    """The same at the moment of leaving: the tenant was told of exactly this, and has had the time to object."""
    found = authorised(destinations, name, (), day)
    register.check(tenant, found.entry())
    return found


def authorisation(destination: Destination) -> dict[str, Any]:
    """Who has authorised what, when: as it stands in the record of each copy, which is sealed."""
    return {
        **{"destination": destination.name, "authorised_by": destination.authorised_by},
        **{"authorised_on": destination.authorised_on.isoformat(), "fields": list(destination.entry().fields)},
        "address": destination.address,
    }
