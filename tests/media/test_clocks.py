"""Sender reports as they come over RTCP: taken for the stream they are of, seldom, and without anybody's name."""

from __future__ import annotations

import socket
import time

import numpy as np

from media.chunks import take_readings
from media.clocks import Clocks
from media.codecs import PCMA
from media.endpoints import source_number
from media.engine import REPORT_TICKS
from media.framelog import REASON_MASK, Chunk, Reason
from media.legs import Table
from media.readings import Reading
from media.rtcp import ReceiverReport, Report, SenderReport, SourceDescription, to_bytes
from media.timeline import TrackFacts

from .bench import Bench, Sender, noise, udp_socket
from .keytones import silence, tone

NAME = "alice@pbx.example"


class Party:
    """A peer of one leg, which sends audio and reports."""

    def __init__(
        self, bench: Bench, leg: int, name: str = NAME, host: str = "127.0.0.1", *, mask: bool = False
    ) -> None:
        self.bench, self.leg, self.name = bench, leg, name
        self.sender = Sender(ssrc=1000 + leg, sock=bound(host))
        self.rtcp, self.ours = bound(host), udp_socket()
        bench.open(leg, self.sender, sockets=(udp_socket(), self.ours), mask=mask)

    def report(self, *, behind_ms: float = 0, ntp: int | None = None, ssrc: int | None = None) -> None:
        """A report of now; `behind_ms` is how far its wall clock is behind."""
        at_s = self.bench.now_ns / 1e9 - behind_ms / 1e3
        source = self.sender.ssrc if ssrc is None else ssrc
        told = SenderReport(source, int(at_s * 2**32) if ntp is None else ntp, self.sender.timestamp, 1, 160)
        self.send(told, *([SourceDescription(((source, self.name),))] if self.name else []))

    def send(self, *reports: Report) -> None:
        self.rtcp.sendto(to_bytes(reports), self.ours.getsockname())
        self.bench.sent_ns = self.bench.sent_ns or time.time_ns()

    def close(self) -> TrackFacts:
        return self.bench.close(self.leg)

    @property
    def chunks(self) -> list[Chunk]:
        return self.bench.chunks(self.leg)

    @property
    def readings(self) -> list[Reading]:
        return [told for chunk in self.chunks for told in chunk.readings]


def bound(host: str) -> socket.socket:
    sock = udp_socket()
    if host != "127.0.0.1":
        sock.close()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, 0))
    return sock


def look(bench: Bench) -> None:
    """Wait until the next tick looks at RTCP: it takes what comes between for as late as itself."""
    while bench.engine._ticks % REPORT_TICKS:
        bench.wait()


def talk(bench: Bench, parties: list[Party], seconds: int) -> None:
    """All of them speak, and report every five seconds."""
    look(bench)
    for packet in range(seconds * 50):
        for party in parties:
            bench.send(party.sender, party.sender.packet(noise(20)), party.leg)
            if packet % 250 == 100:
                party.report()
        bench.wait()


def test_reports_are_kept_in_the_frame_log_and_a_replay_tells_the_same() -> None:
    bench = Bench()
    party = Party(bench, 1)
    talk(bench, [party], 16)
    facts = party.close()  # which compares with a replay of the chunks
    assert (facts.reports.taken, facts.reports.stray) == (3, 0)
    assert len(party.readings) == 3
    for told in party.readings:
        # Its media time is where its stream was then: as many ticks behind its arrival as the audio.
        assert abs(told.arrival_us - facts.map[0].call_us(told.timestamp)) < 200_000, "a busy machine"
    assert facts.map[0].knots == ()


def test_streams_of_one_name_and_host_are_of_one_endpoint_and_the_name_is_not_kept() -> None:
    bench = Bench()
    parties = [Party(bench, 1), Party(bench, 2), Party(bench, 3, "bob@pbx.example"), Party(bench, 4, "")]
    parties.append(Party(bench, 5, host="127.0.0.2"))
    talk(bench, parties, 11)
    for party in parties:
        party.close()
    (one,), (two,), (bob,), (nobody,), (elsewhere,) = ({told.endpoint for told in party.readings} for party in parties)
    assert one == two and nobody == 0
    assert len({one, bob, elsewhere, nobody}) == 4
    for party in parties:
        written = b"".join(data for _, _, data in bench.sink.chunks[party.leg])
        assert b"alice" not in written and b"example" not in written
    for party in parties:
        party.sender.sock.close()
        party.rtcp.close()


def test_hosts_of_both_families_are_told_apart_and_ports_are_not() -> None:
    clocks, hosts = Clocks(Table(1)), ("192.0.2.1", "192.0.2.2", "2001:db8::1", "::c000:201")
    found = [{clocks._endpoint(NAME, source_number(host, port)) for port in (5004, 5005)} for host in hosts]
    assert [len(endpoints) for endpoints in found] == [1] * 4
    assert len(set.union(*found)) == 4


def test_two_engines_know_the_same_name_by_different_numbers() -> None:
    found = set()
    for _ in range(2):
        bench = Bench()
        party = Party(bench, 1)
        talk(bench, [party], 9)
        party.close()
        found.add(party.readings[0].endpoint)
    assert len(found) == 2


def test_other_streams_and_reports_without_a_wall_clock_tell_nothing() -> None:
    bench = Bench()
    party = Party(bench, 1)
    party.report()  # before any audio
    bench.wait(1000)
    bench.play(party.sender, noise(200))
    for told in ({"ntp": 0}, {"ssrc": 77}):
        party.report(**told)
        bench.wait(1000)
    party.send(ReceiverReport(party.sender.ssrc), SourceDescription(((party.sender.ssrc, NAME),)))
    bench.wait(1000)
    assert party.close().reports.taken == 0


def test_a_flood_of_reports_costs_a_reading_every_few_seconds() -> None:
    bench = Bench()
    party = Party(bench, 1)
    look(bench)
    for _ in range(20):
        bench.send(party.sender, party.sender.packet(noise(20)))
        for _ in range(16):  # as many as one look takes from a socket
            party.report()
        bench.wait(500)
        party.sender.rest(480)
    facts = party.close()
    assert (facts.reports.taken, facts.reports.stray) == (3, 0)


def test_while_nothing_is_kept_the_newest_reports_wait_for_the_next_chunk() -> None:
    bench = Bench()
    party = Party(bench, 1)
    bench.play(party.sender, noise(1000))
    bench.engine.pause(1, bench.now_ns)
    look(bench)
    for _ in range(12):
        party.report()
        bench.wait(5000)
        party.sender.rest(5000)
    bench.engine.resume(1, bench.now_ns)
    bench.play(party.sender, noise(200))
    facts = party.close()
    (kept,) = [chunk.readings for chunk in party.chunks if chunk.readings]
    assert len(kept) == facts.reports.taken == 8
    assert kept[-1].arrival_us - kept[-2].arrival_us > 20_000_000, "the newest took the place of those before it"


def test_a_chunk_that_is_silenced_while_it_is_held_keeps_its_reports() -> None:
    """A tone that sounds over a chunk's end: what was cut of it is written anew."""
    silenced = 0
    for start_ms in range(360, 440, 10):
        bench = Bench()
        party = Party(bench, 1, mask=True)
        line = PCMA.encode(np.concatenate((silence(start_ms), tone("3", 60), silence(640 - start_ms))))
        look(bench)
        for at in range(0, len(line), 160):
            bench.send(party.sender, party.sender.packet(line[at : at + 160]))
            if at == 0:
                party.report()
            bench.wait()
        facts = party.close()
        assert facts.reports.taken == 1
        (chunk,) = (chunk for chunk in party.chunks if chunk.readings)
        silenced += bool((chunk.frames.flags & REASON_MASK == Reason.MASKED).any())
    assert silenced > 2


def test_a_leg_without_reports_has_none_to_take() -> None:
    bench = Bench()
    party = Party(bench, 1)
    bench.play(party.sender, noise(200))
    (leg,) = [leg for leg in bench.engine._legs if leg is not None]
    assert take_readings(leg) == []
    assert party.close().to_json()["sender_reports"]["taken"] == 0
