"""The gateway's end of a media worker: starts the process, sends commands with sockets, hands on its events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.errors import Unavailable
from gateway.processes.channel import Channel
from gateway.processes.media_told import MediaTold
from media.datagrams import apart
from media.messages import MESSAGE_BYTES_MAX, Close, Command, Message, Open, Ready, decode, encode

log = logging.getLogger(__name__)

BACKLOG_MAX = 10_000  # commands the worker has not taken: it is stuck, and is ended
# A tick shares no product of matrices with other threads: it would spin while they wait for a core.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}


class File(Protocol):
    """A socket, or anything else with a descriptor that stays open until the command has gone out."""

    def fileno(self) -> int: ...


class MediaLink:
    """One media worker process. `on_event` gets its events, `on_lost` is called once when it is gone unasked.

    Both are told whose they are. It gets the commands `first` before any other: what it must know for announcements.
    """

    def __init__(
        self,
        told: MediaTold,
        on_event: Callable[[MediaLink, Message], None],
        on_lost: Callable[[MediaLink], None],
        first: Sequence[tuple[Command, Sequence[File]]] = (),
    ) -> None:
        self._told = told
        self._first = first
        self._on_event = on_event
        self._on_lost = on_lost
        self._channel = Channel(
            *("media worker", "gateway.processes.media", self._hear, self._lost),
            message_bytes=MESSAGE_BYTES_MAX,
            environment=ENVIRONMENT,
        )
        self.legs: set[int] = set()
        """The legs that it was given and not told to close."""
        self.unheard = 0
        """Beats of its keeper since it last said anything."""

    @property
    def pid(self) -> int | None:
        return self._channel.pid

    @property
    def alive(self) -> bool:
        return self._channel.open

    @property
    def wants_processor(self) -> bool:
        """Whether it is at work, or would be if the machine gave it a core."""
        return self._channel.wants_processor

    async def start(self) -> None:
        """Start the process and wait until it says that it is ready. Raises Unavailable."""
        commands = [(encode(command), _descriptors(files)) for command, files in self._first]
        await self._channel.start(first=[(self._told.encode(), ()), *commands])

    def send(self, command: Command, files: Sequence[File] = ()) -> None:
        """Queue a command; with it, duplicates of `files` go to the worker. Raises Unavailable when it is gone."""
        if self._channel.waiting >= BACKLOG_MAX:
            log.error("media worker takes no commands, ending it", extra={"pid": self.pid})
            self.kill()
            raise Unavailable("the media worker is stuck")
        self._channel.send(encode(command), _descriptors(files))
        if isinstance(command, Open):
            self.legs.add(command.leg)
        elif isinstance(command, Close):
            self.legs.discard(command.leg)

    def kill(self) -> None:
        """End the process at once; that it is lost is told as of any that dies."""
        self._channel.kill()

    async def stop(self) -> None:
        """Close the channel, which makes the worker commit and end; wait for it, within a limit."""
        await self._channel.stop()

    def _hear(self, data: bytes) -> None:
        self.unheard = 0
        for message in apart(data):
            event = decode(message)
            if isinstance(event, Ready):
                self._channel.ready()
            self._on_event(self, event)

    def _lost(self) -> None:
        log.error("media worker is gone", extra={"pid": self.pid})
        self._on_lost(self)


def _descriptors(files: Sequence[File]) -> tuple[int, ...]:
    return tuple(file.fileno() for file in files)
