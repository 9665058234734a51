"""Connections over TLS from their acceptance to the end of the handshake: so many at once, and so long each.

Rules: nothing of a peer is read before there is a place for it. A handshake that takes too long, is none, or brings a
certificate that we do not believe ends the connection, and is counted. A context that is replaced serves what stands.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial

from gateway.ingest.certificates import Contexts

HANDSHAKE_S = 5.0
"""Two round trips and their retransmissions on a bad line; then the connection is closed."""

HANDSHAKES_MAX = 1024
"""Under way at once: a border controller that comes back with all its connections. Beyond it new ones are closed."""

STRANGERS_MAX = 64
"""Of those, from addresses that are not known."""

PER_STRANGER_MAX = 8

SHUTDOWN_S = 2.0
"""For the peer's farewell when we close; one that says none is closed all the same."""

ACCEPT_PAUSE_S = 0.2
"""After the system refused to accept, for lack of files say: the backlog keeps what comes meanwhile."""


class Handshakes:
    """The handshakes of one agent. `known` says whether an address belongs to a trunk or proxy."""

    def __init__(self, counters: Counter[str], tasks: asyncio.TaskGroup, known: Callable[[str], bool]) -> None:
        self.contexts: Contexts | None = None
        """Of new connections; none can be had while there are none."""
        self._counters = counters
        self._tasks = tasks
        self._known = known
        self._running: set[asyncio.Task[None]] = set()
        self._by_stranger: Counter[str] = Counter()
        self._under_way = 0

    def listen(self, sock: socket.socket, backlog: int, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections on a bound socket; those that have shaken hands get a protocol."""
        sock.listen(backlog)
        self._run(self._accept(sock, protocol))

    def close(self) -> None:
        """Accept no more, and give up what is under way."""
        for task in self._running:
            task.cancel()

    def _run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _accept(self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, remote = await loop.sock_accept(sock)
            except OSError:
                self._counters["accepts_failed"] += 1
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            if self.contexts is None or not self._room(remote[0]):
                self._counters["handshakes_refused"] += 1
                accepted.close()
                continue
            stranger = 0 if self._known(remote[0]) else 1
            self._under_way += 1
            self._by_stranger[remote[0]] += stranger
            task = self._run(self._shake(accepted, self.contexts.server, protocol))
            task.add_done_callback(partial(self._left, remote[0], stranger))

    def _room(self, host: str) -> bool:
        if self._under_way >= HANDSHAKES_MAX:
            return False
        return self._known(host) or (
            self._by_stranger.total() < STRANGERS_MAX and self._by_stranger[host] < PER_STRANGER_MAX
        )

    def _left(self, host: str, stranger: int, _: asyncio.Task[None]) -> None:
        self._under_way -= 1
        self._by_stranger[host] -= stranger
        if not self._by_stranger[host]:
            del self._by_stranger[host]

    async def _shake(
        self, sock: socket.socket, context: ssl.SSLContext, protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol, sock, ssl=context, ssl_handshake_timeout=HANDSHAKE_S, ssl_shutdown_timeout=SHUTDOWN_S
            )
        except ssl.SSLCertVerificationError:
            self._counters["certificates_refused"] += 1
        except ssl.SSLError:
            self._counters["handshakes_failed"] += 1
        except ConnectionAbortedError:
            self._counters["handshakes_timed_out"] += 1
        except OSError:
            self._counters["handshakes_broken_off"] += 1
