"""A simulated hour: whatever clocks and networks do, tracks stay within 20 ms of each other on rendering."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import pytest

from media.codecs import PCMA
from media.framelog import Frames, Reason, Tally
from media.pieces import Gathered
from media.readings import Reading
from media.render import media_span, render_pcm
from media.sequence import Arrived, Placed
from media.sequence import Sequence as Ordering
from media.timeline import Timeline, TrackFacts, facts_from_chunks
from media.timemap import DRIFT_PPM_MAX, Envelope, Piece, Point

from .test_render import chunk_of

HOUR_S = 3600
PTIME_US = 120_000  # a sixth of the packets that a phone sends: harder to tell a clock from, and quicker to simulate
TICKS = 960
DELAY_US = 30_000  # what the network takes at least, on every leg
CHUNK_US = 400_000
APART_US_MAX = 20_000
REPORT_US = 5_000_000
STALE_US = 20_000  # by which a report is later than the packet before it: as much as with a phone's packets
NTP_START_S = 2**32 - 1800  # its era ends in the middle of the hour


@dataclass(frozen=True)
class Wall:
    """The wall clock that a sender tells in its reports, every 5 s; by default a true one."""

    ppm: float = 0  # too slow
    set_us: int = 90_000_000
    jumps_s: tuple[int, ...] = ()  # it is set forward by that, and back by the next
    until_s: int = HOUR_S  # reports end there
    stale: bool = False  # it goes with the last packet's timestamp, as some senders have it

    def ntp(self, at_us: float) -> int:
        set_us = self.set_us * (sum(at_us >= jump * 1e6 for jump in self.jumps_s) % 2)
        return int((NTP_START_S + (at_us / (1 + self.ppm / 1e6) + set_us) / 1e6) * 2**32) % 2**64


@dataclass(frozen=True)
class Report:
    """A sender report as it is sent."""

    ssrc: int
    timestamp: int
    ntp: int


@dataclass(frozen=True)
class Leg:
    """What a sender and its network do for an hour; times in s."""

    ppm: float = 0  # how much too slow its clock is
    jitter_us: int = 0  # even, so that one packet in a hundred is quick
    held_up_us: int = 0  # by the sender, before they are sent
    moving_us: int = 0  # a delay that changes every ten seconds, up to that
    loss: float = 0
    duplicates: float = 0
    restarts_s: tuple[int, ...] = ()  # a new SSRC, sequence and timestamp: a transfer, a device that begins anew
    jumps_s: tuple[int, ...] = ()  # the timestamp jumps, the SSRC stays
    ssrc_jumps_s: tuple[int, ...] = ()  # the SSRC alone changes
    sequence_jumps_s: tuple[int, ...] = ()  # the sequence alone jumps
    silent_s: tuple[int, int] = (0, 0)  # sends nothing; its clock runs on
    held_s: tuple[int, int] = (0, 0)  # sends, but nothing may be kept
    wall: Wall | None = None  # None: it sends no reports
    until_s: int = HOUR_S

    def packets(self, chance: random.Random) -> Iterator[tuple[int, int, Arrived | Report]]:
        """(arrival, when it was spoken, packet), in order of arrival."""
        found: list[tuple[int, int, Arrived | Report]] = []
        ssrc, sequence, timestamp = 1, 65_000, 4_294_900_000
        moving_us = chance.choices(range(self.moving_us + 1), k=HOUR_S // 10 + 1)
        at_us, report_us = 0.0, REPORT_US
        while at_us < self.until_s * 1e6:
            second = int(at_us / 1e6)
            passed = int((at_us - PTIME_US * (1 + self.ppm / 1e6)) / 1e6)
            if second > passed:
                if second in (*self.restarts_s, *self.jumps_s):
                    timestamp = chance.getrandbits(32)
                if second in (*self.restarts_s, *self.ssrc_jumps_s):
                    ssrc += 1
                if second in (*self.restarts_s, *self.sequence_jumps_s):
                    sequence = chance.getrandbits(16)
            delay_us = DELAY_US + self.held_up_us + moving_us[second // 10]
            silent = self.silent_s[0] <= second < self.silent_s[1]
            if not silent and chance.random() >= self.loss:
                for _ in range(1 + (chance.random() < self.duplicates)):
                    arrival_us = int(at_us) + delay_us + chance.randrange(self.jitter_us + 1)
                    packet = Arrived(
                        ssrc, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, TICKS, arrival_us, 8, bytes(TICKS)
                    )
                    found.append((arrival_us, int(at_us), packet))
            if self.wall is not None and report_us <= at_us and second < self.wall.until_s:
                # Between two packets: what it says of that instant is exact, or stale.
                into_us = chance.randrange(STALE_US)
                ticks = 0 if self.wall.stale else round(into_us * 8 / 1000 / (1 + self.ppm / 1e6))
                told = Report(ssrc, (timestamp + ticks) & 0xFFFFFFFF, self.wall.ntp(at_us + into_us))
                arrival_us = int(at_us) + into_us + delay_us + chance.randrange(self.jitter_us + 1)
                found.append((arrival_us, int(at_us), told))
                report_us = int(at_us) + REPORT_US
            sequence, timestamp = sequence + (not silent), timestamp + TICKS
            at_us += PTIME_US * (1 + self.ppm / 1e6)
        return iter(sorted(found, key=lambda entry: entry[0]))


def received(leg: Leg, seed: int, endpoint: int = 7) -> tuple[TrackFacts, list[tuple[int, int]]]:
    """The facts of a leg, and for each frame kept its media timestamp and when it was spoken."""
    sequence, timeline, spoken = Ordering(8000), Timeline(), []
    held = False
    for number, group in groupby(leg.packets(random.Random(seed)), key=lambda entry: entry[0] // CHUNK_US):
        placed: list[Placed] = []
        instants, told = {}, []
        for arrival_us, at_us, packet in group:
            if held != (leg.held_s[0] <= arrival_us // 1_000_000 < leg.held_s[1]):
                held = not held
                if held:
                    sequence.interrupt(Reason.HOLD)
            if isinstance(packet, Report):
                if packet.ssrc == sequence.ssrc:
                    ahead = (packet.timestamp - sequence.next_timestamp + 2**31) % 2**32 - 2**31
                    told.append(Reading(arrival_us, sequence.head + ahead, packet.ntp, endpoint))
                continue
            instants[packet.arrival_us, packet.sequence] = at_us
            if not held:
                placed += sequence.receive(packet)
        placed.sort(key=lambda kept: kept.timestamp)
        for kept in placed:
            instant = (kept.packet.arrival_us, kept.packet.sequence)
            spoken += [(kept.timestamp, instants[instant])] if instant in instants else []
        frames = Frames(
            np.array([kept.timestamp for kept in placed], np.int64),
            np.array([kept.packet.arrival_us for kept in placed], np.int64),
            np.full(len(placed), TICKS, np.int64),
            np.full(len(placed), 8, np.uint8),
            np.array([kept.flags for kept in placed], np.uint8),
            bytes(TICKS * len(placed)),
        )
        timeline.extend(frames, written_us=(number + 1) * CHUNK_US, pending=Reason.LOST, tally=Tally())
        timeline.read(told)
    return timeline.facts(), spoken


def off_us(facts: TrackFacts, spoken: list[tuple[int, int]]) -> tuple[int, int]:
    """How early and how late the track is at its worst, against when its frames were spoken and the least delay."""
    starts = np.array([piece.start for piece in facts.map])
    errors = []
    for timestamp, at_us in spoken[::7]:
        piece = facts.map[int(np.searchsorted(starts, timestamp, side="right")) - 1]
        errors.append(piece.call_us(timestamp) - at_us - DELAY_US)
    return min(errors), max(errors)


BAD = Leg(jitter_us=200_000, loss=0.05, duplicates=0.02)
LEGS = {
    "slow clock, a bad network": replace(BAD, ppm=200),
    "fast clock, a bad network": replace(BAD, ppm=-200),
    "restarts and jumps": Leg(ppm=-200, jitter_us=20_000, loss=0.01, restarts_s=(100, 130, 2700), jumps_s=(1500,)),
    "SSRC and sequence jumps": replace(BAD, ppm=200, ssrc_jumps_s=(700, 705, 2000), sequence_jumps_s=(300, 2600)),
    "one way": Leg(ppm=200, silent_s=(300, 3300)),
    "all of it": replace(
        BAD,
        ppm=-200,
        restarts_s=(2400,),
        jumps_s=(500,),
        ssrc_jumps_s=(900,),
        sequence_jumps_s=(300,),
        silent_s=(600, 800),
        held_s=(1200, 2400),
    ),
    "long hold, then a transfer": Leg(ppm=-200, jitter_us=5_000, held_s=(600, 2400), restarts_s=(2400,)),
}


@pytest.mark.parametrize("wall", [None, Wall(stale=True), Wall()], ids=["stamps alone", "stale reports", "reports"])
def test_tracks_stay_within_20_ms_of_each_other_for_an_hour(wall: Wall | None) -> None:
    legs = {name: received(replace(leg, wall=wall), seed) for seed, (name, leg) in enumerate(LEGS.items())}
    extremes = {name: off_us(*told) for name, told in legs.items()}
    earliest, latest = min(low for low, _ in extremes.values()), max(high for _, high in extremes.values())
    assert latest - earliest <= APART_US_MAX, extremes
    for facts, _ in legs.values():
        assert (facts.reports.taken > 400) == (wall is not None)
        assert facts.reports.refused == 0


def test_a_clock_that_keeps_time_is_left_alone_whatever_the_network_does() -> None:
    facts, _ = received(Leg(ppm=1, jitter_us=200_000, loss=0.05, silent_s=(600, 3000)), 5)
    assert [piece.knots for piece in facts.map] == [()]


def test_the_facts_of_a_drifting_track_are_small_and_survive_json() -> None:
    facts, _ = received(Leg(ppm=-200, silent_s=(300, 3300)), 1)
    (piece,) = facts.map
    assert 1 < len(piece.knots) < 12
    assert TrackFacts.from_json(facts.to_json()) == facts


def placed(points: Sequence[Point], end: int) -> Piece:
    """A piece of these least transits, at 8 kHz."""
    gathered = Gathered(0, points[0][1], 0, end, 8000, None)
    for timestamp, transit_us in points:
        gathered.envelope.learn(timestamp, transit_us)
    return gathered.placed(gathered.judged(), 0)


def test_what_no_clock_does_is_not_followed() -> None:
    steep = [(window * 80_000, window * 2 * DRIFT_PPM_MAX * 10) for window in range(20)]
    assert placed(steep, 1_600_000).knots == ()
    assert placed([(timestamp, transit_us // 4) for timestamp, transit_us in steep], 1_600_000).knots != ()


def test_a_network_that_moves_is_no_clock() -> None:
    chance = random.Random(3)
    assert (
        placed([(window * 80_000, chance.randrange(60_000) + window * 300) for window in range(60)], 4_800_000).knots
        == ()
    )


def test_an_envelope_of_a_day_stays_small() -> None:
    envelope = Envelope(80_000)
    for window in range(8640):
        envelope.learn(window * 80_000, window * 100)
    assert len(envelope.points) < 1024
    course = envelope.course(0, 8640 * 80_000)
    assert course is not None
    knots = course.knots(8000)
    assert knots[-1][1] == pytest.approx(86_400_000_000 + 864_000, abs=2000)


def test_a_drifting_clock_is_rendered_in_step_and_any_part_is_that_part() -> None:
    """A tone by a clock that is 200 ppm slow: on the call's clock it is that much lower, without a step."""
    hz, count = 440.0, 1500
    tone = (8000 * np.sin(2 * np.pi * hz * np.arange(count * 160) / 8000)).astype(np.int16)
    coded = PCMA.encode(tone)
    chunks = [chunk_of(first, 20, first * 20_000, 0, octets=coded) for first in range(0, count, 20)]
    facts = facts_from_chunks(chunks)
    nominal = facts.map[0]
    slow = Piece(0, nominal.end, 100_000, 8000, ((0, 100_000), (120_000, 15_103_000), (240_000, 30_106_000)))
    drifting = TrackFacts.from_json({**facts.to_json(), "map": [slow.to_json()], "ended_us": 30_200_000})
    whole = render_pcm(chunks, drifting, 0, 241_600)
    instants = np.arange(2000, 239_000) / 8000 - 0.1
    expected = 8000 * np.sin(2 * np.pi * hz * instants / 1.0002)
    assert np.abs(whole[2000:239_000] - expected).max() < 600, (
        "G.711's own steps are 256 there, the grid's 96ths the rest"
    )
    for first in (0, 799, 60_000, 119_990, 120_777, 240_000):
        spans = media_span(drifting, first, first + 1000)
        needed = [chunk for chunk in chunks if any(chunk.start < end and start < chunk.end for start, end in spans)]
        assert np.array_equal(render_pcm(needed, drifting, first, first + 1000), whole[first : first + 1000])
