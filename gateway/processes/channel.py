"""The gateway's end of a worker process: starts it, sends it commands with descriptors, hands on what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.errors import Unavailable

READY_S = 20.0  # numpy, aiortc and cryptography import in some two seconds on a busy machine
STOP_S = 10.0
MESSAGES_READ = 64  # at once; then the loop does something else


class Channel:
    """A module of ours in a process of its own, at the other end of a SOCK_SEQPACKET socket pair.

    `on_message` gets each datagram that it sends, of `message_bytes` at most. `on_lost` is called once if it ends
    unasked after it was ready; the object may then be started again.
    """

    def __init__(
        self,
        name: str,
        module: str,
        on_message: Callable[[bytes], None],
        on_lost: Callable[[], None],
        *,
        message_bytes: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._module = module
        self._on_message = on_message
        self._on_lost = on_lost
        self._message_bytes = message_bytes
        self._environment = {**os.environ, **(environment or {})}
        self._backlog: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: asyncio.Future[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that was started last."""
        return self._process.pid if self._process else None

    @property
    def open(self) -> bool:
        """Whether there is a process to talk to; it may not be ready yet."""
        return self._socket is not None

    @property
    def is_ready(self) -> bool:
        """Whether it has said so, and is still there."""
        return self.open and self._ready is not None and self._ready.done()

    @property
    def wants_processor(self) -> bool:
        """Whether the process is at work, or would be if the machine gave it a core (proc(5): state R)."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "R"  # its name, which stands before, may hold anything

    @property
    def waiting(self) -> int:
        """Commands that it has not taken yet."""
        return len(self._backlog)

    async def start(self, *arguments: str, first: Sequence[tuple[bytes, tuple[int, ...]]] = ()) -> None:
        """Start the process, send it the messages `first`, and wait for `ready`. Raises Unavailable."""
        if self._process is not None:  # which is gone, or does not talk to us
            await asyncio.to_thread(_reap, self._process)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * self._message_bytes)
        ours.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 -- our own interpreter and module; fork is 1 ms
                [sys.executable, "-m", self._module, str(theirs.fileno()), *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=self._environment,
            )
        self._socket = ours
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        for data, descriptors in first:
            self.send(data, descriptors)
        loop.add_reader(ours, self._receive)
        try:
            async with asyncio.timeout(READY_S):
                await self._ready
        except TimeoutError as error:
            self.kill()
            raise Unavailable(f"the {self._name} did not become ready") from error

    def ready(self) -> None:
        """It has said that it takes commands."""
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def send(self, data: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message, with duplicates of the descriptors, when the process takes it: they must be open until then.

        Raises Unavailable where there is no process.
        """
        if self._socket is None:
            raise Unavailable(f"no {self._name}")
        self._backlog.append((data, descriptors))
        if len(self._backlog) == 1:
            self._flush()

    def send_now(self, data: bytes, descriptors: tuple[int, ...] = ()) -> None:
        """The same at once or not at all: raises Unavailable, too, where the process takes nothing now."""
        if self._socket is None:
            raise Unavailable(f"no {self._name}")
        try:
            if self._backlog:
                raise BlockingIOError
            socket.send_fds(self._socket, [data], descriptors)
        except BlockingIOError as error:
            raise Unavailable(f"the {self._name} is stuck") from error
        except OSError as error:
            raise Unavailable(f"no {self._name}") from error

    def kill(self) -> None:
        """End the process at once; that it is lost is told as of any that dies."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Close the channel, which tells the process to come to its end; wait for that, within a limit."""
        self._detach()
        if self._process is not None:
            await asyncio.to_thread(_reap, self._process)

    def _flush(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            while self._backlog:
                data, descriptors = self._backlog[0]
                socket.send_fds(self._socket, [data], descriptors)
                self._backlog.popleft()
        except BlockingIOError:
            loop.add_writer(self._socket, self._flush)
            return
        except OSError:
            self._lost()
            return
        loop.remove_writer(self._socket)

    def _receive(self) -> None:
        for _ in range(MESSAGES_READ):
            if self._socket is None:  # a message has led to its end
                return
            try:
                data = self._socket.recv(self._message_bytes)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            self._on_message(data)

    def _lost(self) -> None:
        self._detach()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(Unavailable(f"the {self._name} ended while starting"))
            return
        self._on_lost()

    def _detach(self) -> None:
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
        self._backlog.clear()


def _reap(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
        return
    process.kill()
    process.wait(STOP_S)
