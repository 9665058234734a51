"""A piece of a track as its packets and its sender's reports tell of it, until it is placed in call time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from media.senderclock import Agreed, ReportFacts, SenderClock, WallClock
from media.timemap import DRIFT_US_MIN, NEAR_US, WINDOW_S, Course, Envelope, Piece

WALLS_MAX = 64  # of a track that can be tied: a sender that begins anew more often stays where the stamps put it


@dataclass(frozen=True, slots=True)
class Death:
    """A worker that received the track died, and another went on: what it wrote last, and from when on that one did."""

    pending: int = 0  # why nothing would come then, as a frame's flags say it
    written_us: int = 0
    resumed_us: int = 0


@dataclass(slots=True)
class Gathered:
    """What is known of the media timestamps [start, end), of one clock."""

    start: int
    transit_us: int  # of the least delayed packet of its first second
    silence: int  # why there was nothing before it, as a frame's flags say it
    end: int
    clock_hz: int
    death: Death | None  # between it and what stands before it
    envelope: Envelope = field(init=False)
    sender: SenderClock = field(init=False)

    def __post_init__(self) -> None:
        self.envelope, self.sender = Envelope(WINDOW_S * self.clock_hz), SenderClock(self.clock_hz)

    def us(self, ticks: int) -> int:
        """So many ticks of its clock in µs."""
        return ticks * 1_000_000 // self.clock_hz

    def judged(self) -> Judged:
        """What stamps and reports together say of its clock."""
        agreed = self.sender.agreed(self.envelope, self.start, self.end)
        own, points = self.envelope.course(self.start, self.end), self.envelope.all()
        if own is None:
            return Judged(agreed)
        spread_us, drifts = own.spread_us(points), own.rise_us >= DRIFT_US_MIN
        clear = spread_us <= NEAR_US
        if clear and not drifts:
            return Judged(agreed)
        if agreed is not None and agreed.spread_us is not None and (not clear or agreed.spread_us < spread_us):
            return Judged(agreed, agreed.transit if agreed.transit.rise_us >= DRIFT_US_MIN else None, by_reports=True)
        return Judged(agreed, own if clear and own.is_a_clocks(self.clock_hz) else None)

    def placed(self, judged: Judged, floor_us: int) -> Piece:
        """The piece in call time, as far as it is known; it begins where the one before it ended, or later."""
        if judged.course is not None:
            knots = judged.course.knots(self.clock_hz)
            late_us = max(0, floor_us - knots[0][1])
            knots = tuple((timestamp, at_us + late_us) for timestamp, at_us in knots)
            return Piece(self.start, self.end, knots[0][1], self.clock_hz, knots)
        least_us = self.envelope.least_us
        transit_us = self.transit_us if least_us is None else min(self.transit_us, least_us)
        return Piece(self.start, self.end, max(floor_us, transit_us + self.us(self.start)), self.clock_hz)


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a piece's clock."""

    agreed: Agreed | None  # what its sender's reports tell, where the stamps agree
    course: Course | None = None  # how its transit goes where it drifts, None of one that keeps time
    by_reports: bool = False  # whether reports have made that so


def placed_in_turn(
    pieces: Sequence[Gathered], floor_us: int, strays: int
) -> tuple[list[Piece], ReportFacts, tuple[WallClock, ...]]:
    """A track's pieces in call time, from `floor_us` on; what became of its reports; its wall clocks against call time.

    `strays` of the reports belonged to no piece. Wall clocks are told where they are believed and it is known whose
    they are.
    """
    placed, walls = list[Piece](), list[WallClock]()
    taken = agreeing = refused = followed = 0
    for number, gathered in enumerate(pieces):
        judged, sender = gathered.judged(), gathered.sender
        piece = gathered.placed(judged, floor_us)
        placed.append(piece)
        floor_us = piece.end_us
        taken, strays, followed = taken + sender.taken, strays + sender.stray, followed + judged.by_reports
        agreed, endpoint = judged.agreed, sender.known
        agreeing += agreed is not None
        refused += agreed is None and sender.enough
        if agreed is not None and endpoint is not None and len(walls) < WALLS_MAX:
            start_us, end_us = (piece.call_us(at) - sender.wall_us(agreed.wall, at) for at in (piece.start, piece.end))
            walls.append(WallClock(number, endpoint, start_us, end_us, agreed.doubt_us))
    return placed, ReportFacts(taken, strays, agreeing, refused, followed), tuple(walls)
