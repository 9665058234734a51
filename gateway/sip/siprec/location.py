"""Where somebody is, and with which device, in what a recording client sends: told apart so that it is not kept."""

from __future__ import annotations

import re

_TELLING = re.compile(
    rb"geopriv|geolocation|civicaddr|opengis\.net|params:xml:ns:pidf|access-network-info|sip\.instance|urn:gsma|imei|imsi",
    re.IGNORECASE,
)
"""Namespaces and names of PIDF-LO (RFC 4119, 5139, 5491), access networks (RFC 7315), devices (RFC 5626, 7254)."""


def tells_location(document: bytes) -> bool:
    """Whether a document tells of a place, a cell or a device, whatever it is encoded in; in doubt it does."""
    return _TELLING.search(document.replace(b"\0", b"")) is not None
