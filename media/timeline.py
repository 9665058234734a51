"""What is known about a track: how it was received, where it lies in call time, and where nothing was received.

The same `Timeline` is fed by the engine while a call runs and by replaying its chunks after a crash, so both tell the
same. Its rules: a piece is a stretch of media time with one sender's clock, placed in call time at the clock's nominal
rate by its least delayed packet of the first second; pieces do not overlap; every span outside a frame has a reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from media.codecs import BY_NUMBER
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

ANCHOR_S = 1  # of media that place a piece: enough to meet an undelayed packet, short enough to stand still soon
GAPS_MAX = 2000  # of one track's map: 72 KiB of JSON. What is beyond is counted, not named
MASKS_MAX = 1000  # silenced spans of one track: keys pressed for an hour. What is beyond is counted, not named
PIECES_MAX = 500  # a sender that restarts more often than that is broken; later restarts extend the last piece
CLOCK_HZ_DEFAULT = 8000  # of a track that received nothing


@dataclass(frozen=True, slots=True)
class Piece:
    """The media timestamps [start, end) begin at call time `at_us` and run at the nominal rate."""

    start: int
    end: int
    at_us: int


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
    """All that is known about a track; instants are call time in µs."""

    codecs: tuple[str, ...]
    clock_hz: int
    tally: Tally
    first_us: int | None
    last_us: int | None
    ended_us: int
    map: tuple[Piece, ...]
    gaps: tuple[Gap, ...]
    gaps_omitted: int = 0

    @property
    def jitter_ms(self) -> float:
        """RFC 3550's estimate of interarrival jitter at the end."""
        return self.tally.jitter_us / 1000

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` is its inverse."""
        counters = asdict(self.tally)
        del counters["jitter_us"]
        return {
            "codecs": list(self.codecs),
            "clock_hz": self.clock_hz,
            **counters,
            "jitter_ms": self.jitter_ms,
            "first_us": self.first_us,
            "last_us": self.last_us,
            "ended_us": self.ended_us,
            "map": [[piece.start, piece.end, piece.at_us] for piece in self.map],
            "gaps": [gap.to_json() for gap in self.gaps],
            "gaps_omitted": self.gaps_omitted,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrackFacts:
        """Read what `to_json` wrote; raises Malformed where it is something else."""
        try:
            counters = {name: int(data[name]) for name in asdict(NOTHING) if name != "jitter_us"}
            return cls(
                tuple(str(name) for name in data["codecs"]),
                int(data["clock_hz"]),
                Tally(**counters, jitter_us=round(data["jitter_ms"] * 1000)),
                data["first_us"],
                data["last_us"],
                int(data["ended_us"]),
                tuple(Piece(int(start), int(end), int(at_us)) for start, end, at_us in data["map"]),
                tuple(Gap.from_json(gap) for gap in data["gaps"]),
                int(data["gaps_omitted"]),
            )
        except (KeyError, TypeError, ValueError):
            raise Malformed("not the facts of a track") from None


@dataclass(slots=True)
class _Piece:
    start: int
    at_us: int
    silence: int  # why there was nothing before it, as a frame's flags say it
    end: int
    floor_us: int  # where the piece before it ends
    resumed_us: int  # when the worker that received it had begun, if another had died before it


class Timeline:
    """Gathers the facts of one track, chunk by chunk."""

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._gaps: list[tuple[int, int, int]] = []  # in media time, in order, within pieces; the last as flags say it
        self._masks: list[tuple[int, int]] = []  # silenced, in media time
        self._omitted = 0
        self._codecs: set[int] = set()
        self._clock_hz = CLOCK_HZ_DEFAULT
        self._first_us: int | None = None
        self._last_us: int | None = None
        self._written_us = 0
        self._announced_us = 0  # how long an announcement kept everything out
        self._resumed_us = 0  # when the worker that has it now began to receive, if another had died with it
        self._pending = int(Reason.LOST)  # as a frame's flags say it
        self._tally = self._past = NOTHING  # of this life, and of those before it

    @property
    def settled(self) -> bool:
        """Whether the current piece has its place in call time, so that `extend_in_order` will do."""
        return bool(self._pieces) and self._ticks_in(self._pieces[-1]) > ANCHOR_S * self._clock_hz

    def extend(self, frames: Frames, *, written_us: int, pending: Reason, tally: Tally, noise: int = 0) -> None:
        """Take the frames of one chunk, and what else it says."""
        rows = zip(
            *(frames.timestamps.tolist(), frames.durations.tolist(), frames.arrivals_us.tolist()),
            *(frames.flags.tolist(), frames.codecs.tolist()),
            strict=True,
        )
        for timestamp, duration, arrival_us, flags, codec in rows:
            if codec not in self._codecs:
                self._codecs.add(codec)
                self._clock_hz = BY_NUMBER[codec].clock_hz
            self._place(timestamp, duration, arrival_us, flags)
            self._first_us = arrival_us if self._first_us is None else min(self._first_us, arrival_us)
            self._last_us = arrival_us if self._last_us is None else max(self._last_us, arrival_us)
        self._written_us, self._pending, self._tally = written_us, silence_flags(pending, noise), tally
        if pending is Reason.ANNOUNCEMENT:
            self._announced_us = written_us

    def go_on(self, at_us: int) -> None:
        """The worker that received the track is dead, and another began to receive it at this call time."""
        self._resumed_us = at_us
        self._past, self._tally = self._past.plus(self._tally), NOTHING

    def extend_in_order(self, end: int, last_us: int) -> None:
        """Take any number of frames that continue the last one without a gap, of a codec seen before, when `settled`.

        A chunk must follow by `extend`, if only an empty one, before the facts are asked for.
        """
        self._pieces[-1].end = end
        self._last_us = last_us if self._last_us is None else max(self._last_us, last_us)

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
        return TrackFacts(
            tuple(BY_NUMBER[number].name for number in sorted(self._codecs)),
            self._clock_hz,
            self._past.plus(self._tally),
            self._first_us,
            self._last_us,
            self._written_us,
            tuple(Piece(piece.start, piece.end, piece.at_us) for piece in self._pieces),
            tuple(sorted((*self._named_gaps(), *self._masked()), key=lambda gap: gap.start_us)),
            self._omitted,
        )

    def _place(self, timestamp: int, duration: int, arrival_us: int, flags: int) -> None:
        silence = flags & SILENCE_MASK
        if flags & REASON_MASK == Reason.MASKED:
            self.mask(timestamp, timestamp + duration)
        if not self._pieces or self._is_new_piece(timestamp, flags):
            floor_us = self._end_us(self._pieces[-1]) if self._pieces else self._announced_us
            at_us = max(arrival_us, floor_us)
            silence, end = silence or Reason.NO_MEDIA, timestamp + duration
            self._pieces.append(_Piece(timestamp, at_us, silence, end, floor_us, self._resumed_us))
            return
        piece = self._pieces[-1]
        if timestamp < piece.start:
            self._reach_back(piece, timestamp, duration)
        elif timestamp > piece.end:
            self._miss(piece.end, timestamp, silence)
        elif timestamp < piece.end:
            self._fill(timestamp, timestamp + duration)
        if timestamp - piece.start <= ANCHOR_S * self._clock_hz:
            piece.at_us = max(piece.floor_us, min(piece.at_us, arrival_us - self._us(timestamp - piece.start)))
        piece.end = max(piece.end, timestamp + duration)

    def _is_new_piece(self, timestamp: int, flags: int) -> bool:
        """Whether a frame begins one; what another life says never continues a piece, whatever is damaged."""
        restarted = bool(flags & NEW_PIECE) and len(self._pieces) < PIECES_MAX
        return restarted or life_of(timestamp) != life_of(self._pieces[-1].end)

    def _reach_back(self, piece: _Piece, timestamp: int, duration: int) -> None:
        """The very first packets came in disorder: the piece begins earlier than it seemed."""
        if len(self._pieces) > 1:
            return  # only the engine's first piece has packets before its first; anything else is a damaged log
        if timestamp + duration < piece.start:
            self._gaps.insert(0, (timestamp + duration, piece.start, Reason.LOST))
        piece.at_us = max(piece.floor_us, piece.at_us - self._us(piece.start - timestamp))
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

    def _named_gaps(self) -> Iterable[Gap]:
        """All spans without a frame, in order: before, between, within and after the pieces."""
        inner = iter([*self._gaps, (1 << 63, 1 << 63, int(Reason.LOST))])
        gap_start, gap_end, gap_silence = next(inner)
        at_us = self._announced_us
        yield from _gap(0, at_us, Reason.ANNOUNCEMENT)
        for piece in self._pieces:
            yield from _silence(at_us, piece.at_us, piece.silence, piece.resumed_us)
            while gap_start < piece.end:
                offset_us = piece.at_us - self._us(piece.start)
                yield from _gap(offset_us + self._us(gap_start), offset_us + self._us(gap_end), gap_silence)
                gap_start, gap_end, gap_silence = next(inner)
            at_us = self._end_us(piece)
        # Nobody can tell a lost end from one that was never sent.
        yield from _silence(at_us, self._written_us, self._pending or Reason.NO_MEDIA, self._resumed_us)

    def _masked(self) -> Iterable[Gap]:
        """The silenced spans, where they lie in the pieces."""
        for piece in self._pieces if self._masks else ():
            for start, end in self._masks:
                first, last = max(start, piece.start), min(end, piece.end)
                if first < last:
                    offset_us = piece.at_us - self._us(piece.start)
                    yield from _gap(offset_us + self._us(first), offset_us + self._us(last), Reason.MASKED)

    def _ticks_in(self, piece: _Piece) -> int:
        return piece.end - piece.start

    def _end_us(self, piece: _Piece) -> int:
        return piece.at_us + self._us(piece.end - piece.start)

    def _us(self, ticks: int) -> int:
        return ticks * 1_000_000 // self._clock_hz


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
    return timeline.facts()


def _silence(start_us: int, end_us: int, silence: int, resumed_us: int) -> Iterable[Gap]:
    """The gap before a piece, or after the last one.

    What follows an announcement has no reason of its own; nor has what follows a worker's death, from when another
    receives: its sockets have kept what came before that.
    """
    reason = silence & REASON_MASK
    if reason == Reason.WORKER_LOST:
        lost_until_us = min(end_us, max(start_us, resumed_us))
        yield from _gap(start_us, lost_until_us, silence)
        yield from _gap(lost_until_us, end_us, Reason.NO_MEDIA)
    else:
        yield from _gap(start_us, end_us, Reason.NO_MEDIA if reason == Reason.ANNOUNCEMENT else silence)


def _gap(start_us: int, end_us: int, silence: int) -> Iterable[Gap]:
    if start_us < end_us:
        reason = Reason(silence & REASON_MASK)
        yield Gap(start_us, end_us, reason.name.lower(), noise_db(silence >> NOISE_SHIFT & 0xF))
