"""Keeps a media worker running for the switchboard: started, told its announcements, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, repeat

from gateway.calls.announcement import Announcements
from gateway.calls.media_link import MediaLink
from gateway.calls.switchboard import Switchboard
from gateway.errors import Unavailable
from gateway.processes.supervisor import BACKOFF_S

log = logging.getLogger(__name__)


class MediaKeeper:
    """The one media worker, and the announcements that each one is told first."""

    def __init__(self, settings_json: str, board: Switchboard, announcements: Announcements) -> None:
        self._settings_json = settings_json
        self._board = board
        self._announcements = announcements
        self._restarting: asyncio.Task[None] | None = None
        self._ending = False
        self.restarts = 0
        board.prompts = announcements.prompts

    @property
    def link(self) -> MediaLink | None:
        """The way to the present worker."""
        return self._board.media

    @property
    def alive(self) -> bool:
        """Whether there is one that takes calls."""
        return self.link is not None and self.link.alive

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
            if self.link is not None:
                await self.link.stop()

    def announce(self, announcements: Announcements) -> None:
        """Other announcements, from the next call on; what plays goes on."""
        if self.link is not None and self.link.alive:
            with contextlib.suppress(Unavailable):  # the next worker is told at its start
                for command, files in announcements.commands():
                    self.link.send(command, files)
        self._board.prompts = announcements.prompts
        former, self._announcements = self._announcements, announcements
        former.close()

    async def _start(self) -> None:
        link = MediaLink(self._settings_json, self._board.on_media, self._lost, self._announcements.commands())
        self._board.media = link
        await link.start()

    def _lost(self) -> None:
        self._board.on_media_lost()
        if not self._ending:
            self._restarting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        for pause_s in chain(BACKOFF_S, repeat(BACKOFF_S[-1])):
            await asyncio.sleep(pause_s)
            self.restarts += 1
            try:
                await self._start()
            except (Unavailable, OSError):  # OSError: no process or socket could be had
                log.exception("the media worker did not start, it is tried again")
            else:
                return
