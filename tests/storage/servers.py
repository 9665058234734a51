"""S3 servers for the tests, each started once for a module that asks for it.

JuiceFS's gateway checks signatures and writes to a real disk, but has no versions, locks or conditions; moto has those,
and checks no signature. Together they show what one server would.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.stores import ADDRESS, StoreServer


@contextmanager
def moto(folder: Path) -> Iterator[StoreServer]:
    """A moto server, empty at each start, for as long as the context lasts."""
    argv = [str(Path(sys.executable).with_name("moto_server")), "-H", ADDRESS, "-p", "{port}"]
    server = StoreServer(folder, argv, {})
    server.start()
    try:
        yield server
    finally:
        server.stop()


class FixedAnswer:
    """A server on loopback that gives the same bytes to every request and closes; counts what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._socket = socket.create_server((ADDRESS, 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, suppress(OSError):
                    connection.settimeout(10.0)
                    self.requests.append(read_request(connection))
                    connection.sendall(self._answer)


class LossyRelay:
    """Passes requests on to a server, and keeps the answer to the first PUT of a data object to itself."""

    def __init__(self, port: int) -> None:
        self.lost = 0
        self._target = port
        self._socket = socket.create_server((ADDRESS, 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop passing on."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, suppress(OSError):
                    connection.settimeout(10.0)
                    request = read_request(connection)
                    answer = self._pass_on(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                    if request.startswith(b"PUT") and b"probe" not in request.partition(b"\r\n")[0] and not self.lost:
                        self.lost += 1
                    else:
                        connection.sendall(answer)

    def _pass_on(self, request: bytes) -> bytes:
        with socket.create_connection((ADDRESS, self._target), timeout=10.0) as server:
            server.sendall(request)
            answer = b""
            while piece := server.recv(1 << 16):
                answer += piece
        return answer


def read_request(connection: socket.socket) -> bytes:
    """One HTTP request, head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(1 << 16)
    return head + b"\r\n\r\n" + body
