"""One pause of a call's recording, as it is asked for, confirmed, ended, and kept in call detail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

BY_HANG_UP = "hang-up"


@dataclass(slots=True, eq=False)
class Order:
    """What all legs of a call were told at once; `at_us` is the call time by which it holds for the whole call."""

    number: int
    awaited: set[int]
    done: asyncio.Future[None]
    at_us: int | None = None


@dataclass(slots=True, eq=False)
class Span:
    """One pause: who asked for it and for its end (a role, `sip`, or how else it ended), never which person."""

    by: str
    begin: Order
    end: Order | None = None
    ended_by: str = ""
    limit: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def open(self) -> bool:
        """Whether nobody has asked for its end."""
        return self.end is None

    def to_json(self, ended_us: int | None = None) -> dict[str, object]:
        """For call detail, in ms of the call; a pause that is open when the call ends at `ended_us` ended with it."""
        end_us, by = ended_us, BY_HANG_UP if ended_us is not None else ""
        if self.end is not None:
            end_us, by = self.end.at_us, self.ended_by
        return {"start_ms": _ms(self.begin.at_us), "end_ms": _ms(end_us), "by": self.by, "ended_by": by}


def _ms(at_us: int | None) -> float | None:
    return None if at_us is None else at_us / 1000
