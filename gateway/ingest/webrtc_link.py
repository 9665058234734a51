"""The gateway's end of the WebRTC worker: starts the process, and again when it dies; asks it to take peers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat

from gateway.errors import Unavailable
from gateway.processes.supervisor import BACKOFF_S
from media.webrtc.messages import MESSAGE_BYTES_MAX, Accept, Accepted, Message, Ready, Stats, decode, encode

log = logging.getLogger(__name__)

READY_S = 20.0  # aiortc, numpy and cryptography import in some two seconds on a busy machine
ACCEPT_S = 3.0  # the worker's loop is never busy for so long; a client would rather be told to come again
STOP_S = 10.0
COMMANDS_READ = 64  # then the loop does something else


class WebRtcLink:
    """One WebRTC worker at a time. `on_event` gets its events, `on_lost` is called when one is gone unasked."""

    def __init__(self, level: str, on_event: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._level = level
        self._on_event = on_event
        self._on_lost = on_lost
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._asked: dict[int, asyncio.Future[Accepted]] = {}
        self._restarting: asyncio.Task[None] | None = None
        self._ending = False
        self.restarts = 0
        self.stats = Stats()

    @property
    def alive(self) -> bool:
        return self._socket is not None and self._ready is not None and self._ready.done()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A worker for as long as the context lasts. Raises Unavailable if the first one does not start."""
        await self._start()
        try:
            yield
        finally:
            self._ending = True
            if self._restarting is not None:
                self._restarting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._restarting
            self._detach()
            if self._process is not None:
                await asyncio.to_thread(_reap, self._process)

    async def accept(self, command: Accept, sockets: Sequence[socket.socket]) -> Accepted:
        """Have a peer taken; duplicates of the sockets go along. Raises Unavailable."""
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._asked[command.session] = future
        try:
            self.send(command, sockets)
            async with asyncio.timeout(ACCEPT_S):
                return await future
        except TimeoutError as error:
            raise Unavailable("the WebRTC worker does not answer") from error
        finally:
            del self._asked[command.session]

    def send(self, command: Message, sockets: Sequence[socket.socket] = ()) -> None:
        """Send a command. Raises Unavailable when the worker is gone, or takes none."""
        if self._socket is None:
            raise Unavailable("no WebRTC worker")
        try:
            socket.send_fds(self._socket, [encode(command)], [sock.fileno() for sock in sockets])
        except BlockingIOError as error:
            raise Unavailable("the WebRTC worker is stuck") from error
        except OSError as error:
            raise Unavailable("no WebRTC worker") from error

    async def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 -- our own interpreter and module; fork is 1 ms
                [sys.executable, "-m", "gateway.processes.webrtc", str(theirs.fileno()), self._level],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._socket = ours
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        loop.add_reader(ours, self._receive)
        try:
            async with asyncio.timeout(READY_S):
                await self._ready
        except TimeoutError as error:
            self._process.kill()
            raise Unavailable("the WebRTC worker did not become ready") from error

    def _receive(self) -> None:
        for _ in range(COMMANDS_READ):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            self._hear(decode(data))

    def _hear(self, event: Message) -> None:
        assert self._ready is not None
        if isinstance(event, Ready) and not self._ready.done():
            self._ready.set_result(None)
        elif isinstance(event, Accepted):
            asked = self._asked.get(event.session)
            if asked is not None and not asked.done():
                asked.set_result(event)
        elif isinstance(event, Stats):
            self.stats = event
        else:
            self._on_event(event)

    def _lost(self) -> None:
        self._detach()
        assert self._ready is not None
        if not self._ready.done():
            self._ready.set_exception(Unavailable("the WebRTC worker ended while starting"))
            return
        log.error("WebRTC worker is gone", extra={"pid": self.pid})
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(Unavailable("the WebRTC worker is gone"))
        self._on_lost()
        if not self._ending:
            self._restarting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        for pause_s in chain(BACKOFF_S, repeat(BACKOFF_S[-1])):
            await asyncio.sleep(pause_s)
            self.restarts += 1
            try:
                await self._start()
            except (Unavailable, OSError):  # OSError: no process or socket could be had
                log.exception("the WebRTC worker did not start, it is tried again")
            else:
                return

    def _detach(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None


def _reap(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
        return
    process.kill()
    process.wait(STOP_S)
