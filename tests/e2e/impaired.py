"""Two networks with an impaired wire between them, and what it did to every packet.

Each network has one end of a TUN pair; what is written to one comes out of the other after this process has lost,
delayed or doubled it. So it is netem (tc-netem(8)) for kernels that have none, and knows each packet's fate by itself.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SERVER, CLIENT = "10.88.0.1", "10.88.0.2"
PACKETS_MAX = 100_000  # of one wire: a test of minutes; then it carries nothing more
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_UDP = 17

needs_wire = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(),
    reason="NO IMPAIRED NETWORK: needs root and /dev/net/tun (CONFIG_TUN)",
)


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to a datagram: probabilities, and a delay drawn anew for each, so that they overtake each other."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0


@dataclass(slots=True)
class Crossing:
    """A datagram that was given to the wire: when, towards the server or from it, and when each copy came out."""

    at: float
    to_server: bool
    ports: tuple[int, int]
    payload: bytes
    came: list[float] = field(default_factory=list)


class Wire:
    """Carries what two TUN devices send. `choose` says what is done to a datagram, None to carry it as it is."""

    def __init__(self, ends: tuple[int, int], choose: Callable[[Crossing], Impairment | None], seed: int) -> None:
        self._ends = ends  # of the server, of the client
        self._choose = choose
        self._chance = random.Random(seed)
        self._due: list[tuple[float, int, int, bytes, Crossing | None]] = []
        self._over = threading.Event()
        self._carried = self._sent = 0
        self.crossings: list[Crossing] = []
        self._thread = threading.Thread(target=self._run, name="wire")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set() and self._carried < PACKETS_MAX:
            wait = 0.05 if not self._due else max(0.0, min(0.05, self._due[0][0] - time.monotonic()))
            ready, _, _ = select.select(self._ends, (), (), wait)
            for end in ready:
                self._take(os.read(end, 2048), to_server=end == self._ends[1])
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                _, _, end, packet, crossing = heapq.heappop(self._due)
                os.write(end, packet)
                if crossing is not None:
                    crossing.came.append(time.monotonic())

    def _take(self, packet: bytes, *, to_server: bool) -> None:
        now, end = time.monotonic(), self._ends[0 if to_server else 1]
        self._carried += 1
        crossing = _datagram(packet, now, to_server=to_server)
        impairment = None if crossing is None else self._choose(crossing)
        if crossing is not None:
            self.crossings.append(crossing)
        if impairment is None:
            self._send(now, end, packet, crossing)
            return
        if self._chance.random() < impairment.loss:
            return
        for _ in range(2 if self._chance.random() < impairment.duplicate else 1):
            delay_s = impairment.delay_s + self._chance.uniform(0, impairment.jitter_s)
            self._send(now + delay_s, end, packet, crossing)

    def _send(self, due: float, end: int, packet: bytes, crossing: Crossing | None) -> None:
        self._sent += 1  # of two that are due at once the first goes first
        heapq.heappush(self._due, (due, self._sent, end, packet, crossing))


@dataclass(frozen=True, slots=True)
class Networks:
    """Descriptors of both; threads enter one, and what they open and start is in it."""

    server: int
    client: int


def enter(network: int) -> None:
    """Put this thread into a network."""
    assert ctypes.CDLL(None).setns(network, _CLONE_NEWNET) == 0


@contextmanager
def impaired(choose: Callable[[Crossing], Impairment | None], seed: int = 1) -> Iterator[tuple[Networks, Wire]]:
    """Two networks and the wire between them; this thread is in the server's."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    opened = [home]
    try:
        ends, networks = [], []
        for address in (SERVER, CLIENT):
            assert ctypes.CDLL(None).unshare(_CLONE_NEWNET) == 0
            networks.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
            ends.append(_end(address))
        opened += ends + networks
        enter(networks[0])
        wire = Wire((ends[0], ends[1]), choose, seed)
        wire.start()
        try:
            yield Networks(*networks), wire
        finally:
            wire.stop()
    finally:
        enter(home)
        for descriptor in opened:
            os.close(descriptor)


def _end(address: str) -> int:
    """A TUN device with this address in the present network."""
    end = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", b"wire", _IFF_TUN | _IFF_NO_PI))
    for line in ("link set lo up", f"addr add {address}/24 dev wire", "link set wire up"):
        subprocess.run(["ip", *line.split()], check=True)
    return end


def _datagram(packet: bytes, now: float, *, to_server: bool) -> Crossing | None:
    """What an IPv4 packet carries, if that is a whole UDP datagram."""
    if len(packet) < 28 or packet[0] != 0x45 or packet[9] != _UDP or int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return None
    source, target = struct.unpack_from("!HH", packet, 20)
    return Crossing(now, to_server, (source, target), packet[28:])
