"""Drains many UDP sockets into one arena: recvmmsg through ctypes, with source addresses and kernel receive stamps.

ctypes.PyDLL keeps the GIL: a system call that gives it away and must win it back from a busy thread costs
milliseconds for each socket, and here there are a thousand in every tick. The sockets are non-blocking in effect
(MSG_DONTWAIT), so nothing is held up. Where the native core was built, the loop over the sockets is there.
"""

from __future__ import annotations

import ctypes
import platform
import select
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from media.endpoints import IPV6, UNNAMED, socket_address
from media.native import CORE, Core

Int32s: TypeAlias = NDArray[np.int32]
Int64s: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]

SLOT_BYTES = 1600  # an Ethernet MTU in whole cache lines; no power of two, whose slots would share cache sets
SLOTS = 4096  # datagrams of one pass: two ticks' worth of a thousand 10 ms legs
BURST = 16  # datagrams of one socket in one pass; a backlog is taken in several, in bounded memory

_HEADER_BYTES = 64  # sizeof(struct mmsghdr) on 64-bit Linux
_NAME_BYTES = 32  # room for a struct sockaddr_in6, in whole words
_IPV4_BYTES, _IPV6_BYTES = 16, 28  # struct sockaddr_in, sockaddr_in6
_STAMP_BYTES = 32  # CMSG_SPACE(sizeof(struct timespec))
_CONTROL_BYTES = _STAMP_BYTES + 24  # and CMSG_SPACE(sizeof(unsigned)), which comes only after a loss
_MSG_DONTWAIT = 0x40
_MSG_TRUNC = 0x20
_SOL_SOCKET = 1
_SCM_TIMESTAMPNS = 35
_SO_RXQ_OVFL = 40

_MMSGHDR = np.dtype(
    {
        "names": ["name", "namelen", "iov", "iovlen", "control", "controllen", "flags", "length"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": _HEADER_BYTES,
    }
)
_IOVEC = np.dtype([("base", "u8"), ("length", "u8")])

IPV6_FIRST = -2
"""In `Batch.sources`, IPv6 of slot 0; that of slot i stands i below."""

_libc = ctypes.PyDLL(None)
# Called with ready-made ctypes values, so without argtypes: converting numbers in every call costs 0.5 µs a socket.
_recvmmsg = _libc.recvmmsg
_epoll_wait = _libc.epoll_wait
_epoll_wait.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
_epoll_wait.restype = ctypes.c_int
_sendto = _libc.sendto
_sendto.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
_sendto.restype = ctypes.c_ssize_t

# struct epoll_event is packed on x86-64, and only there.
_EPOLL_EVENT = np.dtype([("events", "u4"), ("data", "u8")], align=platform.machine() != "x86_64")


@dataclass(frozen=True, slots=True)
class Batch:
    """What one pass received, a row for each datagram, those of one socket together and in order.

    Valid until the next pass.
    """

    keys: Int64s  # the key of the socket it came from
    slots: Int64s  # of the arena, where it lies; rising
    lengths: Int64s  # octets; one that did not fit its slot has length 0
    sources: Int64s  # numbers of IPv4 as in media/endpoints.py, `UNNAMED`; of IPv6 see `Arena.source`
    stamps_ns: Int64s  # CLOCK_REALTIME at which the kernel received it; 0 where it did not say
    overflowed: Int64s  # datagrams that this socket's full buffer has cost since it was opened, 0 where it did not say
    more: bool  # whether another pass may find more at once
    ipv6: bool = False  # whether any of it came over IPv6

    def select(self, which: NDArray[np.bool_]) -> Batch:
        """Some of it."""
        return Batch(
            *(self.keys[which], self.slots[which], self.lengths[which], self.sources[which]),
            *(self.stamps_ns[which], self.overflowed[which], self.more, self.ipv6),
        )


class Sources:
    """The sockets that passes drain, in the order of their adding, each with the key that its datagrams get."""

    def __init__(self, descriptors: Mapping[int, int] = MappingProxyType({})) -> None:
        """`descriptors` by key."""
        self._by_key = dict(descriptors)
        self._arrays: tuple[Int64s, Int32s] | None = None  # made anew once for all changes between two passes
        self._numbers: list[ctypes.c_int] | None = None

    def __contains__(self, key: int) -> bool:
        return key in self._by_key

    def add(self, key: int, descriptor: int) -> None:
        """Drain this socket, too."""
        self._by_key[key] = descriptor
        self._arrays = self._numbers = None

    def remove(self, key: int) -> None:
        """Drain it no more; one that is not there does no harm."""
        self._by_key.pop(key, None)
        self._arrays = self._numbers = None

    def turn(self, by: int) -> None:
        """The next pass begins with the socket of this index: the last one did not come so far."""
        if 0 < by < len(self._by_key):
            order = list(self._by_key.items())
            self._by_key = dict(order[by:] + order[:by])
            self._arrays = self._numbers = None

    def only(self, key: int) -> Sources:
        """One of them by itself."""
        return Sources({key: self._by_key[key]})

    @property
    def arrays(self) -> tuple[Int64s, Int32s]:
        """Keys and descriptors."""
        if self._arrays is None:
            count = len(self._by_key)
            descriptors = np.fromiter(self._by_key.values(), np.int32, count)
            self._arrays = np.fromiter(self._by_key, np.int64, count), descriptors
        return self._arrays

    @property
    def numbers(self) -> list[ctypes.c_int]:
        """The descriptors as ctypes takes them without converting."""
        if self._numbers is None:
            self._numbers = [ctypes.c_int(descriptor) for descriptor in self._by_key.values()]
        return self._numbers


class Arena:
    """The memory that datagrams are received into, and the headers that point the kernel at it."""

    def __init__(self, slots: int = SLOTS, core: Core | None = CORE) -> None:
        self.slots = slots
        self._core = core
        slots += BURST  # so that a burst can be taken whenever a slot is free
        self.octets = np.zeros(slots * SLOT_BYTES, np.uint8)
        self.words = self.octets.view(">u4").reshape(slots, SLOT_BYTES // 4)
        self._order = np.arange(slots, dtype=np.int64)
        self._names = np.zeros((slots, _NAME_BYTES), np.uint8)
        self._ports = self._names.view(">u2")
        self._hosts = self._names.view(">u4")
        self._words = self._names.view(np.uint64)
        self._control = np.zeros((slots, _CONTROL_BYTES // 8), np.int64)
        self._iovecs = np.zeros(slots, _IOVEC)
        self._iovecs["base"] = self.octets.ctypes.data + np.arange(slots, dtype=np.uint64) * np.uint64(SLOT_BYTES)
        self._iovecs["length"] = SLOT_BYTES
        self._headers = np.zeros(slots, _MMSGHDR)
        for field, array in (("name", self._names), ("iov", self._iovecs), ("control", self._control)):
            stride = array.strides[0]
            self._headers[field] = array.ctypes.data + np.arange(slots, dtype=np.uint64) * np.uint64(stride)
        self._headers["iovlen"] = 1
        base = self._headers.ctypes.data
        self._addresses = [ctypes.c_void_p(base + i * _HEADER_BYTES) for i in range(slots)]
        self._reset(slots)

    def receive(self, sources: Sources) -> Batch:
        """Take what waits in `sources`, a burst from each at most, as far as the arena goes.

        Where it does not reach all of them, the next pass begins with the first that was not asked.
        """
        keys, descriptors = sources.arrays
        counts = np.zeros(len(keys), np.int32)
        if self._core is None:
            asked = self._receive_in_python(sources.numbers, counts)
        else:
            columns = (descriptors.ctypes.data, len(keys), self._headers.ctypes.data)
            asked = self._core.receive(*columns, self.slots, BURST, counts.ctypes.data)
        sources.turn(asked)
        used = int(counts.sum())
        more = used >= self.slots or bool((counts == BURST).any())
        batch = self._batch(np.repeat(keys, counts), used, more=more)
        self._reset(used)
        return batch

    def _receive_in_python(self, descriptors: Sequence[ctypes.c_int], counts: Int32s) -> int:
        """The twin of `callvault_receive` in media/native/core.c; how many sockets were asked."""
        receive, addresses, used, slots = _recvmmsg, self._addresses, 0, self.slots
        burst, flags, nothing = ctypes.c_uint(BURST), ctypes.c_int(_MSG_DONTWAIT), ctypes.c_void_p()
        for at, descriptor in enumerate(descriptors):
            count = receive(descriptor, addresses[used], burst, flags, nothing)
            if count > 0:
                counts[at] = count
                used += count
                if used >= slots:
                    return at + 1  # the rest waits in the sockets' buffers for the next pass
        return len(descriptors)

    def _batch(self, keys: Int64s, used: int, *, more: bool) -> Batch:
        headers = self._headers[:used]
        truncated = (headers["flags"] & _MSG_TRUNC) != 0
        lengths = np.where(truncated, 0, headers["length"]).astype(np.int64)
        sources = (self._hosts[:used, 1].astype(np.int64) << 16) | self._ports[:used, 1]
        others = np.flatnonzero(headers["namelen"] != _IPV4_BYTES)
        if len(others):
            sources[others] = np.where(headers["namelen"][others] == _IPV6_BYTES, IPV6_FIRST - others, UNNAMED)
        control = self._control[:used]
        # The control messages are {length, level | type << 32, seconds, nanoseconds}, {length, the same, count}.
        stamped = (headers["controllen"] > 0) & (control[:, 1] == _SOL_SOCKET | _SCM_TIMESTAMPNS << 32)
        stamps = np.where(stamped, control[:, 2] * 1_000_000_000 + control[:, 3], 0)
        told = headers["controllen"] > _STAMP_BYTES
        if told.any():
            told &= control[:, 5] == _SOL_SOCKET | _SO_RXQ_OVFL << 32
            overflowed = np.where(told, control[:, 6] & 0xFFFFFFFF, 0)
        else:
            overflowed = np.zeros(used, np.int64)
        ipv6 = len(others) > 0 and bool((sources[others] < 0).any())
        return Batch(keys, self._order[:used], lengths, sources, stamps, overflowed, more, ipv6)

    def source(self, key: int) -> int:
        """The number of a source as in `Batch.sources`, while that is valid."""
        if key > IPV6_FIRST:
            return key
        name = self._names[IPV6_FIRST - key]
        return IPV6 | int.from_bytes(name[8:24].tobytes(), "big") << 16 | int.from_bytes(name[2:4].tobytes(), "big")

    def names(self, keys: Int64s) -> Words:
        """IPv6 sources as rows of words to compare, those of `name_of`; one of a zone (link-local) equals none."""
        found = self._words[IPV6_FIRST - keys]
        found[:, 0] = self._ports[IPV6_FIRST - keys, 1]
        return found

    def _reset(self, used: int) -> None:
        """The kernel overwrites what it was told about the buffers' sizes: say it again."""
        self._headers["namelen"][:used] = _IPV6_BYTES
        self._headers["controllen"][:used] = _CONTROL_BYTES


class Readiness:
    """Tells which of many rarely used sockets have something to read."""

    def __init__(self, events_max: int) -> None:
        self._epoll = select.epoll()
        self._events = np.zeros(events_max, _EPOLL_EVENT)

    def add(self, descriptor: int) -> None:
        """Watch this socket. Closing it is no end where another process holds it too: `remove` it first."""
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor: int) -> None:
        """Watch it no more."""
        self._epoll.unregister(descriptor)

    def ready(self) -> list[int]:
        """Descriptors that can be read, as many as `events_max`, without waiting."""
        count = _epoll_wait(self._epoll.fileno(), self._events.ctypes.data, len(self._events), 0)
        descriptors: list[int] = (self._events["data"][: max(0, count)] & 0xFFFFFFFF).tolist()
        return descriptors


def name_of(number: int) -> Words:
    """An IPv6 source as `Arena.names` has it: port, address, and no zone."""
    return np.frombuffer(
        (number & 0xFFFF).to_bytes(8, sys.byteorder) + socket_address(number)[8:] + bytes(4), np.uint64
    )


def send(descriptor: int, data: bytes, source: int) -> bool:
    """Send a datagram to a source, by its number; whether the kernel took it."""
    address = None if source == UNNAMED else socket_address(source)
    size = 0 if address is None else len(address)
    return int(_sendto(descriptor, data, len(data), _MSG_DONTWAIT, address, size)) == len(data)
