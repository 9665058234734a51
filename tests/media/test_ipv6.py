"""Media over IPv6: who sent it is compared whole, and nothing that differs in one bit is taken for it."""

from __future__ import annotations

import numpy as np
import pytest

from media.endpoints import IPV6, source_number
from media.legs import NAMED, NEVER, Table
from media.messages import Latched, Open, Update, decode, encode
from media.receive import IPV6_FIRST, Arena, Batch, Int64s, Sources, Words, name_of, send
from media.reports import OWN_NS_MAX
from media.rtcp import ReceiverReport, parse

from .bench import LOOPBACK6, Bench, Sender, Twins, noise, udp_socket
from .test_reports import datagrams


def sender6(ssrc: int = 0xA11CE) -> Sender:
    return Sender(ssrc=ssrc, sock=udp_socket(host=LOOPBACK6))


def pair6() -> tuple[object, object]:
    return udp_socket(host=LOOPBACK6), udp_socket(host=LOOPBACK6)


class Sent(Arena):
    """Datagrams of these sources, one in each slot."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers

    def names(self, keys: Int64s) -> Words:
        return np.array([name_of(self._numbers[IPV6_FIRST - key]) for key in keys.tolist()])

    def batch(self) -> Batch:
        count = len(self._numbers)
        nothing, order = np.zeros(count, np.int64), np.arange(count, dtype=np.int64)
        return Batch(nothing, order, nothing, IPV6_FIRST - order, nothing, nothing, more=False, ipv6=True)


OWN = source_number("2001:db8:0:1:2:3:4:5", 5004)


def test_a_source_that_differs_in_any_bit_is_another_one() -> None:
    table = Table(1)
    table.clear(0)
    table.expect_from(0, OWN)
    others = [OWN ^ 1 << bit for bit in range(128 + 16)]
    sent = Sent(*others, OWN)
    batch = sent.batch()
    table.recognise(batch, sent)
    assert (batch.sources == table.source[0]).tolist() == [False] * len(others) + [True]
    assert batch.sources[:-1].tolist() == [IPV6_FIRST - i for i in range(len(others))]


@pytest.mark.parametrize("number", [NEVER, 0, source_number("192.0.2.1", 5004)])
def test_a_row_that_takes_none_of_ipv6_takes_not_even_the_unspecified_one(number: int) -> None:
    table = Table(1)
    table.clear(0)
    table.expect_from(0, OWN)
    table.expect_from(0, number)
    sent = Sent(OWN, IPV6)
    batch = sent.batch()
    table.recognise(batch, sent)
    assert not (batch.sources == table.source[0]).any()


def test_what_stands_for_a_source_never_stood_for_another() -> None:
    table = Table(2)
    table.clear(0)
    seen = []
    for number in (OWN, OWN + 1, OWN, source_number("192.0.2.1", 1), OWN):
        table.expect_from(0, number)
        seen.append(int(table.source[0]))
        table.expect_from(0, number)
        assert table.source[0] == seen[-1]
    assert len(set(seen)) == len(seen)
    assert sum(source >= NAMED for source in seen) == 4
    assert table.takes(OWN)
    assert not table.takes(OWN + 1)


def test_the_kernel_says_who_sent_it() -> None:
    arena, sender, four = Arena(8, Twins.core), udp_socket(host=LOOPBACK6), udp_socket()
    ours, ours4 = udp_socket(host=LOOPBACK6), udp_socket()
    sender.sendto(b"six", ours.getsockname())
    four.sendto(b"four", ours4.getsockname())
    batch = arena.receive(Sources({0: ours.fileno(), 1: ours4.fileno()}))
    six, number = (arena.source(key) for key in batch.sources.tolist())
    assert batch.ipv6
    assert six == source_number(*sender.getsockname()[:2])
    assert number == batch.sources[1] == source_number(*four.getsockname())
    assert (arena.names(batch.sources[:1])[0] == name_of(six)).all()
    assert send(ours.fileno(), b"answer", six)
    assert sender.recv(10) == b"answer"
    assert not arena.receive(Sources({0: ours.fileno()})).ipv6


def test_audio_comes_out_octet_for_octet_and_no_other_source_is_taken() -> None:
    bench, sender, stranger, audio = Bench(), sender6(), sender6(), noise(800)
    bench.open(1, sender, sockets=pair6())
    for at in range(0, len(audio), 160):
        bench.send(stranger, stranger.packet(noise(20, seed=2)))
        bench.send(sender, sender.packet(audio[at : at + 160]))
        bench.wait()
    facts = bench.close()
    assert bench.octets() == audio
    assert (facts.tally.packets, facts.tally.foreign) == (40, 40)


def test_behind_nat_one_latches_and_again_only_after_an_update_and_each_is_told() -> None:
    bench, first, second = Bench(), sender6(), sender6()
    bench.open(1, nat=True, networks=("::1/128", "127.0.0.0/8"), sockets=pair6())
    for sender in (first, second):
        bench.play(sender, noise(600))
    bench.engine.update(Update(1, {8: "PCMA"}), bench.now_ns)
    bench.play(second, noise(600))
    latched = [event.source for event in bench.events if isinstance(event, Latched)]
    assert latched == [source_number(*sender.address) for sender in (first, second)]
    facts = bench.close()
    assert facts.tally.foreign == 30


def test_what_another_worker_was_told_is_the_source_still() -> None:
    bench, sender, stranger = Bench(), sender6(), sender6()
    latched = source_number(*sender.address)
    bench.open(1, nat=True, networks=("::1/128",), sockets=pair6(), latched=latched, life=1)
    bench.play(stranger, noise(200))
    bench.play(sender, noise(200))
    assert bench.close().tally.packets == 10


def test_a_source_goes_between_processes_as_it_is() -> None:
    assert decode(encode(Latched(1, OWN))) == Latched(1, OWN)
    opened = Open(1, {8: "PCMA"}, remote=(LOOPBACK6, 4000), latched=OWN, former=(OWN, 1, 2, 8000, 3), mux=True)
    assert decode(encode(opened)) == opened


def test_reports_go_over_ipv6_too() -> None:
    bench, sender = Bench(), sender6()
    above = udp_socket(host=LOOPBACK6)
    bench.open(1, sender, sockets=pair6(), reports=(LOOPBACK6, above.getsockname()[1]))
    bench.play(sender, noise(200))
    bench.wait(OWN_NS_MAX / 1e6)
    report = parse(datagrams(above)[0])[0]
    assert isinstance(report, ReceiverReport)
    assert report.blocks[0].ssrc == sender.ssrc
