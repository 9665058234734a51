"""Where copies may go: nowhere, but for what the configuration authorises by name, with who, since when, and what.

A copy for the person who asks, fetched by an officer, goes by its request; a copy for anybody else by a destination.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date

from gateway.policy import Destination
from gateway.rights.parts import Part
from storage.errors import Refused


def authorised(destinations: Sequence[Destination], name: str, parts: Collection[Part], day: date) -> Destination:
    """The destination of that name, if all these parts may go there on that day; Refused, which is the rule."""
    for destination in destinations:
        if destination.name == name:
            if not destination.authorised_on <= day <= (destination.until or date.max):
                raise Refused(f"destination {name} is not authorised on that day")
            beyond = sorted(set(parts) - set(destination.parts))
            if beyond:
                raise Refused(f"destination {name} is not authorised for {', '.join(beyond)}")
            return destination
    raise Refused(f"no destination {name} is authorised")
