"""Makes new calls durable in groups: calls that arrive while one transaction runs share the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from storage.errors import StoreError
from storage.recordings import NewCall

log = logging.getLogger(__name__)

GROUP_MAX = 200  # calls in one transaction: some 20 ms of SQLite, far below the 250 ms of a spool commit


class Journal:
    """Saves calls through `save`, a blocking function that makes a group durable in one transaction."""

    def __init__(self, save: Callable[[Sequence[NewCall]], None]) -> None:
        self._save = save
        self._waiting: list[tuple[NewCall, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    async def save(self, call: NewCall) -> None:
        """Return when the call is durable. Raises StoreError when it is not, and will not be."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        self._wake.set()
        await future

    async def run(self) -> None:
        """Write groups until cancelled."""
        while True:
            await self._wake.wait()
            group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
            if not self._waiting:
                self._wake.clear()
            if group:
                await self._write(group)

    async def _write(self, group: list[tuple[NewCall, asyncio.Future[None]]]) -> None:
        try:
            await asyncio.to_thread(self._save, [call for call, _ in group])
        except StoreError as error:
            log.exception("calls could not be made durable", extra={"calls": len(group)})
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
        else:
            for _, future in group:
                if not future.done():
                    future.set_result(None)
