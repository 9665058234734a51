"""Many calls at once, each with audio of its own, placed from a thread; and what of it the server has kept."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.caller import CallFailed, CallResult, Track, place_call
from gateway.client import Client
from media.codecs import g711
from tests.e2e.test_call import RATE_HZ, tone

BLOCK = 160  # samples of a packet
BLOCK_MS = 20
OVER_S = 60.0  # calls have ended, or will not

Samples = NDArray[np.int16]


@dataclass(slots=True, eq=False)
class Placed:
    """One call of the fleet: what it says, and what became of it here."""

    user: str
    dialled: str
    tracks: Sequence[Samples]
    after_s: float = 0.0  # of the fleet's start
    begun_at: float = 0.0  # wall clock: just before its INVITE
    result: CallResult | None = None
    failure: str = ""


@dataclass(slots=True)
class Fleet:
    """The calls, under way in a thread of their own."""

    target: tuple[str, int]
    calls: Sequence[Placed]
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin placing them."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Return when all calls are over."""
        assert self._thread is not None
        self._thread.join(OVER_S)
        assert not self._thread.is_alive(), "calls go on for ever"
        self._loop.close()

    def abandon(self) -> None:
        """Stop all calls without a word to a server that is not there any more."""
        assert self._thread is not None
        while (
            self._thread.is_alive()
        ):  # the first cancellation makes a call say BYE, the next ends its waiting for that
            self._loop.call_soon_threadsafe(self._cancel)
            self._thread.join(0.2)
        self._loop.close()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _run(self) -> None:
        self._loop.run_until_complete(self._place_all())

    async def _place_all(self) -> None:
        self._tasks += [asyncio.ensure_future(self._place(call)) for call in self.calls]
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _place(self, call: Placed) -> None:
        await asyncio.sleep(call.after_s)
        call.begun_at = time.time()
        tracks = [Track(samples) for samples in call.tracks]
        try:
            call.result = await place_call(self.target, tracks, from_user=call.user, to_user=call.dialled)
        except CallFailed as error:
            call.failure = str(error)


def noise(seconds: float, seed: int) -> Samples:
    """Loud noise that no other call says."""
    return np.asarray(tone(seconds, seed), np.int16)


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one track: how much of what was sent is there, and up to where."""

    blocks: int
    until_ms: int  # the end of the last block that is there, from the start of what was sent
    wrong: int  # blocks that are there and were never sent like that
    pieces: tuple[tuple[int, int], ...]  # of each piece the first block that is there, and the one behind its last


def kept_of(client: Client, call: str, track: int, sent: Samples) -> Kept:
    """Compare a downloaded track with what was sent, packet by packet, within each piece of its time map."""
    coded = g711.encode_alaw(np.pad(sent, (0, -len(sent) % BLOCK)))
    said = g711.decode_alaw(coded).reshape(-1, BLOCK)
    where = {block.tobytes(): number for number, block in enumerate(said)}
    heard = np.frombuffer(client.get(f"/v1/calls/{call}/audio?track={track}")[44:], "<i2")
    found: set[int] = set()
    pieces: list[tuple[int, int]] = []
    wrong = 0
    for start, end, at_us in facts_of(client, call, track)["map"]:
        at = round(at_us * RATE_HZ / 1_000_000)
        here: list[int] = []
        for block in heard[at : at + (end - start) // BLOCK * BLOCK].reshape(-1, BLOCK):
            number = where.get(block.tobytes())
            wrong += number is None and bool(block.any())
            here += [] if number is None else [number]
        found.update(here)
        if here:
            pieces.append((min(here), max(here) + 1))
    return Kept(len(found), (max(found, default=-1) + 1) * BLOCK_MS, wrong, tuple(pieces))


def facts_of(client: Client, call: str, track: int) -> dict[str, Any]:
    """What is known of a track."""
    tracks = [entry["track"] for entry in client.json(f"/v1/calls/{call}")["tracks"]]
    found: dict[str, Any] = next(entry["facts"] for entry in tracks if entry["index"] == track)
    return found


def by_user(client: Client, prefix: str, newest: int) -> dict[str, dict[str, Any]]:
    """Those of the server's newest calls whose user begins like that."""
    rows = client.json(f"/v1/calls?limit={newest}")["calls"]
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        user = (row.get("detail") or {}).get("from") or ""
        if user.startswith(prefix):
            assert user not in found, "one call stands there twice"
            found[user] = row
    return found
