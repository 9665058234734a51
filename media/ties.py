"""Tracks of one endpoint, tied: their offset to each other follows the wall clock that their sender reports share.

The stamps place each track by itself, by when its packets came. What two streams of one device were held up before they
were sent they cannot tell, but reports of the same CNAME, from the same host, can (RFC 3550 §6.4.1). So pieces of such
tracks that overlap are moved earlier until they agree with the earliest, which was held up least:

- only where the reports are believed (`senderclock`), by more than they may be off, and by `TIE_US_MAX` at most, for
  beyond that it is no buffer: then the tracks are not tied;
- never over the piece before, or into an announcement.

Pieces are moved as they are, so G.711 stays as it was sent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from media.framelog import Reason
from media.senderclock import WALL_US, WallClock
from media.timeline import Gap, TrackFacts
from media.timemap import Piece

TIE_US_MAX = 250_000  # a jitter buffer, or what a recording client's mixer takes

_ANNOUNCEMENT = Reason.ANNOUNCEMENT.name.lower()
_NO_MEDIA = Reason.NO_MEDIA.name.lower()


@dataclass(slots=True)
class _Tied:
    """A piece whose wall clock is known, and how much later it is than the first of its group (µs)."""

    track: int
    wall: WallClock
    start_us: int
    end_us: int
    late_us: int = 0

    def ahead_us(self, at_us: int) -> int:
        """How far call time is ahead of the wall clock at a call time of the piece."""
        share = (at_us - self.start_us) / max(1, self.end_us - self.start_us)
        return self.wall.start_us + round(share * _around(self.wall.end_us - self.wall.start_us))


def tied(tracks: Sequence[TrackFacts]) -> list[TrackFacts]:
    """A call's tracks in the same order, those of one endpoint tied, and without what tells endpoints apart."""
    pieces = [
        _Tied(number, wall, track.map[wall.piece].at_us, track.map[wall.piece].end_us)
        for number, track in enumerate(tracks)
        for wall in track.walls
        if 0 <= wall.piece < len(track.map)
    ]
    earlier_us = [[0] * len(track.map) for track in tracks]
    groups: dict[int, int] = {}  # by track
    for number, group in enumerate(_groups(pieces), 1):
        first_us = min(piece.late_us for piece in group)
        for piece in group:
            earlier_us[piece.track][piece.wall.piece] = piece.late_us - first_us
            groups.setdefault(piece.track, number)
    return [
        replace(
            moved(track, earlier_us[number]),
            reports=replace(track.reports, tied=groups.get(number)),
            walls=(),
        )
        for number, track in enumerate(tracks)
    ]


def moved(facts: TrackFacts, earlier_us: Sequence[int]) -> TrackFacts:
    """The facts with each piece so much earlier, as far as what comes before leaves room; gaps go with them."""
    if not any(earlier_us):
        return facts
    announced_us = max((gap.end_us for gap in facts.gaps if gap.reason == _ANNOUNCEMENT), default=0)
    placed, floor_us = list[Piece](), announced_us
    for piece, early_us in zip(facts.map, earlier_us, strict=True):
        placed.append(piece.moved(max(min(floor_us, piece.at_us), piece.at_us - early_us) - piece.at_us))
        floor_us = placed[-1].end_us
    gaps = [gap for piece, now in zip(facts.map, placed, strict=True) for gap in _within(facts.gaps, piece, now)]
    for hole, (start_us, end_us) in zip(_holes(facts.map, facts.ended_us), _holes(placed, facts.ended_us), strict=True):
        gaps += _between(facts.gaps, hole, start_us, end_us)
    return replace(facts, map=tuple(placed), gaps=tuple(sorted(gaps, key=lambda gap: gap.start_us)))


def _groups(pieces: Sequence[_Tied]) -> Iterator[list[_Tied]]:
    """The pieces that are tied to each other, with how late each is among them."""
    links: dict[int, list[tuple[int, int]]] = {}  # by piece: another, and how much later that is
    living: list[int] = []
    for number in sorted(range(len(pieces)), key=lambda number: pieces[number].start_us):
        piece = pieces[number]
        living = [other for other in living if pieces[other].end_us > piece.start_us]
        for other in living:
            later_us = _later_us(pieces[other], piece)
            if later_us is not None:
                links.setdefault(other, []).append((number, later_us))
                links.setdefault(number, []).append((other, -later_us))
        living.append(number)
    known: set[int] = set()
    for first in links:
        if first in known:
            continue
        known.add(first)
        found, at = [first], 0
        while at < len(found):
            for other, later_us in links[found[at]]:
                if other not in known:
                    known.add(other)
                    pieces[other].late_us = pieces[found[at]].late_us + later_us
                    found.append(other)
            at += 1
        group = [pieces[number] for number in found]
        lates_us = [piece.late_us for piece in group]
        if max(lates_us) - min(lates_us) <= TIE_US_MAX:
            yield group


def _later_us(one: _Tied, other: _Tied) -> int | None:
    """How much later the other is placed than their wall clock has it; None of pieces that are not to be tied."""
    if one.track == other.track or one.wall.endpoint != other.wall.endpoint:
        return None
    middle_us = (max(one.start_us, other.start_us) + min(one.end_us, other.end_us)) // 2
    later_us = _around(other.ahead_us(middle_us) - one.ahead_us(middle_us))
    if abs(later_us) > TIE_US_MAX:
        return None
    return later_us if abs(later_us) > one.wall.doubt_us + other.wall.doubt_us else 0


def _around(difference_us: int) -> int:
    """The difference of two wall clocks, across the end of an era too."""
    return (difference_us + WALL_US // 2) % WALL_US - WALL_US // 2


def _holes(pieces: Sequence[Piece], ended_us: int) -> list[tuple[int, int]]:
    """What is before, between and after pieces."""
    starts_us, ends_us = [0, *(piece.end_us for piece in pieces)], [*(piece.at_us for piece in pieces), ended_us]
    return list(zip(starts_us, ends_us, strict=True))


def _within(gaps: Sequence[Gap], piece: Piece, placed: Piece) -> Iterator[Gap]:
    """The gaps that lie in a piece, where it is now."""
    by_us = placed.at_us - piece.at_us
    for gap in _begun(gaps, piece.at_us, piece.end_us):
        if gap.end_us <= piece.end_us:
            yield replace(gap, start_us=gap.start_us + by_us, end_us=gap.end_us + by_us)


def _between(gaps: Sequence[Gap], hole: tuple[int, int], start_us: int, end_us: int) -> list[Gap]:
    """The gaps of a hole before, between or after pieces, which is now [start_us, end_us)."""
    found = [
        replace(gap, start_us=max(start_us, gap.start_us), end_us=min(end_us, gap.end_us))
        for gap in _begun(gaps, *hole)
        if gap.end_us <= hole[1]
    ] or [Gap(start_us, end_us, _NO_MEDIA)]
    found[0] = replace(found[0], start_us=start_us)
    found[-1] = replace(found[-1], end_us=end_us)
    return [gap for gap in found if gap.start_us < gap.end_us]


def _begun(gaps: Sequence[Gap], start_us: int, end_us: int) -> Sequence[Gap]:
    """Of gaps in order, those that begin in [start_us, end_us)."""
    first, last = (bisect_left(gaps, at_us, key=lambda gap: gap.start_us) for at_us in (start_us, end_us))
    return gaps[first:last]
