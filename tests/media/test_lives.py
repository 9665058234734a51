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
from media.messages import Latched, Quiet
from media.render import render_pcm, total_samples
from media.timeline import Gap, TrackFacts, facts_from_chunks

from .bench import Bench, Sender, duplicated, noise, udp_socket

FLUSH_MS = 400
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
    assert Reason.WORKER_LOST.name.lower() not in {gap.reason for gap in facts.gaps}
