"""Whether a request belongs to a recording session, and who takes part where a plain header says it (Cisco)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from gateway.sip.errors import Malformed
from gateway.sip.grammar import NameAddr, Uri, parse_parameters, split_list
from gateway.sip.message import Request

TAG = "siprec"
"""The option tag (RFC 7866 §12.1)."""

CLIENT = frozenset({"+sip.src", "sip.src", "src"})
"""Feature tag of a recording client's Contact (RFC 7866 §12.2), as the RFC, and as BroadWorks and others, spell it."""
SERVER = "+sip.srs"
"""Ours (§12.2), in answers to a recording client."""

CISCO = "X-Cisco-Recording-Participant"
"""Network-based recording: a plain INVITE with this header for each party; `media-index` names its m-lines."""
NAMED_MAX = 16
"""Parties of one request; a call has two, more are left out."""


@dataclass(frozen=True, slots=True, repr=False)
class Named:
    """A party that a plain header names, and the m-lines that carry what it says."""

    uri: str
    lines: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Named({self.lines})"  # the address is personal data


def is_recording(request: Request) -> bool:
    """Whether a recording client sent it: it requires SIPREC, its Contact says so, or it brings metadata."""
    return TAG in request.tokens("Require") or _is_client(request.contact) or bool(request.metadata)


def named(request: Request) -> tuple[Named, ...]:
    """The parties of Cisco's network-based recording; what cannot be read names nobody."""
    found = []
    for value in (value for line in request.headers.all(CISCO) for value in split_list(line)):
        # Without angle brackets in the field, so its parameters are the header's (RFC 3261 §20.10).
        with suppress(Malformed):
            party = NameAddr.parse(value)
            words = next((text or "" for name, text in party.parameters if name == "media-index"), "")
            found.append(Named(party.uri, tuple(int(w) for w in words.strip('"').split() if w in _LINES)))
    return tuple(found[:NAMED_MAX])


_LINES = frozenset(str(number) for number in range(64))  # as many m-lines as a description may have


def _is_client(contact: NameAddr | None) -> bool:
    if contact is None:
        return False
    names = {name for name, _ in contact.parameters}
    with suppress(Malformed):
        names |= {name for name, _ in Uri.parse(contact.uri).parameters}
    with suppress(Malformed):  # a URI that is not well-formed may still say it
        names |= {name for name, _ in parse_parameters(";" + contact.uri.partition(";")[2])}
    return not names.isdisjoint(CLIENT)
