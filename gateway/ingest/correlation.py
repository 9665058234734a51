"""What a request says that its call is known by elsewhere: Session-ID, vendors' ids, the header of the trunk's choice.

Every header is a stranger's: so many values are looked at, and each is bounded again where it becomes an identifier.
What is not well formed identifies nothing, and is no fault of the call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.calls.identifiers import Sort
from gateway.sip.message import Request

VALUES_MAX = 8
"""Of one header: a call that was passed on a few times has as many."""

GUID_HEADERS = ("Cisco-Guid", "X-Cisco-Guid", "h323-conf-id")
UCID_HEADERS = ("UCID", "X-UCID", "X-Avaya-UCID")

_UCID_ELEMENT = 0xFA
_UCID_BYTES = 8
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){3,128}\Z")
"""Of User-to-User: an ISDN element has up to 131 bytes."""


def identifiers_in(request: Request, header: str) -> tuple[tuple[Sort, str], ...]:
    """The identifiers in a request's headers; `header` is what the trunk's configuration names, or nothing."""
    found = [(Sort.CALL_ID, request.call_id)]
    found += [(Sort.SESSION_ID, text) for value in _values(request, "Session-ID") for text in _session_ids(value)]
    found += [(Sort.UCID, text) for value in _values(request, "User-to-User") for text in _ucids(value)]
    found += [(Sort.UCID, value) for name in UCID_HEADERS for value in _values(request, name)]
    found += [(Sort.GUID, value) for name in GUID_HEADERS for value in _values(request, name)]
    found += [(Sort.HEADER, value) for value in _values(request, header)]
    return tuple(dict.fromkeys(found))


def _values(request: Request, name: str) -> list[str]:
    return request.headers.all(name)[:VALUES_MAX] if name else []


def _session_ids(value: str) -> Iterator[str]:
    """`local-uuid;remote=remote-uuid` (RFC 7989 §5); RFC 7329, before it, had the first alone."""
    local, *parameters = value.split(";")
    yield local.strip()
    for parameter in parameters[:VALUES_MAX]:
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "remote":
            yield text.strip()


def _ucids(value: str) -> Iterator[str]:
    """The UCID elements of User-to-User values (RFC 7433): a protocol discriminator, then type, length, content."""
    for item in value.split(",")[:VALUES_MAX]:
        text = item.partition(";")[0].strip().strip('"')
        if not _HEX.match(text):
            continue  # in another encoding, which has no elements
        content = bytes.fromhex(text)
        at = 0 if content[0] == _UCID_ELEMENT else 1
        while at + 2 <= len(content):
            kind, size = content[at], content[at + 1]
            element = content[at + 2 : at + 2 + size]
            if kind == _UCID_ELEMENT and len(element) == _UCID_BYTES:
                yield element.hex()
            at += 2 + size
