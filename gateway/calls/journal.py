"""Makes the beginnings and ends of calls durable in groups: what comes while one transaction runs shares the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from storage.errors import StoreError, Unavailable

log = logging.getLogger(__name__)

GROUP_MAX = 200  # entries in one transaction: some 20 ms of SQLite, far below the 250 ms of a spool commit

Entry = TypeVar("Entry")


class Journal(Generic[Entry]):
    """Writes entries through `write`, a blocking function that makes a group durable in one transaction.

    `write` returns for each entry None, or why it could not be written; when it raises, none was, and unless it was
    for Unavailable, the entries are tried in ever smaller groups.
    """

    def __init__(self, write: Callable[[Sequence[Entry]], Sequence[StoreError | None]], linger_s: float = 0.0) -> None:
        self._write_group = write
        self._linger_s = linger_s  # waited for company: a transaction costs the same for one entry and for five
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    async def write(self, entry: Entry) -> None:
        """Return when the entry is durable. Raises StoreError when it is not, and will not be."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        self._wake.set()
        await future

    async def run(self) -> None:
        """Write groups until cancelled."""
        while True:
            await self._wake.wait()
            if len(self._waiting) < GROUP_MAX:
                await asyncio.sleep(self._linger_s)
            group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
            if not self._waiting:
                self._wake.clear()
            if group:
                await self._write(group)

    async def _write(self, group: list[tuple[Entry, asyncio.Future[None]]]) -> None:
        outcomes = await self._outcomes([entry for entry, _ in group])
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():
                continue
            if outcome is None:
                future.set_result(None)
            else:
                future.set_exception(outcome)

    async def _outcomes(self, entries: Sequence[Entry]) -> Sequence[StoreError | None]:
        """What became of each; where the fault may be that of one entry, halves are tried, so that it fails alone."""
        try:
            found = await asyncio.to_thread(self._write_group, entries)
            if len(found) != len(entries):
                raise ValueError("not an outcome for each entry")
        except Unavailable as error:  # it would be so for each of them
            log.exception("a group could not be made durable", extra={"entries": len(entries)})
            return [error] * len(entries)
        except Exception as error:  # whatever it is ends the calls that it concerns, and not the writing of all others
            if len(entries) > 1:
                middle = len(entries) // 2
                return [*await self._outcomes(entries[:middle]), *await self._outcomes(entries[middle:])]
            log.exception("an entry could not be made durable")
            return [error if isinstance(error, StoreError) else StoreError("an entry could not be written")]
        return found
