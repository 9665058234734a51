"""A leg whose worker died goes on in another: one track of both, with the lost span named and everything else exact."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from media.codecs import PCMA
from media.errors import Unavailable
from media.framelog import Chunk, Reason
from media.lives import LIVES_MAX, REACH, life_begins, life_of
from media.messages import Latched, Quiet, Update
from media.render import render_pcm, total_samples
from media.timeline import Gap, TrackFacts, facts_from_chunks

from .bench import Bench, Sender, duplicated, noise, udp_socket

FLUSH_MS = 400
LOST = Reason.WORKER_LOST.name.lower()
CODECS = {8: "PCMA", 0: "PCMU"}
NAT = {"nat": True, "networks": ("127.0.0.0/8",)}


@dataclass
class Lives:
    """A leg that goes from one worker to the next, its sockets, and what was committed of each life."""

    sockets: tuple[socket.socket, socket.socket]
    fields: dict[str, Any]
    bench: Bench
    committed: list[Chunk]
    life: int = 0

    @classmethod
    def begin(cls, sender: Sender, **fields: Any) -> Lives:
        sockets, bench = (udp_socket(), udp_socket()), Bench()
        fields = {"origin_ns": bench.now_ns} | fields
        lives = cls(sockets, fields, bench, [])
        bench.open(1, sender, sockets=duplicates(sockets), **fields)
        return lives

    def die(self) -> None:
        """kill -9: what is not flushed is lost, the sockets stay open here."""
        self.committed += self.bench.chunks()

    def go_on(self, sender: Sender, **told: Any) -> Bench:
        """The next worker, at the same time."""
        before, self.bench, self.life = self.bench, Bench(), self.life + 1
        self.bench.now_ns, self.bench.sent_ns = before.now_ns, before.sent_ns
        self.bench.open(1, sender, sockets=duplicates(self.sockets), **self.fields, life=self.life, **told)
        self.bench.late(0)  # what waits in the sockets is taken at once
        return self.bench

    def facts(self) -> TrackFacts:
        return facts_from_chunks(self.chunks())

    def chunks(self) -> list[Chunk]:
        return self.committed + self.bench.chunks()

    def heard(self) -> Any:
        facts = self.facts()
        return render_pcm(self.chunks(), facts, 0, total_samples(facts))


def duplicates(sockets: tuple[socket.socket, socket.socket]) -> tuple[socket.socket, socket.socket]:
    return duplicated(sockets)


def test_what_came_while_nobody_received_is_there_and_what_the_dead_worker_had_not_written_is_named() -> None:
    sender, audio = Sender(), noise(3000)
    lives = Lives.begin(sender)
    lives.bench.play(sender, audio[: 1000 * 8])
    lives.die()
    for at in range(8000, 12_000, 160):  # half a second in which nobody reads
        lives.bench.send(sender, sender.packet(audio[at : at + 160]))
    lives.bench.now_ns += 500_000_000
    bench = lives.go_on(sender)
    bench.play(sender, audio[12_000:])
    bench.close()
    facts = lives.facts()
    written = sum(len(chunk.frames.payload) for chunk in lives.committed)
    assert 8000 - FLUSH_MS * 8 <= written < 8000
    first, second = facts.map
    assert (first.end - first.start, second.end - second.start) == (written, 16_000)
    (lost,) = (gap for gap in facts.gaps if gap.reason == "worker_lost")
    assert lost == Gap(first.at_us + written * 125, second.at_us, "worker_lost")
    assert facts.tally.packets == (written + 16_000) // 160
    decoded, heard = PCMA.decode(audio), lives.heard()
    for piece, said in ((first, decoded[:written]), (second, decoded[8000:])):
        at = round(piece.at_us * 8 / 1000)
        assert np.array_equal(heard[at : at + len(said)], said)


def test_silence_after_the_resumption_is_not_called_lost() -> None:
    sender = Sender()
    lives = Lives.begin(sender)
    lives.bench.play(sender, noise(1000))
    lives.die()
    bench = lives.go_on(sender)
    sender.rest(3000)
    bench.wait(3000)
    bench.play(sender, noise(200))
    bench.close()
    facts = lives.facts()
    lost, silent = (gap for gap in facts.gaps if facts.map[0].at_us < gap.start_us < facts.map[1].at_us)
    assert (lost.reason, silent.reason) == ("worker_lost", "no_media")
    assert lost.end_us - lost.start_us <= FLUSH_MS * 1000
    assert silent.end_us - silent.start_us == pytest.approx(3_000_000, abs=60_000)


@pytest.mark.parametrize(
    ("told", "reason"),
    [({"sending": False}, "hold"), ({"paused": True}, "paused"), ({"announce": True}, "announcement")],
)
def test_what_keeps_a_leg_from_being_kept_still_does_and_nothing_of_it_is_lost(
    told: dict[str, Any], reason: str
) -> None:
    sender = Sender()
    lives = Lives.begin(sender, **told)
    lives.bench.play(sender, noise(600))
    lives.die()
    bench = lives.go_on(sender)
    bench.play(sender, noise(600))
    bench.close()
    facts = lives.facts()
    assert facts.tally.packets == 0
    assert facts.tally.withheld > 0
    assert {gap.reason for gap in facts.gaps} <= {reason, "no_media"}
    assert reason in {gap.reason for gap in facts.gaps}


def held(bench: Bench, sender: Sender, *, held: bool = True) -> None:
    """The peer puts us on hold, or takes us off it."""
    bench.engine.update(Update(1, CODECS, sender.address, receiving=not held, event_pt=101), bench.now_ns)


def spans(facts: TrackFacts, reason: str) -> list[tuple[int, int]]:
    return [(gap.start_us, gap.end_us) for gap in facts.gaps if gap.reason == reason]


@pytest.mark.parametrize("talks_again", [True, False])
def test_a_leg_that_is_held_when_its_worker_dies_has_lost_nothing(talks_again: bool) -> None:
    sender = Sender()
    lives = Lives.begin(sender)
    lives.bench.play(sender, noise(1000))
    held(lives.bench, sender)
    lives.die()
    bench = lives.go_on(sender, sending=False)
    bench.wait(3000)
    if talks_again:
        held(bench, sender, held=False)
        sender.rest(3000)
        bench.play(sender, noise(600))
    bench.close()
    facts = lives.facts()
    ((start_us, end_us),) = spans(facts, "hold")
    assert (start_us, end_us) == (facts.map[0].end_us, facts.map[1].at_us if talks_again else facts.ended_us)
    assert end_us - start_us == pytest.approx(3_000_000, abs=40_000)
    assert spans(facts, LOST) == []
    assert facts.tally.packets == (80 if talks_again else 50)


def test_what_came_after_a_hold_and_was_not_written_is_lost_and_the_hold_is_not() -> None:
    sender = Sender()
    lives = Lives.begin(sender)
    lives.bench.play(sender, noise(1000))
    held(lives.bench, sender)
    lives.bench.wait(3000)
    held(lives.bench, sender, held=False)
    sender.rest(3000)
    lives.bench.play(sender, noise(200))  # less than is gathered before it is written
    lives.die()
    bench = lives.go_on(sender)
    bench.play(sender, noise(600))
    bench.close()
    facts = lives.facts()
    lost_us = sum(end_us - start_us for start_us, end_us in spans(facts, LOST))
    assert lost_us + 20_000 * (facts.tally.packets - 80) == pytest.approx(200_000, abs=40_000)
    ((start_us, end_us),) = spans(facts, "hold")
    assert end_us - start_us == pytest.approx(3_000_000, abs=40_000)


def test_a_leg_that_was_held_only_after_its_worker_had_died_has_lost_what_was_not_written() -> None:
    sender = Sender()
    lives = Lives.begin(sender)
    lives.bench.play(sender, noise(1000))
    lives.die()
    bench = lives.go_on(sender, sending=False)
    bench.wait(2000)
    bench.close()
    facts = lives.facts()
    ((start_us, end_us),) = spans(facts, LOST)
    assert start_us == facts.map[0].end_us
    assert end_us == pytest.approx(1_000_000, abs=40_000)
    assert spans(facts, "hold") == [(end_us, facts.ended_us)]


def test_what_waited_when_the_call_ended_is_received_and_kept() -> None:
    sender, audio = Sender(), noise(1500)
    lives = Lives.begin(sender)
    lives.bench.play(sender, audio[:8000])
    lives.die()
    for at in range(8000, 12_000, 160):
        lives.bench.send(sender, sender.packet(audio[at : at + 160]))
    lives.bench.now_ns += 500_000_000
    bench, before = Bench(), lives.bench
    bench.now_ns, bench.sent_ns = before.now_ns, before.sent_ns
    bench.open(1, sender, sockets=duplicates(lives.sockets), **lives.fields, life=1)
    facts = bench.close()  # without a tick in between
    assert facts.tally.packets == 25


def test_a_leg_whose_worker_died_after_it_had_closed_it_has_lost_nothing_before_that() -> None:
    sender = Sender()
    lives = Lives.begin(sender)
    lives.bench.play(sender, noise(1000))
    lives.bench.close()
    closed_us = lives.bench.now_ns - lives.fields["origin_ns"]
    lives.die()
    lives.go_on(sender).close()
    facts = lives.facts()
    assert facts.tally.packets == 50
    assert all(start_us >= closed_us // 1000 for start_us, _ in spans(facts, LOST))


def test_a_sender_behind_nat_that_was_latched_is_taken_and_no_other_may_take_its_place() -> None:
    sender, stranger = Sender(), Sender(ssrc=7)
    lives = Lives.begin(sender, **NAT, remote=("127.0.0.1", 9))
    lives.bench.play(sender, noise(1000))
    (latched,) = (event for event in lives.bench.events if isinstance(event, Latched))
    lives.die()
    bench = lives.go_on(sender, latched=latched.source)
    bench.play(stranger, noise(200))
    bench.play(sender, noise(200))
    facts = bench.close()
    assert (facts.tally.packets, facts.tally.foreign) == (10, 10)
    assert not any(isinstance(event, Latched) for event in bench.events)  # it was told


def test_a_peer_is_not_quiet_because_its_worker_is_new() -> None:
    sender = Sender()
    lives = Lives.begin(sender, quiet_s=5.0)
    lives.bench.play(sender, noise(8000))
    lives.die()
    bench = lives.go_on(sender)
    bench.wait(3000)
    assert not any(isinstance(event, Quiet) for event in bench.events)


def test_nothing_that_came_before_the_recording_began_is_kept_after_the_resumption() -> None:
    sender = Sender()
    lives = Lives.begin(sender)
    lives.die()
    for _ in range(10):
        lives.bench.send(sender, sender.packet(noise(20)))
    lives.bench.now_ns += 200_000_000
    bench = lives.go_on(sender, from_us=10_000_000)
    bench.wait(100)
    assert bench.close().tally.packets == 0


def test_lives_do_not_share_timestamps_and_too_many_are_refused() -> None:
    assert [life_of(life_begins(life) + at) for life in (0, 1, 15) for at in (-REACH, 0, 1 << 32)] == [
        *(0, 0, 0),
        *(1, 1, 1),
        *(15, 15, 15),
    ]
    lives = Lives.begin(Sender())
    lives.life = LIVES_MAX - 1
    with pytest.raises(Unavailable, match="too often"):
        lives.go_on(Sender())


def test_a_life_whose_first_chunk_is_damaged_does_not_stretch_the_track() -> None:
    sender = Sender()
    lives = Lives.begin(sender)
    lives.bench.play(sender, noise(1000))
    lives.die()
    bench = lives.go_on(sender)
    bench.play(sender, noise(1000))
    bench.close()
    kept = [chunk for chunk in lives.chunks() if not any(chunk.frames.flags & 0x08) or life_of(chunk.start) == 0]
    facts = facts_from_chunks(kept)
    assert len(facts.map) == 2
    assert facts.ended_us == pytest.approx(2_000_000, abs=40_000)
    assert spans(facts, LOST) == [(facts.map[0].end_us, 1_000_000)]
