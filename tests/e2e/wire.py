"""What goes over loopback, as somebody on the wire sees it."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

ETH_P_ALL = 0x0003
IP_BYTES, UDP_BYTES, ETHERNET_BYTES = 20, 8, 14
UDP = 17
BUFFER_BYTES = 16 << 20
SO_RCVBUFFORCE = 33  # beyond the machine's limit, which root may; not exported by the socket module

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NO LOOK AT THE WIRE: needs root")


class Datagram(NamedTuple):
    """One that was seen."""

    source_port: int
    target_port: int
    payload: bytes


@contextmanager
def tapped() -> Iterator[list[bytes]]:
    """The payloads of all IPv4 datagrams on loopback from now on; whole when the context is left."""
    payloads: list[bytes] = []
    with _reading(lambda seen: payloads.append(seen.payload)):
        yield payloads


@contextmanager
def datagrams() -> Iterator[list[Datagram]]:
    """The same with their ports."""
    found: list[Datagram] = []
    with _reading(found.append):
        yield found


@contextmanager
def _reading(take: Callable[[Datagram], None]) -> Iterator[None]:
    over = threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap:
        tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        tap.bind(("lo", 0))
        tap.settimeout(0.2)

        def read() -> None:
            while not over.is_set():
                try:
                    frame = tap.recv(65536)
                except TimeoutError:
                    continue
                packet = frame[ETHERNET_BYTES:]
                if len(packet) > IP_BYTES + UDP_BYTES and packet[0] == 0x45 and packet[9] == UDP:
                    source, target = struct.unpack_from("!HH", packet, IP_BYTES)
                    take(Datagram(source, target, packet[IP_BYTES + UDP_BYTES :]))

        reader = threading.Thread(target=read, name="tap")
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join()


def readable(payloads: list[bytes], audio: bytes) -> int:
    """How many of the datagrams carry 20 ms of this audio in the clear, wherever in them."""
    frames = {audio[at : at + 160] for at in range(0, len(audio) - 159, 160)}
    return sum(any(payload[at : at + 160] in frames for at in range(len(payload) - 159)) for payload in payloads)
