"""Whether the clocks may be trusted with destroying keys: a pure judgement of what they say.

A key that is destroyed because a clock was wrong is gone. So nothing is dropped unless all clocks agree within
`APART_MAX_S` and the host's has made no jump of more than `JUMP_MAX_S` since the last heartbeat. Meanwhile everything
that is due by the *latest* of the clocks is refused to readers: whichever clock is right, no promise is broken.

How far a clock should have come since the heartbeat is known while the machine runs (its uptime says so); after a
restart it is not: then a clock that went on by more than `JUMP_MAX_S` needs a witness, the provider's clock or the
database's on another machine. A clock that has none, has jumped, or went back is believed again once it has run
steadily for `SETTLE_S`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

APART_MAX_S = 60
"""What clocks kept by NTP never come near to, and no promise is counted in."""
JUMP_MAX_S = 3600
"""More than summer time set by hand, less than a day."""
SETTLE_S = 3600
"""After a restart without a witness: time for NTP to put right a clock that started wrong."""


class Doubt(StrEnum):
    """What is the matter with the clocks; each is an alarm."""

    APART = "clocks are apart"
    JUMPED = "clock jumped"
    WENT_BACK = "clock went back"
    UNSETTLED = "clock not confirmed yet"
    SILENT = "key provider does not tell its time"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last look at the clocks, kept in the catalogue: the host's, its uptime, and which start of the machine.

    `latest_s` is the latest that any clock said, since they were last in doubt; `settled_s` how long, by uptime, the
    host's has been steady since; -1: nothing is in doubt.
    """

    host_s: int
    uptime_s: int
    boot: str
    latest_s: int
    settled_s: int = -1


@dataclass(frozen=True, slots=True)
class Reading:
    """What the clocks say now. `database_s` is None where the host's is the database's own, `provider_s` where the
    provider has none; `uptime_s` goes on while the machine sleeps, `boot` names this start of it."""

    host_s: int
    uptime_s: int
    boot: str
    database_s: int | None = None
    provider_s: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the clocks allow. Buckets due by `drop_until_s` may be dropped (None: none may); reads of what is due by
    `refuse_until_s` are refused. `beat` is the heartbeat to keep; `doubts` are alarms."""

    drop_until_s: int | None
    refuse_until_s: int
    doubts: tuple[Doubt, ...]
    beat: Heartbeat

    @property
    def may_drop(self) -> bool:
        """Whether keys may be destroyed by these clocks."""
        return self.drop_until_s is not None


def judge(reading: Reading, last: Heartbeat | None) -> Verdict:
    """What follows from the clocks now and at the last heartbeat; None: there has been none."""
    others = [clock for clock in (reading.database_s, reading.provider_s) if clock is not None]
    clocks = [reading.host_s, *others]
    apart = max(clocks) - min(clocks) > APART_MAX_S
    doubt, settled_s = (None, -1) if last is None else _since(reading, last, witnessed=bool(others) and not apart)
    doubts = tuple(found for found in (Doubt.APART if apart else None, doubt) if found is not None)
    latest_s = max(clocks if last is None or not doubts else [*clocks, last.latest_s])
    beat = Heartbeat(reading.host_s, reading.uptime_s, reading.boot, latest_s, settled_s)
    return Verdict(None if doubts else min(clocks), latest_s, doubts, beat)


def _since(reading: Reading, last: Heartbeat, *, witnessed: bool) -> tuple[Doubt | None, int]:
    """What the host's clock did since the last heartbeat, and how long it has been steady again; -1: all the time."""
    went_s = reading.host_s - last.host_s
    same = reading.boot == last.boot and reading.uptime_s >= last.uptime_s
    passed_s = reading.uptime_s - last.uptime_s if same else None
    if went_s < -APART_MAX_S:
        return Doubt.WENT_BACK, 0
    if passed_s is not None and abs(went_s - passed_s) > JUMP_MAX_S:
        return Doubt.JUMPED, 0
    if passed_s is None and went_s > JUMP_MAX_S and not witnessed:
        return Doubt.UNSETTLED, 0
    if last.settled_s < 0:
        return None, -1
    settled_s = last.settled_s + (passed_s or 0)
    return (None, -1) if settled_s >= SETTLE_S else (Doubt.UNSETTLED, settled_s)


def alarms(doubts: Sequence[Doubt]) -> list[str]:
    """What to say of them to whoever looks after the machine."""
    return [
        f"{doubt.value}: nothing is destroyed until they agree; check the time (NTP) of host and services"
        for doubt in doubts
    ]
