"""A clock that a test sets, which the whole store goes by: the machine has run all that time without a jump."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from storage.clocks import Reading
from storage.recordings import Recordings
from tests.storage.stores import open_at

DAY_S = 86_400


def at(text: str) -> float:
    """Unix time of an ISO instant, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@dataclass
class Clock:
    """Set `now_s`; `ahead_s` puts the host's clock alone ahead, as a wrong one is."""

    now_s: float
    ahead_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s + self.ahead_s

    def to(self, text: str) -> None:
        self.now_s = at(text)

    def reading(self, now_s: float, database_s: int | None, provider_s: int | None) -> Reading:
        """What the machine's clocks say: its uptime is right whatever the time of day."""
        return Reading(int(now_s), int(self.now_s), "0" * 32, database_s, provider_s)


@contextmanager
def aged(root: Path, clock: Clock) -> Iterator[Recordings]:
    """The store in `root` under that clock."""
    with open_at(root, clock=clock) as store:
        store.timekeeper.read_host = clock.reading
        store.erasures._with = replace(store.erasures._with, pause=lambda _s: None)  # no other process reads here
        yield store
