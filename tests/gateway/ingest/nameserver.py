"""A DNS server on loopback that knows what a test tells it, and is silent when it is told so."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

HOST = "127.0.0.1"


class NameServer:
    """`records` are rows (type, value), by name without a final dot; a name that is not there does not exist."""

    def __init__(self, records: dict[str, list[tuple[str, str]]], ttl_s: int = 30) -> None:
        self.records = records
        self.ttl_s = ttl_s
        self.silent = False
        self.asked: list[tuple[str, str]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._socket.settimeout(0.05)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="nameserver")

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._socket.getsockname()
        return host, port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                data, source = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            if not self.silent:
                self._socket.sendto(self._answer(data), source)

    def _answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        [question] = query.question
        name, kind = question.name.to_text().rstrip(".").lower(), question.rdtype.name
        self.asked.append((name, kind))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        if name not in self.records:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        values = [value for known, value in self.records.get(name, []) if known == kind]
        if values:
            answer.answer.append(dns.rrset.from_text_list(question.name, self.ttl_s, "IN", kind, values))
        return answer.to_wire()
