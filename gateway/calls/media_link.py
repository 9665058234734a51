"""The gateway's end of a media worker: starts the process, sends commands with sockets, hands on its events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.errors import Unavailable
from media.messages import MESSAGE_BYTES_MAX, Close, Command, Message, Open, Ready, decode, encode

log = logging.getLogger(__name__)

BACKLOG_MAX = 10_000  # commands the worker has not taken: it is stuck, and is ended
READY_S = 20.0  # numpy and cryptography import in about a second on a busy machine
STOP_S = 10.0


class File(Protocol):
    """A socket, or anything else with a descriptor that stays open until the command has gone out."""

    def fileno(self) -> int: ...


class MediaLink:
    """One media worker process. `on_event` gets its events, `on_lost` is called once when it is gone unasked.

    Both are told whose they are. It gets the commands `first` before any other: what it must know for announcements.
    """

    def __init__(
        self,
        settings_json: str,
        on_event: Callable[[MediaLink, Message], None],
        on_lost: Callable[[MediaLink], None],
        first: Sequence[tuple[Command, Sequence[File]]] = (),
    ) -> None:
        self._settings_json = settings_json
        self._first = first
        self._on_event = on_event
        self._on_lost = on_lost
        self._backlog: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: asyncio.Future[None] | None = None
        self.legs: set[int] = set()
        """The legs that it was given and not told to close."""
        self.unheard = 0
        """Beats of its keeper since it last said anything."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._socket is not None

    async def start(self) -> None:
        """Start the process and wait until it says that it is ready. Raises Unavailable."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE_BYTES_MAX)
        ours.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 -- our own interpreter and module; fork is 1 ms
                [sys.executable, "-m", "gateway.processes.media", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # A tick shares no product of matrices with other threads: it would spin while they wait for a core.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        self._socket = ours
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        ours.send(self._settings_json.encode())
        for command, files in self._first:
            self.send(command, files)
        loop.add_reader(ours, self._receive)
        try:
            async with asyncio.timeout(READY_S):
                await self._ready
        except TimeoutError as error:
            self.kill()
            raise Unavailable("the media worker did not become ready") from error

    def send(self, command: Command, files: Sequence[File] = ()) -> None:
        """Queue a command; with it, duplicates of `files` go to the worker. Raises Unavailable when it is gone."""
        if self._socket is None:
            raise Unavailable("no media worker")
        if len(self._backlog) >= BACKLOG_MAX:
            log.error("media worker takes no commands, ending it", extra={"pid": self.pid})
            self.kill()
            raise Unavailable("the media worker is stuck")
        if isinstance(command, Open):
            self.legs.add(command.leg)
        elif isinstance(command, Close):
            self.legs.discard(command.leg)
        self._backlog.append((encode(command), tuple(file.fileno() for file in files)))
        if len(self._backlog) == 1:
            self._flush()

    def kill(self) -> None:
        """End the process at once; that it is lost is told as of any that dies."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Close the channel, which makes the worker commit and end; wait for it, within a limit."""
        self._detach()
        if self._process is not None:
            await asyncio.to_thread(_reap, self._process)

    def _flush(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        try:
            while self._backlog:
                data, fds = self._backlog[0]
                socket.send_fds(self._socket, [data], fds)
                self._backlog.popleft()
        except BlockingIOError:
            loop.add_writer(self._socket, self._flush)
            return
        except OSError:
            self._lost()
            return
        loop.remove_writer(self._socket)

    def _receive(self) -> None:
        assert self._socket is not None
        for _ in range(64):  # then let the loop do something else
            try:
                data = self._socket.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            self.unheard = 0
            event = decode(data)
            if isinstance(event, Ready) and self._ready is not None and not self._ready.done():
                self._ready.set_result(None)
            self._on_event(self, event)

    def _lost(self) -> None:
        self._detach()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(Unavailable("the media worker ended while starting"))
            return
        log.error("media worker is gone", extra={"pid": self.pid})
        self._on_lost(self)

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
