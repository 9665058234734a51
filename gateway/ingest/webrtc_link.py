"""The gateway's end of the WebRTC worker: starts the process, and again when it dies; asks it to take peers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat

from gateway.errors import Unavailable
from gateway.processes.channel import Channel
from gateway.processes.supervisor import BACKOFF_S
from media.webrtc.messages import MESSAGE_BYTES_MAX, Accept, Accepted, Message, Ready, Stats, decode, encode

log = logging.getLogger(__name__)

ACCEPT_S = 3.0  # the worker's loop is never busy for so long; a client would rather be told to come again


class WebRtcLink:
    """One WebRTC worker at a time. `on_event` gets its events, `on_lost` is called when one is gone unasked."""

    def __init__(self, level: str, on_event: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._level = level
        self._on_event = on_event
        self._on_lost = on_lost
        self._channel = Channel(
            *("WebRTC worker", "gateway.processes.webrtc", self._hear, self._lost), message_bytes=MESSAGE_BYTES_MAX
        )
        self._asked: dict[int, asyncio.Future[Accepted]] = {}
        self._restarting: asyncio.Task[None] | None = None
        self._ending = False
        self.restarts = 0
        self.stats = Stats()

    @property
    def alive(self) -> bool:
        return self._channel.is_ready

    @property
    def pid(self) -> int | None:
        return self._channel.pid

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A worker for as long as the context lasts. Raises Unavailable if the first one does not start."""
        await self._channel.start(self._level)
        try:
            yield
        finally:
            self._ending = True
            if self._restarting is not None:
                self._restarting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._restarting
            await self._channel.stop()

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
        self._channel.send_now(encode(command), tuple(sock.fileno() for sock in sockets))

    def _hear(self, data: bytes) -> None:
        event = decode(data)
        if isinstance(event, Ready):
            self._channel.ready()
        elif isinstance(event, Accepted):
            asked = self._asked.get(event.session)
            if asked is not None and not asked.done():
                asked.set_result(event)
        elif isinstance(event, Stats):
            self.stats = event
        else:
            self._on_event(event)

    def _lost(self) -> None:
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
                await self._channel.start(self._level)
            except (Unavailable, OSError):  # OSError: no process or socket could be had
                log.exception("the WebRTC worker did not start, it is tried again")
            else:
                return
