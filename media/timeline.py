"""What is known about a track: how it was received, where it lies in call time, and where nothing was received.

The same `Timeline` is fed by the engine while a call runs and by replaying its chunks after a crash, so both tell the
same. Its rules: a piece is a stretch of media time with one sender's clock, placed in call time by its least delayed
packet of the first second and, where its clock turns out to drift, along the line below all its packets (`timemap`),
refined by its sender's reports (`senderclock`); pieces do not overlap; every span outside a frame has a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from media.codecs import BY_NAME, BY_NUMBER, CLOCK_HZ_PLAIN
from media.errors import Malformed
from media.framelog import (
    NEW_PIECE,
    NOISE_SHIFT,
    NOTHING,
    REASON_MASK,
    SILENCE_MASK,
    Chunk,
    Frames,
    Reason,
    Tally,
    noise_db,
    silence_flags,
)
from media.lives import life_of
from media.pieces import Death, Gathered, placed_in_turn
from media.readings import Reading
from media.senderclock import NO_REPORTS, ReportFacts, WallClock
from media.timemap import Piece

WITHHELD = frozenset({Reason.ANNOUNCEMENT, Reason.HOLD, Reason.PAUSED})
"""Why nothing of a track is kept while its sender may well send."""
ANCHOR_S = 1  # of media that place a piece: enough to meet an undelayed packet, short enough to stand still soon
GAPS_MAX = 2000  # of one track's map: 72 KiB of JSON. What is beyond is counted, not named
MASKS_MAX = 1000  # silenced spans of one track: keys pressed for an hour. What is beyond is counted, not named
PIECES_MAX = 500  # a sender that restarts more often than that is broken; later restarts extend the last piece
VERSION = 2  # of the facts' JSON. In the first, every piece ran at the track's clock and at its nominal rate


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing was received for the call time [start_us, end_us).

    `noise_db` is the level (-dBov) of the comfort noise that the sender wanted to be heard there.
    """

    start_us: int
    end_us: int
    reason: str
    noise_db: int | None = None

    def to_json(self) -> list[Any]:
        """As a list, the level only where there is one."""
        fields: list[Any] = [self.start_us, self.end_us, self.reason]
        return fields if self.noise_db is None else [*fields, self.noise_db]

    @classmethod
    def from_json(cls, data: list[Any]) -> Gap:
        """Read what `to_json` wrote; raises TypeError or ValueError where it is something else."""
        start_us, end_us, reason, *noise = data
        return cls(int(start_us), int(end_us), str(reason), *(int(level) for level in noise))


@dataclass(frozen=True, slots=True)
class TrackFacts:
    """All that is known about a track; instants are call time in µs. `clock_hz` is the clock of its last codec."""

    codecs: tuple[str, ...]
    clock_hz: int
    tally: Tally
    first_us: int | None
    last_us: int | None
    ended_us: int
    map: tuple[Piece, ...]
    gaps: tuple[Gap, ...]
    gaps_omitted: int = 0
    reports: ReportFacts = NO_REPORTS
    walls: tuple[WallClock, ...] = ()  # for `media.ties`, until the call's tracks are together

    @property
    def sample_hz(self) -> int:
        """The rate at which nothing of it is lost: the highest of its codecs."""
        return max((BY_NAME[name.upper()].sample_hz for name in self.codecs), default=CLOCK_HZ_PLAIN)

    @property
    def jitter_ms(self) -> float:
        """RFC 3550's estimate of interarrival jitter at the end."""
        return self.tally.jitter_us / 1000

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` is its inverse."""
        counters = asdict(self.tally)
        del counters["jitter_us"]
        return {
            "version": VERSION,
            "codecs": list(self.codecs),
            "clock_hz": self.clock_hz,
            **counters,
            "jitter_ms": self.jitter_ms,
            "first_us": self.first_us,
            "last_us": self.last_us,
            "ended_us": self.ended_us,
            "map": [piece.to_json() for piece in self.map],
            "gaps": [gap.to_json() for gap in self.gaps],
            "gaps_omitted": self.gaps_omitted,
            "sender_reports": self.reports.to_json(),
            **({"walls": [wall.to_json() for wall in self.walls]} if self.walls else {}),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrackFacts:
        """Read what `to_json` wrote, now or before facts had a version; raises Malformed where it is something else."""
        try:
            if data.get("version", 1) > VERSION or any(name.upper() not in BY_NAME for name in data["codecs"]):
                raise ValueError("facts of a later version")
            counters = {name: int(data[name]) for name in asdict(NOTHING) if name != "jitter_us"}
            return cls(
                tuple(str(name) for name in data["codecs"]),
                int(data["clock_hz"]),
                Tally(**counters, jitter_us=round(data["jitter_ms"] * 1000)),
                data["first_us"],
                data["last_us"],
                int(data["ended_us"]),
                tuple(Piece.from_json(piece) for piece in data["map"]),
                tuple(Gap.from_json(gap) for gap in data["gaps"]),
                int(data["gaps_omitted"]),
                ReportFacts.from_json(data.get("sender_reports", {})),
                tuple(WallClock(*(int(field) for field in wall)) for wall in data.get("walls", ())),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise Malformed("not the facts of a track") from None


class Timeline:
    """Gathers the facts of one track, chunk by chunk."""

    def __init__(self) -> None:
        self._pieces: list[Gathered] = []
        self._gaps: list[tuple[int, int, int]] = []  # in media time, in order, within pieces; the last as flags say it
        self._masks: list[tuple[int, int]] = []  # silenced, in media time
        self._omitted = 0
        self._strays = 0  # readings that belong to no piece
        self._begun = False  # a frame that begins a piece was seen; those from before it may stand before it
        self._codecs: set[int] = set()
        self._clock_hz = CLOCK_HZ_PLAIN
        self._first_us: int | None = None
        self._last_us: int | None = None
        self._written_us = 0
        self._announced_us = 0  # how long an announcement kept everything out
        self._death: Death | None = None  # since the last piece
        self._pending = int(Reason.LOST)  # as a frame's flags say it
        self._tally = self._past = NOTHING  # of this life, and of those before it

    @property
    def settled(self) -> bool:
        """Whether the current piece has its place in call time, so that `extend_in_order` will do."""
        return bool(self._pieces) and self._pieces[-1].end - self._pieces[-1].start > ANCHOR_S * self._clock_hz

    def extend(self, frames: Frames, *, written_us: int, pending: Reason, tally: Tally, noise: int = 0) -> None:
        """Take the frames of one chunk, and what else it says."""
        rows = zip(
            *(frames.timestamps.tolist(), frames.durations.tolist(), frames.arrivals_us.tolist()),
            *(frames.flags.tolist(), frames.codecs.tolist()),
            strict=True,
        )
        least: tuple[int, int] | None = None  # of the current piece: transit and timestamp of its least delayed packet
        for timestamp, duration, arrival_us, flags, codec in rows:
            self._codecs.add(codec)
            pieces = len(self._pieces)
            self._place(timestamp, duration, arrival_us, flags, BY_NUMBER[codec].clock_hz)
            if len(self._pieces) > pieces:
                self._learn(pieces - 1, least)
                least = None
            transit_us = arrival_us - timestamp * 1_000_000 // self._clock_hz
            if least is None or transit_us < least[0]:
                least = (transit_us, timestamp)
            self._first_us = arrival_us if self._first_us is None else min(self._first_us, arrival_us)
            self._last_us = arrival_us if self._last_us is None else max(self._last_us, arrival_us)
        self._learn(len(self._pieces) - 1, least)
        self._written_us, self._pending, self._tally = written_us, silence_flags(pending, noise), tally
        if pending is Reason.ANNOUNCEMENT:
            self._announced_us = written_us

    def go_on(self, at_us: int) -> None:
        """The worker that received the track is dead, and another began to receive it at this call time."""
        first = self._death or Death(self._pending, self._written_us)
        self._death = replace(first, resumed_us=at_us)
        self._past, self._tally = self._past.plus(self._tally), NOTHING

    def extend_in_order(self, end: int, last_us: int, least_us: int, least_at: int) -> None:
        """Take a chunk of frames that continue the last one without a gap, of a codec seen before, when `settled`.

        `least_us` is the least of their transits (arrival minus media time), `least_at` the first timestamp that has
        it. A chunk must follow by `extend`, if only an empty one, before the facts are asked for.
        """
        self._pieces[-1].end = end
        self._pieces[-1].envelope.learn(least_at, least_us)
        self._last_us = last_us if self._last_us is None else max(self._last_us, last_us)

    def read(self, readings: Iterable[Reading]) -> None:
        """Take what the sender has told of its clock with the chunk that was taken last."""
        for told in readings:
            # It may have come just before a new piece began.
            piece = next((found for found in self._pieces[:-3:-1] if found.start <= told.timestamp), None)
            if piece is None:
                self._strays += 1
            else:
                piece.sender.learn(told, piece.envelope.latest_us)

    def mask(self, start: int, end: int) -> None:
        """What was received for this media time, told or to be told, is silenced."""
        if self._masks and self._masks[-1][0] <= start <= self._masks[-1][1]:
            self._masks[-1] = (self._masks[-1][0], max(end, self._masks[-1][1]))
        elif len(self._masks) < MASKS_MAX:
            self._masks.append((start, end))
        else:
            self._omitted += 1

    def facts(self) -> TrackFacts:
        """The facts as of the last chunk."""
        placed, reports, walls = placed_in_turn(self._pieces, self._announced_us, self._strays)
        return TrackFacts(
            tuple(BY_NUMBER[number].name for number in sorted(self._codecs)),
            self._clock_hz,
            self._past.plus(self._tally),
            self._first_us,
            self._last_us,
            self._written_us,
            tuple(placed),
            tuple(sorted((*self._named_gaps(placed), *self._masked(placed)), key=lambda gap: gap.start_us)),
            self._omitted,
            reports,
            walls,
        )

    def _learn(self, index: int, least: tuple[int, int] | None) -> None:
        if least is not None:
            self._pieces[index].envelope.learn(least[1], least[0])

    def _place(self, timestamp: int, duration: int, arrival_us: int, flags: int, clock_hz: int) -> None:
        silence = flags & SILENCE_MASK
        if flags & REASON_MASK == Reason.MASKED:
            self.mask(timestamp, timestamp + duration)
        new, begun = self._is_new_piece(timestamp, flags), self._begun
        self._begun = begun or bool(flags & NEW_PIECE)
        if (
            new
            and len(self._pieces) == 1
            and not begun
            and 0 < timestamp - self._pieces[0].start <= ANCHOR_S * clock_hz
        ):
            # The packet that came first was not the first: those before it belong to its piece.
            self._pieces[0].silence, new = silence or Reason.NO_MEDIA, False
        if new:
            self._clock_hz = clock_hz
            transit_us = arrival_us - timestamp * 1_000_000 // clock_hz
            self._pieces.append(
                Gathered(
                    *(timestamp, transit_us, silence or Reason.NO_MEDIA, timestamp + duration),
                    *(clock_hz, self._death),
                )
            )
            self._death = None
            return
        piece = self._pieces[-1]
        if timestamp < piece.start:
            self._reach_back(piece, timestamp, duration)
        elif timestamp > piece.end:
            self._miss(piece.end, timestamp, silence)
        elif timestamp < piece.end:
            self._fill(timestamp, timestamp + duration)
        if timestamp - piece.start <= ANCHOR_S * piece.clock_hz:
            piece.transit_us = min(piece.transit_us, arrival_us - piece.us(timestamp))
        piece.end = max(piece.end, timestamp + duration)

    def _is_new_piece(self, timestamp: int, flags: int) -> bool:
        """Whether a frame begins one; what another life says never continues a piece, whatever is damaged."""
        restarted = bool(flags & NEW_PIECE) and len(self._pieces) < PIECES_MAX
        return not self._pieces or restarted or life_of(timestamp) != life_of(self._pieces[-1].end)

    def _reach_back(self, piece: Gathered, timestamp: int, duration: int) -> None:
        """The very first packets came in disorder: the piece begins earlier than it seemed."""
        if len(self._pieces) > 1:
            return  # only the engine's first piece has packets before its first; anything else is a damaged log
        if timestamp + duration < piece.start:
            self._gaps.insert(0, (timestamp + duration, piece.start, Reason.LOST))
        piece.start = timestamp

    def _miss(self, start: int, end: int, silence: int) -> None:
        if len(self._gaps) < GAPS_MAX:
            self._gaps.append((start, end, silence))
        else:
            self._omitted += 1

    def _fill(self, start: int, end: int) -> None:
        """A frame came late: take [start, end) out of the gap that it lies in."""
        for i in range(len(self._gaps) - 1, -1, -1):
            gap_start, gap_end, silence = self._gaps[i]
            if gap_end <= start:
                return
            if gap_start < end:
                rest = ((gap_start, min(start, gap_end), silence), (max(end, gap_start), gap_end, silence))
                self._gaps[i : i + 1] = [part for part in rest if part[0] < part[1]]

    def _named_gaps(self, placed: Sequence[Piece]) -> Iterable[Gap]:
        """All spans without a frame, in order: before, between, within and after the pieces."""
        inner = iter([*self._gaps, (1 << 63, 1 << 63, int(Reason.LOST))])
        gap_start, gap_end, gap_silence = next(inner)
        at_us = self._announced_us
        yield from _gap(0, at_us, Reason.ANNOUNCEMENT)
        for gathered, piece in zip(self._pieces, placed, strict=True):
            yield from _silence(at_us, piece.at_us, gathered.silence, gathered.death)
            while gap_start < piece.end:
                yield from _gap(piece.call_us(gap_start), piece.call_us(gap_end), gap_silence)
                gap_start, gap_end, gap_silence = next(inner)
            at_us = piece.end_us
        # Nobody can tell a lost end from one that was never sent.
        yield from _silence(at_us, self._written_us, self._pending or Reason.NO_MEDIA, self._death)

    def _masked(self, placed: Sequence[Piece]) -> Iterable[Gap]:
        """The silenced spans, where they lie in the pieces."""
        masks = _united(self._masks)
        for piece in placed if masks else ():
            for start, end in masks:
                first, last = max(start, piece.start), min(end, piece.end)
                if first < last:
                    yield from _gap(piece.call_us(first), piece.call_us(last), Reason.MASKED)


def facts_from_chunks(chunks: Iterable[Chunk]) -> TrackFacts:
    """The facts of a track, from its chunks in the order in which they were written."""
    timeline, life = Timeline(), 0
    for chunk in chunks:
        if life_of(chunk.start) != life:
            life = life_of(chunk.start)
            timeline.go_on(chunk.written_us)  # the first one of a life is written when it begins
        timeline.extend(
            chunk.frames, written_us=chunk.written_us, pending=chunk.pending, tally=chunk.tally, noise=chunk.noise
        )
        timeline.read(chunk.readings)
    return timeline.facts()


def _silence(start_us: int, end_us: int, silence: int, death: Death | None) -> Iterable[Gap]:
    """The gap before a piece, or after the last one.

    What a dead worker wrote says what there was up to then; what it received afterwards is lost, but for what was not
    to be kept, before and after its death. From when another receives there is nothing but silence: its sockets have
    kept what came before that. What follows an announcement, or a death, has no reason of its own.
    """
    reason = silence & REASON_MASK
    at_us = start_us
    if death is not None and not (death.pending & REASON_MASK in WITHHELD and reason in WITHHELD):
        lost_us = start_us if death.pending & REASON_MASK == Reason.LOST else max(start_us, death.written_us)
        lost_us, at_us = min(end_us, lost_us), min(end_us, max(lost_us, death.resumed_us))
        yield from _gap(start_us, lost_us, death.pending)
        yield from _gap(lost_us, at_us, Reason.WORKER_LOST)
    own = reason not in (Reason.WORKER_LOST, Reason.ANNOUNCEMENT)
    yield from _gap(at_us, end_us, silence if own else Reason.NO_MEDIA)


def _united(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in whatever order they were told, in order, those that touch as one."""
    united: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((start, end))
    return united


def _gap(start_us: int, end_us: int, silence: int) -> Iterable[Gap]:
    if start_us < end_us:
        reason = Reason(silence & REASON_MASK)
        yield Gap(start_us, end_us, reason.name.lower(), noise_db(silence >> NOISE_SHIFT & 0xF))
