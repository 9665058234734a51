"""A sender's clock by its own word: what sender reports (RFC 3550 §6.4.1) tell of a piece, and when that is believed.

A report ties media time to the sender's wall clock (NTP). From report to report that gives the rate of its media
clock, without what the network does to packets; but the wall clock is the sender's word, and its rate may be anything.
So the reports count only where the kernel's stamps agree, all of these:

- They tell of a straight line for each stretch, as the stamps do (`timemap`): half of them lie near it.
- The least delayed packets lie, everywhere in the piece, within `AGREE_US` above the line that the reports make; or,
  where the sender's wall clock runs at a rate of its own, half of them on a straight line beside it.
- No clock would be farther off than `DRIFT_PPM_MAX`.

Else they are refused for the piece, which the facts say, and the stamps alone tell. A clock that the stamps by
themselves show to be true stays alone, whatever reports say; so a wall clock that lies or jumps bends nothing by more
than `AGREE_US`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from media.readings import Reading
from media.timemap import DRIFT_US_MIN, WINDOWS_MIN, Course, Envelope, Point, support

WINDOW_S = 30  # of media, of which the least reading is remembered: some six
READING_NEAR_US = 5_000  # of the line: senders that give their last packet's time are off by up to a packet's length
AGREE_US = 10_000  # that the least delayed packets may be above the reports' line
PART_WINDOWS = 30  # in which one packet must have come so quickly: five minutes of even a network that always moves
PARTS_MIN = 4  # of a piece
STRAY_US = 1_000_000  # a report that is as far from its stream is another one's, or nonsense
READINGS_MIN = 2
NTP_UNIT = 1 << 32  # of a second
WALL_US = (1 << 32) * 1_000_000  # after which the wall clock begins anew


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What became of a track's sender reports.

    So many were taken, so many strayed; of so many pieces they agreed with the stamps, were refused, made the rate.
    `tied` is a number that it shares with those tracks of the call whose offset to it follows their common wall clock.
    """

    taken: int = 0
    stray: int = 0
    agreeing: int = 0
    refused: int = 0
    followed: int = 0
    tied: int | None = None

    def to_json(self) -> dict[str, int | None]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReportFacts:
        """Read what `to_json` wrote; raises TypeError or ValueError where it is something else."""
        tied = data.get("tied")
        counts = {name: int(data.get(name, 0)) for name in ("taken", "stray", "agreeing", "refused", "followed")}
        return cls(**counts, tied=None if tied is None else int(tied))


NO_REPORTS = ReportFacts()


@dataclass(frozen=True, slots=True)
class WallClock:
    """How far call time is ahead of an endpoint's wall clock where a piece begins and where it ends, in µs.

    Both count from wherever they do: two of the same endpoint can be compared, modulo `WALL_US`.
    """

    piece: int
    endpoint: int
    start_us: int
    end_us: int

    def to_json(self) -> list[int]:
        """As a list; the constructor takes it."""
        return [self.piece, self.endpoint, self.start_us, self.end_us]


@dataclass(frozen=True, slots=True)
class Agreed:
    """What reports and stamps agree on: the wall clock in µs beyond media time, and the transit that it makes.

    `straight` says whether there were reports enough to make a rate.
    """

    wall: Course
    transit: Course
    straight: bool


@dataclass(slots=True)
class SenderClock:
    """Gathers the readings of a piece of this clock."""

    clock_hz: int
    taken: int = 0
    stray: int = 0
    endpoint: int = 0
    _mixed: bool = False  # it was more than one
    _first: int = 0  # the wall clock of the first reading
    _walls: Envelope = field(init=False)

    def __post_init__(self) -> None:
        self._walls = Envelope(WINDOW_S * self.clock_hz)

    @property
    def known(self) -> int | None:
        """Whose wall clock it is, if that is known and the same all the time."""
        return None if self._mixed or not self.endpoint else self.endpoint

    def learn(self, told: Reading, transit_us: int | None) -> None:
        """Take a reading; `transit_us` is that of the packets that came about then."""
        media_us = told.timestamp * 1_000_000 // self.clock_hz
        if transit_us is None or abs(told.arrival_us - media_us - transit_us) >= STRAY_US:
            self.stray += 1
            return
        if not self.taken:
            self._first = told.ntp
        self.taken += 1
        self._mixed = self._mixed or 0 != told.endpoint != self.endpoint != 0
        self.endpoint = self.endpoint or told.endpoint
        self._walls.learn(told.timestamp, self._wall_us(told.ntp) - media_us)

    def wall_us(self, wall: Course, timestamp: int) -> int:
        """What the wall clock showed at a media timestamp, modulo `WALL_US`."""
        media_us = timestamp * 1_000_000 // self.clock_hz
        return (self._first * 1_000_000 // NTP_UNIT + media_us + round(wall.at(timestamp))) % WALL_US

    def agreed(self, arrivals: Envelope, start: int, end: int) -> Agreed | None:
        """What the readings tell of [start, end) that the stamps agree with; None of nothing, or of too few."""
        points, walls = arrivals.all(), self._walls.all()
        if self.taken < READINGS_MIN or not points:
            return None
        wall = self._walls.course(start, end)
        straight = wall is not None
        if wall is None:
            least_us = float(min(y for _, y in walls))
            wall = Course((start, end), (least_us, least_us))
        elif not wall.is_near(walls, READING_NEAR_US):
            return None
        delays = [(x, round(y - wall.at(x))) for x, y in points]  # of packets, by the sender's word
        least_us = min(y for _, y in delays)
        if all(min(y for _, y in part) - least_us <= AGREE_US for part in _parts(delays)):
            beside = Course((start, end), (least_us, least_us))
        else:
            (x0, y0), (x1, y1) = support(delays)
            rate = (y1 - y0) / (x1 - x0)
            beside = Course((start, end), (y0 + rate * (start - x0), y0 + rate * (end - x0)))
            if len(points) < WINDOWS_MIN or not beside.is_near(delays):
                return None
        transits = tuple(y + beside.at(x) for x, y in zip(wall.places, wall.transits_us, strict=True))
        transit = Course(wall.places, transits)
        return Agreed(wall, transit, straight) if transit.is_a_clocks(self.clock_hz) else None

    def _wall_us(self, ntp: int) -> int:
        """A wall clock against that of the first reading, across the end of its era too."""
        passed = (ntp - self._first + (1 << 63)) % (1 << 64) - (1 << 63)
        return passed * 1_000_000 // NTP_UNIT


def course_of(
    arrivals: Envelope, agreed: Agreed | None, start: int, end: int, clock_hz: int
) -> tuple[Course | None, bool]:
    """The course of a piece whose clock drifts, None of one that keeps time; and whether reports have made it."""
    own = arrivals.course(start, end)
    if own is None:
        return None, False
    clear = own.is_near(arrivals.all())
    if clear and own.rise_us < DRIFT_US_MIN:
        return None, False
    if agreed is not None and agreed.straight:
        return (agreed.transit if agreed.transit.rise_us >= DRIFT_US_MIN else None), True
    return (own if clear and own.rise_us >= DRIFT_US_MIN and own.is_a_clocks(clock_hz) else None), False


def _parts(points: Sequence[Point]) -> list[Sequence[Point]]:
    count = min(len(points), max(PARTS_MIN, round(len(points) / PART_WINDOWS)))
    return [points[len(points) * i // count : len(points) * (i + 1) // count] for i in range(count)]
