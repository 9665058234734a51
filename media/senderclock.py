"""A sender's clock by its own word: what sender reports (RFC 3550 §6.4.1) tell of a piece, and when that is believed.

A report ties media time to the sender's wall clock (NTP). From report to report that gives the rate of its media
clock, without what the network does to packets; but the wall clock is the sender's word, and its rate may be anything.
So the reports count only where the kernel's stamps agree, all of these:

- They tell of a straight line for each stretch, as the stamps do (`timemap`): half of them lie near it.
- By them, half of the least delayed packets are near a straight line: the sender's wall clock against ours, whose rate
  may be its own. Or, where the network moves: some of them, everywhere in the piece, are within `AGREE_US` of the least
  delay of all, as if both clocks ran at one rate.
- No clock would be farther off than `DRIFT_PPM_MAX`.

Else they are refused for the piece, which the facts say, and the stamps alone tell. Where the stamps are clear by
themselves, the reports make the rate only of a clock that drifts, and if they are nearer to their line than the stamps
to theirs; a true clock is left alone whatever they say. So a wall clock that lies or jumps bends nothing by more than
`AGREE_US`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from media.readings import Reading
from media.timemap import NEAR_US, WINDOWS_MIN, Course, Envelope, Point, support

WINDOW_S = 30  # of media, of which the least reading is remembered: some six
READING_NEAR_US = 5_000  # of the line: senders that give their last packet's time are off by up to a packet's length
AGREE_US = 10_000  # that the least delayed packets may be above the reports' line
PART_WINDOWS = 30  # in which one packet must have come so quickly: five minutes of even a network that always moves
PARTS_MIN = 4  # of a piece
STRAY_US = 1_000_000  # a report that is as far from its stream is another one's, or nonsense
READINGS_MIN = 2
DOUBT_US = 10_000  # of few readings: half a usual packet's length, see `READING_NEAR_US`
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

    Both count from wherever they do: two of the same endpoint can be compared, modulo `WALL_US`. `doubt_us` is by how
    much a reading may be off.
    """

    piece: int
    endpoint: int
    start_us: int
    end_us: int
    doubt_us: int

    def to_json(self) -> list[int]:
        """As a list; the constructor takes it."""
        return [self.piece, self.endpoint, self.start_us, self.end_us, self.doubt_us]


@dataclass(frozen=True, slots=True)
class Agreed:
    """What reports and stamps agree on: the wall clock in µs beyond media time, and the transit that it makes.

    `spread_us` is how near the reports are to the line that they make; None of too few to make a rate.
    """

    wall: Course
    transit: Course
    spread_us: int | None

    @property
    def doubt_us(self) -> int:
        """By how much the wall clock may be off."""
        return DOUBT_US if self.spread_us is None else self.spread_us


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
    def enough(self) -> bool:
        """Whether there are readings enough to tell anything."""
        return self.taken >= READINGS_MIN

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
        if not self.enough or not points:
            return None
        wall = self._walls.course(start, end)
        spread_us = None if wall is None else wall.spread_us(walls)
        if wall is None:
            least_us = float(min(y for _, y in walls))
            wall = Course((start, end), (least_us, least_us))
        elif spread_us is not None and spread_us > READING_NEAR_US:
            return None
        delays = wall.above(points)  # of packets, by the sender's word
        beside = _beside(delays, start, end)
        if beside is None:
            return None
        transits = tuple(y + beside.at(x) for x, y in zip(wall.places, wall.transits_us, strict=True))
        transit = Course(wall.places, transits)
        return Agreed(wall, transit, spread_us) if transit.is_a_clocks(self.clock_hz) else None

    def _wall_us(self, ntp: int) -> int:
        """A wall clock against that of the first reading, across the end of its era too."""
        passed = (ntp - self._first + (1 << 63)) % (1 << 64) - (1 << 63)
        return passed * 1_000_000 // NTP_UNIT


def _beside(delays: Sequence[Point], start: int, end: int) -> Course | None:
    """The line below all delays that packets have by the sender's word, None where it cannot be a clock's."""
    if len(delays) >= WINDOWS_MIN:
        (x0, y0), (x1, y1) = support(delays)
        rate = (y1 - y0) / (x1 - x0)
        sloping = Course((start, end), (y0 + rate * (start - x0), y0 + rate * (end - x0)))
        if sloping.spread_us(delays) <= NEAR_US:
            return sloping
    least_us = min(y for _, y in delays)
    if all(min(y for _, y in part) - least_us <= AGREE_US for part in _parts(delays)):
        return Course((start, end), (least_us, least_us))
    return None


def _parts(points: Sequence[Point]) -> list[Sequence[Point]]:
    count = min(len(points), max(PARTS_MIN, round(len(points) / PART_WINDOWS)))
    return [points[len(points) * i // count : len(points) * (i + 1) // count] for i in range(count)]
