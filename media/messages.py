"""What the gateway and a media worker say to each other: one JSON object a message, over a SOCK_SEQPACKET socket.

Commands go to the worker, events come back. `Open` travels with two descriptors, the RTP and the RTCP socket.
A leg is known by the number the gateway gave it. Instants are CLOCK_MONOTONIC nanoseconds unless said otherwise;
call time is microseconds since the leg's origin.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from media.errors import Malformed

MESSAGE_BYTES_MAX = 192 * 1024  # below the default send buffer of a unix socket; the facts of a bad call have 90 KiB

Address: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Open:
    """Receive a leg on the two sockets that come along.

    With `origin_ns` 0 nothing is read until `Start`; what arrived before the origin never counts.
    `remote` is the description's address, the only source taken; with `nat`, a source in `networks` too, until the
    first latch. `sending` says whether the peer may send now; `sink` is passed on to the sink as it is.
    """

    leg: int
    codecs: dict[int, str]
    event_pt: int | None = None
    remote: Address | None = None
    nat: bool = False
    networks: tuple[str, ...] = ()
    origin_ns: int = 0
    sending: bool = True
    sink: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Start:
    """The call began at `origin_ns`: from here on its packets count."""

    leg: int
    origin_ns: int


@dataclass(frozen=True, slots=True)
class Update:
    """A re-INVITE was answered: other codecs, another address, hold (`receiving` False) or its end."""

    leg: int
    codecs: dict[int, str]
    remote: Address | None = None
    receiving: bool = True
    event_pt: int | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Keep nothing of this leg until `Resume`."""

    leg: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Keep it again."""

    leg: int


@dataclass(frozen=True, slots=True)
class Release:
    """The leg's key row is durable: its chunks may be committed."""

    leg: int


@dataclass(frozen=True, slots=True)
class Close:
    """Stop receiving; `Ended` follows once everything of the leg is durable."""

    leg: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Close every leg, report each, then end the worker."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker takes commands."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Speech began or ended.

    `at_us` is the call time of the first or last voiced sample, `stamp_ns` the kernel's stamp (CLOCK_REALTIME) of the
    packet that decided it, `decided_ns` when the decision fell (CLOCK_MONOTONIC).
    """

    leg: int
    started: bool
    at_us: int
    stamp_ns: int
    decided_ns: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The leg is closed and everything of it durable; `facts` are `TrackFacts.to_json()`."""

    leg: int
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OpenFailed:
    """The leg of an `Open` cannot be received; nothing of it was kept."""

    leg: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stats:
    """How the worker fares, once a second: figures of the last second, counts since its start."""

    tick_p50_ms: float
    tick_p99_ms: float
    packets: int
    legs: int
    spool_lag_ms: float
    fsync_ms: float
    shed: int  # 20 ms cells that went without a speech decision, for lack of time
    full: bool
    busy: float = 0.0  # share of wall time spent in ticks, 0 to 1


@dataclass(frozen=True, slots=True)
class SpoolFull:
    """The sink refuses chunks: these legs are losing audio from now on."""

    legs: tuple[int, ...]


Command: TypeAlias = Open | Start | Update | Pause | Resume | Release | Close | Drain
Event: TypeAlias = Ready | Speech | Ended | OpenFailed | Stats | SpoolFull
Message: TypeAlias = Command | Event

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        *(Open, Start, Update, Pause, Resume, Release, Close, Drain),
        *(Ready, Speech, Ended, OpenFailed, Stats, SpoolFull),
    )
}


def encode(message: Message) -> bytes:
    """The message as one datagram; `decode` is its inverse."""
    fields = {entry.name: getattr(message, entry.name) for entry in dataclasses.fields(message)}
    return json.dumps({"type": type(message).__name__, **fields}, separators=(",", ":")).encode()


def decode(data: bytes) -> Message:
    """Read one datagram; raises Malformed where it is no message of ours."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise Malformed("control message is too long")
    try:
        fields = json.loads(data)
        kind = _KINDS[fields.pop("type")]
        return kind(**_restored(fields))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Malformed("not a control message") from None


def _restored(fields: dict[str, Any]) -> dict[str, Any]:
    """What JSON cannot say as it was: integer keys and tuples."""
    if "codecs" in fields:
        fields["codecs"] = {int(number): str(name) for number, name in fields["codecs"].items()}
    if fields.get("remote") is not None:
        host, port = fields["remote"]
        fields["remote"] = (str(host), int(port))
    for name in ("networks", "legs"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    return fields
