"""An engine on loopback UDP whose time the test turns: packets are real, seconds are not waited for.

The kernel stamps packets with the real time; a tick is told that its simulated instant is that same real time, so what
was sent just before it arrived just before the simulated instant.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from media import framelog
from media.codecs import PCMA, Plain
from media.codecs.g711 import Samples
from media.engine import TICK_NS, Engine
from media.messages import Event, Open, Speech
from media.native import CORE, Core
from media.ports import SO_TIMESTAMPNS
from media.render import render_pcm, total_samples
from media.rtp import Packet
from media.sink import SinkHealth
from media.timeline import TrackFacts, facts_from_chunks

LOOPBACK = "127.0.0.1"
LOOPBACK6 = "::1"
START_NS = 1_000_000_000_000

_made: list[socket.socket] = []

CORES = {"native": CORE, "python": None}


class Twins:
    """Which of the twins a test runs over: `conftest.py` runs every test of the package over both."""

    core: Core | None = CORE


class MemorySink:
    """Keeps chunks in memory; what is closed is durable at once."""

    def __init__(self) -> None:
        self.chunks: dict[int, list[tuple[int, int, bytes]]] = {}
        self.descriptions: dict[int, dict[str, str]] = {}
        self.released: list[int] = []
        self.held: list[int] = []
        self.discarded: list[int] = []
        self.full = False
        self._closed: list[int] = []

    def open(self, leg: int, description: dict[str, str]) -> None:
        self.chunks[leg] = []
        self.descriptions[leg] = description

    def release(self, leg: int) -> None:
        self.released.append(leg)

    def hold(self, leg: int) -> None:
        self.held.append(leg)

    def discard(self, leg: int) -> None:
        self.discarded.append(leg)

    def append(self, leg: int, start: int, end: int, chunk: bytes) -> None:
        self.chunks[leg].append((start, end, chunk))

    def close(self, leg: int) -> None:
        self._closed.append(leg)

    def poll(self) -> Iterable[int]:
        closed, self._closed = self._closed, []
        return closed

    def health(self) -> SinkHealth:
        return SinkHealth(full=self.full)


def udp_socket(port: int = 0, host: str = LOOPBACK) -> socket.socket:
    """A bound, stamping socket as the pool makes them, on any free port if none is given."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    _made.append(sock)  # also one that cannot be bound
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind((host, port))
    return sock


def duplicated(pair: tuple[socket.socket, socket.socket]) -> tuple[socket.socket, socket.socket]:
    """What travels to a worker with a command: the same sockets under other descriptors."""
    copies = (pair[0].dup(), pair[1].dup())
    _made.extend(copies)
    return copies


def close_sockets() -> None:
    """Close every socket that a test has made."""
    while _made:
        _made.pop().close()


@dataclass
class Sender:
    """A peer's RTP sender: counts its sequence and timestamps as a real one does."""

    ssrc: int = 0xA11CE
    sequence: int = 65_530  # wraps soon
    timestamp: int = 0xFFFFFF00  # so does this
    payload_type: int = 8
    sock: socket.socket = field(default_factory=udp_socket)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.sock.getsockname()[:2]
        return str(host), int(port)

    def packet(self, payload: bytes, payload_type: int | None = None, *, ticks: int | None = None) -> bytes:
        """The next packet; it advances the clock by the payload's octets, or by `ticks`."""
        number = self.payload_type if payload_type is None else payload_type
        data = Packet(number, self.sequence, self.timestamp, self.ssrc, payload).to_bytes()
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + (len(payload) if ticks is None else ticks)) & 0xFFFFFFFF
        return data

    def rest(self, ms: float) -> None:
        """Its clock runs on while it sends nothing."""
        self.timestamp = (self.timestamp + round(ms * 8)) & 0xFFFFFFFF


class Bench:
    """One engine and its simulated time."""

    def __init__(self) -> None:
        self.sink = MemorySink()
        self.now_ns = START_NS
        self.engine = Engine(self.sink, lambda: self.now_ns, legs_max=16, core=Twins.core)
        self.speech: list[Speech] = []
        self.events: list[Event] = []  # the others
        self.rtcp_address = (LOOPBACK, 0)  # of a leg whose test says so
        self._ports: dict[int, tuple[Any, ...]] = {}
        self._received: dict[int, socket.socket] = {}
        self.sent_ns = 0  # CLOCK_REALTIME at which the first packet since the last tick was received
        self._former: dict[int, tuple[int, ...]] = {}  # by port, as the gateway keeps it

    def open(self, leg: int = 1, sender: Sender | None = None, **changes: Any) -> tuple[Any, ...]:
        """Open a leg that takes `sender`, which has its own codec; the address of its RTP port."""
        fields: dict[str, Any] = {"codecs": {8: "PCMA", 0: "PCMU"}, "event_pt": 101, "origin_ns": self.now_ns}
        if sender is not None:
            fields["remote"] = sender.address
        sockets: tuple[socket.socket, socket.socket] = changes.pop("sockets", None) or (udp_socket(), udp_socket())
        address = sockets[0].getsockname()
        fields["former"] = self._former.get(address[1], ()) if address else ()  # a tap has no address
        self.engine.open(Open(leg, **{**fields, **changes}), *sockets, self.now_ns)
        self._ports[leg], self._received[leg] = address, sockets[0]
        return self._ports[leg]

    def send(self, sender: Sender, data: bytes, leg: int = 1) -> None:
        before_ns = time.time_ns()
        sender.sock.sendto(data, self._ports[leg])
        if not self.sent_ns:  # what follows in the same tick came at its instant, too
            self.sent_ns = _first_stamp_ns(self._received[leg], before_ns)

    def wait(self, ms: float = 20) -> None:
        """Let time pass, in ticks; the last one may be shorter."""
        end_ns = self.now_ns + round(ms * 1e6)
        while self.now_ns < end_ns:
            self.now_ns = min(self.now_ns + TICK_NS, end_ns)
            self._tick()

    def late(self, ms: float) -> None:
        """Let time pass, and tick only at its end."""
        self.now_ns += round(ms * 1e6)
        self._tick()

    def _tick(self) -> None:
        # What was sent for this tick came at its instant, also where the machine stood still in between.
        wall_ns, self.sent_ns = self.sent_ns or time.time_ns(), 0
        for event in self.engine.tick(self.now_ns, wall_ns):
            if isinstance(event, Speech):
                self.speech.append(event)
            else:
                self.events.append(event)

    def play(self, sender: Sender, audio: bytes, ptime_ms: int = 20, leg: int = 1) -> None:
        """Send G.711 in real pace."""
        size = ptime_ms * 8
        for at in range(0, len(audio), size):
            self.send(sender, sender.packet(audio[at : at + size]), leg)
            self.wait(ptime_ms)

    def close(self, leg: int = 1) -> TrackFacts:
        """Close the leg; its facts, which a replay of its chunks must tell as well."""
        self.engine.close(leg, self.now_ns)
        (ended,) = self.engine.ended()
        facts = TrackFacts.from_json(ended.facts)
        assert ended.leg == leg
        if address := self._ports[leg]:
            self._former[address[1]] = ended.former
        assert facts_from_chunks(self.chunks(leg)) == facts
        return facts

    def chunks(self, leg: int = 1) -> list[framelog.Chunk]:
        return [framelog.decode(data) for _, _, data in self.sink.chunks[leg]]

    def octets(self, leg: int = 1) -> bytes:
        """All that was kept, as it came."""
        return b"".join(chunk.frames.payload for chunk in self.chunks(leg))

    def audio(self, facts: TrackFacts, leg: int = 1) -> Samples:
        """The whole track on the call's clock."""
        return render_pcm(self.chunks(leg), facts, 0, total_samples(facts))


def _first_stamp_ns(sock: socket.socket, since_ns: int) -> int:
    """When the kernel received the datagram that waits first, if that is one sent since then; else now."""
    try:
        _, control, _, _ = sock.recvmsg(1, 64, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:  # nothing waits, or the leg is closed
        control = []
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("@qq", data[:16])
            if (stamp_ns := seconds * 1_000_000_000 + nanoseconds) >= since_ns:
                return int(stamp_ns)
    return time.time_ns()


def noise(ms: int, seed: int = 1, codec: Plain = PCMA) -> bytes:
    """G.711 in which every stretch differs from every other."""
    samples = np.random.default_rng(seed).normal(0, 4000, ms * 8).astype(np.int16)
    return codec.encode(samples)


def first_sample(facts: TrackFacts, piece: int = 0) -> int:
    """Where a piece must begin in the rendered track."""
    return round(facts.map[piece].at_us * 8 / 1000)
