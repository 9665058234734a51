"""A leg takes over another one's stream and ports: nothing is lost or kept twice, and strangers stay strangers."""

from __future__ import annotations

from typing import Any

from media.codecs.g711 import decode_alaw
from media.messages import Quiet
from media.rtcp import SenderReport, SourceDescription, to_bytes
from tests.media.bench import LOOPBACK, Bench, Sender, duplicated, noise, udp_socket


class Handing:
    """A call on one pair of ports, which a first leg has and others take over."""

    def __init__(self, **terms: Any) -> None:
        self.bench, self.sender, self.terms = Bench(), Sender(), terms
        self.pair = (udp_socket(), udp_socket())
        self.origin_ns = self.bench.now_ns
        self.bench.open(1, self.sender, sockets=duplicated(self.pair), origin_ns=self.origin_ns, **terms)

    def hand_over(self, to: int, **changes: Any) -> None:
        fields = {"continues": True, "origin_ns": self.origin_ns, **self.terms, **changes}
        self.bench.open(to, self.sender, sockets=duplicated(self.pair), **fields)


def test_every_packet_is_in_one_of_the_two_tracks_and_both_stand_on_the_calls_clock() -> None:
    handing = Handing()
    bench, sender = handing.bench, handing.sender
    audio = noise(3000)
    bench.play(sender, audio[:8000])
    for at in range(8000, 8800, 160):  # between closing and opening they wait in the socket
        bench.send(sender, sender.packet(audio[at : at + 160]))
    first = bench.close(1)
    for at in range(8800, 9600, 160):
        bench.send(sender, sender.packet(audio[at : at + 160]))
    handing.hand_over(2)
    bench.wait(200)
    bench.play(sender, audio[9600:], leg=2)
    second = bench.close(2)
    assert (first.tally.packets, second.tally.packets) == (55, 95)
    assert (first.tally.lost, second.tally.lost, second.tally.foreign) == (0, 0, 0)
    heard = bench.audio(second, 2)
    begins = round(second.map[0].at_us * 8 / 1000)
    assert (heard[begins : begins + len(audio) - 8800] == decode_alaw(audio[8800:])).all()
    assert not heard[:begins].any()
    assert second.map[0].at_us > 900_000  # the burst came before its time, by what its last packet was early
    assert first.last_us is not None and second.first_us is not None and second.first_us >= first.last_us - 200_000


def test_behind_nat_the_latched_source_goes_on_and_no_other_one_takes_the_chance() -> None:
    handing = Handing(nat=True, networks=("127.0.0.0/8",), remote=None)
    bench, sender, stranger = handing.bench, handing.sender, Sender(ssrc=0xBAD)
    bench.play(sender, noise(100))
    bench.close(1)
    handing.hand_over(2)
    bench.send(stranger, stranger.packet(noise(20)), 2)
    bench.wait()
    bench.play(sender, noise(100), leg=2)
    facts = bench.close(2)
    assert (facts.tally.packets, facts.tally.foreign) == (5, 1)


def test_the_port_of_a_former_call_is_still_closed_to_that_calls_sender() -> None:
    handing = Handing(nat=True, networks=("127.0.0.0/8",), remote=None)
    bench, former = handing.bench, handing.sender
    bench.play(former, noise(100))
    bench.close(1)
    handing.hand_over(2, continues=False)  # another call
    bench.close(2)
    handing.hand_over(3)  # in which somebody else is heard before anything has come
    bench.play(former, noise(100), leg=3)
    assert bench.close(3).tally.packets == 0


def test_silence_is_counted_from_the_taking_over() -> None:
    handing = Handing(quiet_s=5)
    handing.bench.wait(4000)
    handing.bench.close(1)
    handing.hand_over(2)
    handing.bench.wait(4000)
    assert not handing.bench.events
    handing.bench.wait(2000)
    assert [event.leg for event in handing.bench.events if isinstance(event, Quiet)] == [2]


def neighbours() -> tuple[Sender, Sender]:
    """Two senders on ports that follow each other, an odd one first, as Connectel's offer has them (35011, 35012)."""
    for port in range(35_011, 36_000, 2):
        try:
            low = udp_socket(port)
            return Sender(sock=low), Sender(ssrc=0xB0B, sock=udp_socket(port + 1))
        except OSError:
            continue
    raise AssertionError("no two neighbouring ports are free")


def test_neighbouring_rtp_ports_are_no_rtcp_ports_of_each_other() -> None:
    low, high = neighbours()
    bench = Bench()
    pairs = [(udp_socket(), udp_socket()) for _ in range(2)]
    for leg, (sender, pair) in enumerate(zip((low, high), pairs, strict=True), 1):
        bench.open(leg, sender, sockets=duplicated(pair))
    for _ in range(50):
        for leg, sender in enumerate((low, high), 1):
            bench.send(sender, sender.packet(noise(20)), leg)
        bench.wait()
    own = udp_socket()  # its RTCP comes from a port of its own, and is answered there
    report = SenderReport(low.ssrc, 1 << 32, 8000, 50, 8000, ())
    own.sendto(to_bytes((report, SourceDescription(((low.ssrc, "a"),)))), (LOOPBACK, pairs[0][1].getsockname()[1]))
    bench.wait(1000)
    own.settimeout(5)
    assert own.recv(2048)[1] in (200, 201)
    for leg, sender in enumerate((low, high), 1):
        sender.sock.setblocking(False)
        try:
            data = sender.sock.recv(2048)
        except BlockingIOError:
            data = b""
        assert data == b"", "a report went to somebody's audio"
        facts = bench.close(leg)
        assert (facts.tally.packets, facts.tally.foreign) == (50, 0)
