"""Keeps media workers running for the switchboard: as many as take calls, and one more that stands by.

When one dies, or says nothing any more, the one that stands by takes over its calls at once, with the same sockets,
which the gateway still holds; then another is started to stand by. Without one the calls end as interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import chain, repeat

from gateway.calls.announcement import Announcements
from gateway.calls.media_link import MediaLink
from gateway.calls.switchboard import Switchboard
from gateway.config import Settings
from gateway.errors import Unavailable
from gateway.processes.media_told import MediaTold
from gateway.processes.supervisor import BACKOFF_S, STEADY_S
from media.messages import Message, Stats

log = logging.getLogger(__name__)

BEAT_S = 0.5  # between two looks at who has said something; a gateway that stood still itself counts one beat, not many
STUCK_BEATS = 7  # without a word, where statistics come each second: sockets hold some 5 s of what comes meanwhile
# Who still works, or waits for a core only, gets longer: another worker would have no more of the machine than it has.
STARVED_BEATS = 20
SPARE_LATE_S = 10.0  # a start takes a second, on a busy machine some


class MediaKeeper:
    """The media workers, and the announcements that each one is told first."""

    def __init__(self, settings: Settings, board: Switchboard, announcements: Announcements) -> None:
        self._told = _told(settings)
        self._wanted = settings.media.workers
        self._board = board
        self._announcements = announcements
        self._spare: MediaLink | None = None
        self._staffing: asyncio.Task[None] | None = None
        self._pauses_s = _pauses_s()
        self._started_at = 0.0
        self._bare_since = 0.0  # since when none stands by, if none does
        self._ending = False
        self.restarts = 0
        board.prompts = announcements.prompts

    @property
    def alive(self) -> bool:
        """Whether there is one that takes calls."""
        return self._board.workers.alive

    @property
    def complete(self) -> bool:
        """Whether as many as are wanted take calls."""
        return len(self._board.workers) >= self._wanted

    @property
    def states(self) -> dict[str, int]:
        """How many take calls, and how many stand by."""
        return {"taking_calls": len(self._board.workers), "standing_by": int(self._spare is not None)}

    @property
    def spare_missing(self) -> bool:
        """Whether none stands by, for longer than starting one takes."""
        return self._spare is None and asyncio.get_running_loop().time() - self._bare_since > SPARE_LATE_S

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Workers for as long as the context lasts. Raises Unavailable if the first ones do not start."""
        first = [self._link() for _ in range(self._wanted)]
        beating = asyncio.create_task(self._beat())
        try:
            for started in await asyncio.gather(*(link.start() for link in first), return_exceptions=True):
                if isinstance(started, BaseException):
                    raise started
            for link in first:
                self._take(link)
            self._bare_since = asyncio.get_running_loop().time()
            self._staff()  # the one that stands by: nobody waits for it
            yield
        finally:
            self._ending = True
            for task in (beating, self._staffing):
                if task is not None:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
            await asyncio.gather(*(link.stop() for link in {*first, *self._links()}))

    def announce(self, announcements: Announcements) -> None:
        """Other announcements, from the next call on; what plays goes on."""
        for link in self._links():
            with contextlib.suppress(Unavailable):  # the next worker is told at its start
                for command, files in announcements.commands():
                    link.send(command, files)
        self._board.prompts = announcements.prompts
        former, self._announcements = self._announcements, announcements
        former.close()

    def _links(self) -> list[MediaLink]:
        spare = [self._spare] if self._spare is not None else []
        return [*self._board.workers, *spare]

    def _link(self) -> MediaLink:
        return MediaLink(self._told, self._hear, self._lost, self._announcements.commands())

    def _hear(self, link: MediaLink, event: Message) -> None:
        if isinstance(event, Stats):
            self._board.workers.hear(link, event, asyncio.get_running_loop().time())
        else:
            self._board.on_media(event)

    def _take(self, link: MediaLink) -> None:
        """A worker is ready: it takes calls if one is missing, and else stands by."""
        if not link.alive:  # any more: it died as soon as it was
            return
        if self.complete:
            self._spare = link
            log.info("media worker stands by", extra={"pid": link.pid})
        else:
            self._board.workers.join(link)
            log.info("media worker takes calls", extra={"pid": link.pid})

    def _lost(self, link: MediaLink) -> None:
        """A worker that was ready is dead."""
        if self._spare is not None:  # in any case it is needed
            self._bare_since = asyncio.get_running_loop().time()
        if link is self._spare:
            self._spare = None
        elif link in self._board.workers:
            successor, self._spare = self._spare, None
            self._board.workers.leave(link)
            if successor is not None:
                self._take(successor)
            self._board.on_media_lost(link, successor)
        self._staff()

    def _staff(self) -> None:
        """See to it that nobody is missing."""
        if not self._ending and (self._staffing is None or self._staffing.done()):
            self._staffing = asyncio.get_running_loop().create_task(self._start_missing())

    async def _start_missing(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.complete or self._spare is None:
            if self._started_at:
                if loop.time() - self._started_at > STEADY_S:
                    self._pauses_s = _pauses_s()
                await asyncio.sleep(next(self._pauses_s))
                self.restarts += 1
            link = self._link()
            self._started_at = loop.time()
            try:
                await link.start()
            except (Unavailable, OSError):  # OSError: no process or socket could be had
                log.exception("a media worker did not start, it is tried again")
                await link.stop()
            except asyncio.CancelledError:
                await asyncio.shield(link.stop())
                raise
            else:
                self._take(link)

    async def _beat(self) -> None:
        """Ends workers that say nothing any more: whatever holds them, their calls are better off with another."""
        while True:
            await asyncio.sleep(BEAT_S)
            for link in self._links():
                link.unheard += 1
                if link.unheard > STUCK_BEATS and (link.unheard > STARVED_BEATS or not link.wants_processor):
                    log.error("media worker is stuck, ending it", extra={"pid": link.pid})
                    link.kill()


def _pauses_s() -> Iterator[float]:
    return chain(BACKOFF_S, repeat(BACKOFF_S[-1]))


def _told(settings: Settings) -> MediaTold:
    store = settings.store
    return MediaTold(
        log_level=settings.log.level,
        spool_folder=str(settings.data_folder / "spool"),
        file_mib=store.spool_file_mib,
        limit_mib=store.spool_limit_mib,
        held_stream_mib=store.held_stream_mib,
        held_total_mib=store.held_total_mib,
        native=settings.media.native,
    )
