"""What the gateway and the WebRTC worker say to each other: one JSON object a message, over a SOCK_SEQPACKET socket.

`Accept` travels with three descriptors: the UDP socket that the peer will send to, and the far ends of the leg's two
taps (media/tap.py), RTP and RTCP. A session is known by the number the gateway gave it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from media.datagrams import fields_of, from_bytes, to_bytes

MESSAGE_BYTES_MAX = 16 * 1024  # an offer's fingerprints are the longest thing said, some hundred bytes
DESCRIPTORS = 3  # of an `Accept`


@dataclass(frozen=True, slots=True)
class Accept:
    """Take a session's peer. `fingerprints` are (hash function, value); `level_id` is RFC 6464's extension, 0: none."""

    session: int
    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, str], ...]
    level_id: int = 0


@dataclass(frozen=True, slots=True)
class HangUp:
    """Let the peer go, with a DTLS close; `Over` follows."""

    session: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker takes commands."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The peer may come: our end of ICE, and the certificate that we shall show it."""

    session: int
    ufrag: str
    password: str
    fingerprint: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Connected:
    """The peer has shown the certificate it promised; what it sends is received."""

    session: int


@dataclass(frozen=True, slots=True)
class Over:
    """The session is no more: the peer went, never came, or was hung up."""

    session: int
    why: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Packets of all sessions since the start of the worker."""

    packets: int = 0  # handed on
    refused: int = 0  # of another key, replayed or malformed
    overflowed: int = 0  # dropped because a tap was full: the media worker stands still


Message: TypeAlias = Accept | HangUp | Ready | Accepted | Connected | Over | Stats

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Accept, HangUp, Ready, Accepted, Connected, Over, Stats)
}


def encode(message: Message) -> bytes:
    """The message as one datagram; `decode` is its inverse."""
    return to_bytes(message, fields_of(message))


def decode(data: bytes) -> Message:
    """Read one datagram; raises Malformed where it is no message of ours."""
    return from_bytes(data, _KINDS, _restored, MESSAGE_BYTES_MAX)


def _restored(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples."""
    if "fingerprints" in fields:
        fields["fingerprints"] = tuple((str(name), str(value)) for name, value in fields["fingerprints"])
    if "fingerprint" in fields:
        name, value = fields["fingerprint"]
        fields["fingerprint"] = (str(name), str(value))
    return fields
