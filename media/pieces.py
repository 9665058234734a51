"""A piece of a track as its packets and its sender's reports tell of it, until it is placed in call time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from media.senderclock import Agreed, ReportFacts, SenderClock, WallClock
from media.timemap import DRIFT_US_MIN, NEAR_US, WINDOW_S, Course, Envelope, Piece


@dataclass(slots=True)
class Gathered:
    """What is known of the media timestamps [start, end), of one clock."""

    start: int
    transit_us: int  # of the least delayed packet of its first second
    silence: int  # why there was nothing before it, as a frame's flags say it
    end: int
    clock_hz: int
    resumed_us: int  # when the worker that received it had begun, if another had died before it
    envelope: Envelope = field(init=False)
    sender: SenderClock = field(init=False)

    def __post_init__(self) -> None:
        self.envelope, self.sender = Envelope(WINDOW_S * self.clock_hz), SenderClock(self.clock_hz)

    def us(self, ticks: int) -> int:
        """So many ticks of its clock in µs."""
        return ticks * 1_000_000 // self.clock_hz

    def agreed(self) -> Agreed | None:
        """What its sender's reports tell of it, where the stamps agree."""
        return self.sender.agreed(self.envelope, self.start, self.end)

    def course(self) -> tuple[Course | None, bool]:
        """How its transit goes where its clock drifts, None of one that keeps time; whether reports have made it so."""
        own, points = self.envelope.course(self.start, self.end), self.envelope.all()
        if own is None:
            return None, False
        spread_us, drifts = own.spread_us(points), own.rise_us >= DRIFT_US_MIN
        clear = spread_us <= NEAR_US
        if clear and not drifts:
            return None, False
        agreed = self.agreed()
        if agreed is not None and agreed.spread_us is not None and (not clear or agreed.spread_us < spread_us):
            return (agreed.transit if agreed.transit.rise_us >= DRIFT_US_MIN else None), True
        return (own if clear and own.is_a_clocks(self.clock_hz) else None), False

    def placed(self, floor_us: int) -> Piece:
        """The piece in call time, as far as it is known; it begins where the one before it ended, or later."""
        course, _ = self.course()
        if course is not None:
            knots = course.knots(self.clock_hz)
            late_us = max(0, floor_us - knots[0][1])
            knots = tuple((timestamp, at_us + late_us) for timestamp, at_us in knots)
            return Piece(self.start, self.end, knots[0][1], self.clock_hz, knots)
        least_us = self.envelope.least_us
        transit_us = self.transit_us if least_us is None else min(self.transit_us, least_us)
        return Piece(self.start, self.end, max(floor_us, transit_us + self.us(self.start)), self.clock_hz)


def reported(pieces: Sequence[Gathered], strays: int) -> ReportFacts:
    """What became of the reports of a track; `strays` belonged to no piece."""
    asked = [piece for piece in pieces if piece.sender.enough]
    agreeing = sum(piece.agreed() is not None for piece in asked)
    return ReportFacts(
        taken=sum(piece.sender.taken for piece in pieces),
        stray=strays + sum(piece.sender.stray for piece in pieces),
        agreeing=agreeing,
        refused=len(asked) - agreeing,
        followed=sum(piece.course()[1] for piece in asked),
    )


def wall_clocks(pieces: Sequence[Gathered], placed: Sequence[Piece]) -> tuple[WallClock, ...]:
    """How the wall clocks of a track's pieces stand to call time, of those that are believed and known."""
    found = []
    for number, (gathered, piece) in enumerate(zip(pieces, placed, strict=True)):
        agreed, endpoint = gathered.agreed(), gathered.sender.known
        if agreed is not None and endpoint is not None:
            start_us, end_us = (
                piece.call_us(at) - gathered.sender.wall_us(agreed.wall, at) for at in (piece.start, piece.end)
            )
            found.append(WallClock(number, endpoint, start_us, end_us, agreed.doubt_us))
    return tuple(found)
