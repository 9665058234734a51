"""What SIP goes over between the benchmarks' callers and callvault: datagrams, or one TLS connection for all calls."""

from __future__ import annotations

import re
import select
import socket
import ssl
from typing import Protocol

RECEIVE_BUFFER_BYTES = 4 << 20  # the answers of some thousand calls
DATAGRAM_BYTES_MAX = 65_535
READ_BYTES = 65_536
CONNECT_S = 10.0
HEAD_BYTES_MAX = 65_536  # of a message of callvault's, which has some hundred

_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)


class Wire(Protocol):
    """Messages to callvault and from it. `transport` is Via's word; one that is `reliable` repeats nothing."""

    transport: str
    reliable: bool

    @property
    def address(self) -> tuple[str, int]:
        """Our own."""
        ...

    def send(self, data: bytes) -> None:
        """One message, whole."""
        ...

    def receive(self) -> list[bytes]:
        """What has come; does not wait."""
        ...

    def wait(self, seconds: float) -> bool:
        """Whether something came within that time."""
        ...

    def close(self) -> None:
        """Calls that are still up stay so at the other end."""
        ...


class Datagrams:
    """SIP over UDP, to and from one address."""

    transport, reliable = "UDP", False

    def __init__(self, host: str, target: tuple[str, int]) -> None:
        self._target = target
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket.bind((host, 0))
        self._socket.setblocking(False)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()
        return host, port

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self._target)

    def receive(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(DATAGRAM_BYTES_MAX))
            except BlockingIOError:
                return found

    def wait(self, seconds: float) -> bool:
        return bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        self._socket.close()


class Encrypted:
    """SIP over one TLS connection, as a session border controller keeps it. Raises OSError where it does not come."""

    transport, reliable = "TLS", True

    def __init__(self, host: str, target: tuple[str, int], context: ssl.SSLContext) -> None:
        plain = socket.create_connection(target, CONNECT_S, (host, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # an INVITE does not wait for an ACK's ACK
        self._socket = context.wrap_socket(plain, server_hostname=target[0])
        self._socket.setblocking(False)
        self._framer = Framer()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()
        return host, port

    def send(self, data: bytes) -> None:
        while True:
            try:
                self._socket.sendall(data)  # a record is sent whole, or not begun
            except ssl.SSLWantWriteError:
                select.select([], [self._socket], [], CONNECT_S)
            else:
                return

    def receive(self) -> list[bytes]:
        found: list[bytes] = []
        while True:
            try:
                data = self._socket.recv(READ_BYTES)
            except ssl.SSLWantReadError:
                return found
            if not data:
                raise ConnectionError("callvault closed the connection")
            found += self._framer.feed(data)

    def wait(self, seconds: float) -> bool:
        return self._socket.pending() > 0 or bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        self._socket.close()


class Framer:
    """Cuts a stream into messages by their Content-Length (RFC 3261 §18.3)."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now. Raises ConnectionError where the stream cannot be read on."""
        self._waiting += data
        found: list[bytes] = []
        while True:
            head, end, _ = self._waiting.partition(b"\r\n\r\n")
            if not end:
                if len(head) > HEAD_BYTES_MAX:
                    raise ConnectionError("a message that does not end")
                return found
            length = _LENGTH.search(head)
            if length is None:
                raise ConnectionError("a message without a length")
            size = len(head) + len(end) + int(length[1])
            if len(self._waiting) < size:
                return found
            found.append(self._waiting[:size])
            self._waiting = self._waiting[size:]
