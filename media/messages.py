"""What the gateway and a media worker say to each other: one JSON object a message, over a SOCK_SEQPACKET socket.

Commands go to the worker, events come back. `Open` travels with two descriptors, the RTP and the RTCP socket, `Load`
with one, a file of samples in memory.
A leg is known by the number the gateway gave it. Instants are CLOCK_MONOTONIC nanoseconds unless said otherwise;
call time is microseconds since the leg's origin.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from media.datagrams import fields_of, from_bytes, to_bytes
from media.dtmf import Press

MESSAGE_BYTES_MAX = 192 * 1024  # below the default send buffer of a unix socket; the facts of a bad call have 90 KiB
QUIET_S = 300.0  # a leg that may send and is silent that long is asked after

Address: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Open:
    """Receive a leg on the two sockets that come along.

    With `origin_ns` 0 nothing is read until `Start`; what arrived before the origin never counts. Without `answered`
    nothing is read until the first `Update`, which says where media comes from: the offer was ours.
    `event_pt` is the payload type of telephone events (RFC 4733), `red_pt` that of redundant audio (RFC 2198).
    `remote` is the description's address, the only source taken; with `nat`, a source in `networks` too, until the
    first latch. It is of the family of the sockets. `reports` is where the description wants RTCP, if not at the port
    above; with `mux` it goes where RTP goes, and comes on the RTP socket (RFC 5761).
    `sending` says whether the peer may send now; `sink` is passed on to the sink as it is.
    With `announce` nothing of the leg is kept until a prompt has been played to it to its end; `hears` says whether the
    peer takes what we send. After `quiet_s` without a sign of life `Quiet` follows; 0 for never.
    `tapped` says that the sockets are ends of a tap (media/tap.py), and `remote` is nobody's.
    With `continues` the stream that the port's former leg received goes on in this one: somebody else of the same call
    is heard on it from here. Close that leg first; what comes between the two waits in the socket.
    With `paused` nothing is kept until `Resume`: the leg joins a call that is paused.
    With `keys` it is told which keys are pressed (`Pressed`); else they are counted and forgotten.
    With `mask` keys' tones are silenced before anything is kept.
    `srtp` has the leg's keys as `media.srtp.Protection` takes them; empty for plain RTP.
    Nothing that arrived before call time `from_us` is kept. `former` is what `Ended` said of the port's last leg.
    With `life` above 0 a worker that received this leg has died, so many for the last time (`media.lives`), and
    `latched` is what it said in `Latched` last.
    """

    leg: int
    codecs: dict[int, str]
    event_pt: int | None = None
    remote: Address | None = None
    nat: bool = False
    networks: tuple[str, ...] = ()
    origin_ns: int = 0
    sending: bool = True
    sink: dict[str, str] = field(default_factory=dict, repr=False)
    announce: bool = False
    hears: bool = True
    quiet_s: float = QUIET_S
    tapped: bool = False
    red_pt: int | None = None
    reports: Address | None = None
    continues: bool = False
    paused: bool = False
    keys: bool = False
    mask: bool = False
    srtp: dict[str, str] = field(default_factory=dict, repr=False)
    from_us: int = 0
    former: tuple[int, ...] = ()
    life: int = 0
    latched: int | None = None
    mux: bool = False
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """The call began at `origin_ns`: from here on its packets count."""

    leg: int
    origin_ns: int


@dataclass(frozen=True, slots=True)
class Update:
    """A re-INVITE was answered: other codecs, another address, hold (`receiving` False) or its end.

    `hears`, `quiet_s`, `srtp` and `mux` are those of `Open`; a key that is repeated goes on where it is. A prompt waits
    while its peer does not hear, and then begins anew.
    """

    leg: int
    codecs: dict[int, str]
    remote: Address | None = None
    receiving: bool = True
    event_pt: int | None = None
    hears: bool = True
    quiet_s: float = QUIET_S
    srtp: dict[str, str] = field(default_factory=dict, repr=False)
    red_pt: int | None = None
    reports: Address | None = None
    mux: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """Know a prompt by this name from now on.

    The descriptor that comes along is a file of its samples: 16-bit native, 8 kHz, one channel, 60 s at most.
    """

    prompt: str


@dataclass(frozen=True, slots=True)
class Play:
    """Play a prompt to the leg's peer; `Played` follows. One that is still playing ends there, incomplete."""

    leg: int
    prompt: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Keep nothing of this leg until `Resume`; `Paused` follows with the same `order`."""

    leg: int
    order: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Keep it again; `Resumed` follows with the same `order`."""

    leg: int
    order: int


@dataclass(frozen=True, slots=True)
class Release:
    """The leg's key row is durable: its chunks may be committed."""

    leg: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The keys of the leg's row are away, maybe for long: its chunks wait for `Release` or `Discard` in memory."""

    leg: int


@dataclass(frozen=True, slots=True)
class Discard:
    """The leg's keys are not going to come: what was not committed of it is forgotten, and so is what follows."""

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
class Played:
    """A prompt is over. `start_us` and `end_us` are the call times at which its first and last packet were sent.

    `complete` where all of it was sent; only that ends the wait of a leg that was opened with `announce`: it is kept
    from `end_us` on.
    """

    leg: int
    start_us: int
    end_us: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Paused:
    """A `Pause` is carried out: nothing that arrives from this call time on is kept. What came before it is."""

    leg: int
    order: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """A `Resume` is carried out: what arrives from this call time on is kept, as far as nothing else forbids it."""

    leg: int
    order: int
    at_us: int


@dataclass(frozen=True, slots=True, repr=False)
class Pressed:
    """A key was pressed, on a leg that was opened with `keys`. It does not show in `repr`."""

    leg: int
    press: Press


@dataclass(frozen=True, slots=True)
class Quiet:
    """No RTP and no RTCP has come for the leg's `quiet_s`, since this call time.

    Told again after each further `quiet_s`: a peer that was asked after and answered may be gone the next time.
    """

    leg: int
    since_us: int


@dataclass(frozen=True, slots=True)
class Rolled:
    """The rollover counter (RFC 3711 §3.3.1) of an SRTP leg's stream has risen, to be told another worker."""

    leg: int
    ssrc: int
    count: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The leg is closed and everything of it durable; `facts` are `TrackFacts.to_json()`.

    `former` knows its stream again, should its sender go on into the port's next leg: see `Open`.
    """

    leg: int
    facts: dict[str, Any]
    former: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Latched:
    """The leg takes this source now, numbered as workers do; told within a second, of legs with `nat`."""

    leg: int
    source: int


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
    # Packets of all legs; `lost` falls by one where a packet that was missing comes after all.
    lost: int = 0
    late: int = 0
    foreign: int = 0
    overflowed: int = 0  # dropped by the kernel because a socket's buffer was full; they are among the lost
    playing: int = 0  # legs that a prompt is being played to
    exposure_ms: float = 0.0  # how much of each track a power cut would cost now, and the most since the start
    exposure_ms_max: float = 0.0
    dropped: int = 0  # chunks that found no room in the spool
    unauthentic: int = 0  # packets of SRTP legs that their keys did not fit
    replayed: int = 0  # or that came a second time
    reports_sent: int = 0  # RTCP, on what is received
    held_streams: int = 0  # that wait in memory for keys that are away, and their bytes
    held_bytes: int = 0
    held_refused: int = 0  # chunks among the dropped that found no room there


@dataclass(frozen=True, slots=True)
class SpoolFull:
    """The sink refuses chunks: these legs are losing audio from now on."""

    legs: tuple[int, ...]


Command: TypeAlias = Open | Start | Update | Load | Play | Pause | Resume | Release | Hold | Discard | Close | Drain
Event: TypeAlias = (
    Ready
    | Speech
    | Played
    | Paused
    | Resumed
    | Pressed
    | Quiet
    | Latched
    | Rolled
    | Ended
    | OpenFailed
    | Stats
    | SpoolFull
)
Message: TypeAlias = Command | Event

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        *(Open, Start, Update, Load, Play, Pause, Resume, Release, Hold, Discard, Close, Drain),
        *(Ready, Speech, Played, Paused, Resumed, Pressed, Quiet, Latched, Rolled, Ended, OpenFailed, Stats, SpoolFull),
    )
}


def encode(message: Message) -> bytes:
    """The message as one datagram; `decode` is its inverse."""
    fields = fields_of(message)
    if isinstance(message, Pressed):
        fields["press"] = dataclasses.astuple(message.press)
    return to_bytes(message, fields)


def decode(data: bytes) -> Message:
    """Read one datagram; raises Malformed where it is no message of ours."""
    return from_bytes(data, _KINDS, _restored, MESSAGE_BYTES_MAX)


def _restored(fields: dict[str, Any]) -> dict[str, Any]:
    """What JSON cannot say as it was: integer keys and tuples."""
    if "codecs" in fields:
        fields["codecs"] = {int(number): str(name) for number, name in fields["codecs"].items()}
    for name in ("remote", "reports"):
        if fields.get(name) is not None:
            host, port = fields[name]
            fields[name] = (str(host), int(port))
    if "press" in fields:
        fields["press"] = Press(*fields["press"])
    for name in ("networks", "legs", "former"):
        if isinstance(fields.get(name), list):
            fields[name] = tuple(fields[name])
    return fields
