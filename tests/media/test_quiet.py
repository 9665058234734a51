"""A peer that gives no sign of life for too long is told, again and again; RTP of any kind and RTCP are life."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from media.messages import Quiet, Update
from media.rtcp import ReceiverReport, to_bytes

from .bench import Bench, Sender, noise, udp_socket

SLACK_US = 500_000  # of arrivals: the bench's instants are simulated, the kernel's stamps are not


def quiets(bench: Bench) -> list[Quiet]:
    return [event for event in bench.events if isinstance(event, Quiet)]


def test_a_silence_is_told_with_its_beginning_and_so_is_the_next_one() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, quiet_s=5.0)
    bench.play(sender, noise(1000))
    bench.wait(4900)
    assert not quiets(bench)
    bench.wait(1000)
    (quiet,) = quiets(bench)
    assert quiet.leg == 1
    assert quiet.since_us == pytest.approx(1_000_000, abs=SLACK_US)
    sender.rest(5900)
    bench.play(sender, noise(1000))
    bench.wait(4900)
    assert len(quiets(bench)) == 1
    bench.wait(1000)
    assert quiets(bench)[1].since_us == pytest.approx(7_900_000, abs=SLACK_US)


def test_a_silence_that_lasts_is_told_again_and_again() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, quiet_s=5.0)
    bench.wait(28_000)
    assert quiets(bench) == [Quiet(1, 0)] * 5


def test_a_peer_that_never_sends_is_told() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, quiet_s=5.0)
    bench.wait(6000)
    assert quiets(bench) == [Quiet(1, 0)]


def _comfort_noise(bench: Bench, sender: Sender) -> None:
    bench.send(sender, sender.packet(b"\x40", 13, ticks=0))


def _event(bench: Bench, sender: Sender) -> None:
    bench.send(sender, sender.packet(struct.pack("!BBH", 5, 10, 160), 101, ticks=0))


def _report(bench: Bench, sender: Sender) -> None:
    sender.sock.sendto(to_bytes((ReceiverReport(sender.ssrc),)), bench.rtcp_address)


@pytest.mark.parametrize("sign", [_comfort_noise, _event, _report])
def test_what_is_no_speech_is_life(sign: Callable[[Bench, Sender], None]) -> None:
    bench, sender = Bench(), Sender()
    rtcp = udp_socket()
    bench.rtcp_address = rtcp.getsockname()
    bench.open(1, sender, sockets=(udp_socket(), rtcp), quiet_s=5.0)
    bench.play(sender, noise(200))
    for _ in range(5):
        bench.wait(3000)
        sign(bench, sender)
    bench.wait(3000)
    assert not quiets(bench)
    bench.wait(3000)
    assert len(quiets(bench)) == 1


def test_packets_that_are_withheld_are_life() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, quiet_s=2.0)
    bench.engine.pause(1, bench.now_ns)
    bench.play(sender, noise(4000))
    assert not quiets(bench)


def test_a_strangers_packets_are_no_life() -> None:
    bench, sender, stranger = Bench(), Sender(), Sender()
    bench.open(1, sender, quiet_s=2.0)
    bench.play(stranger, noise(4000))
    assert len(quiets(bench)) == 1


def test_a_hold_has_a_limit_of_its_own_that_counts_from_its_beginning() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, quiet_s=5.0)
    bench.play(sender, noise(1000))
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address, receiving=False, quiet_s=60.0), bench.now_ns)
    bench.wait(59_000)
    assert not quiets(bench)
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address, quiet_s=5.0), bench.now_ns)
    bench.wait(4000)
    assert not quiets(bench)
    bench.wait(2000)
    assert quiets(bench)[0].since_us == pytest.approx(60_000_000, abs=SLACK_US)


def test_nothing_is_told_without_a_limit_or_before_the_start_of_the_call() -> None:
    bench = Bench()
    bench.open(1, Sender(), quiet_s=0.0)
    bench.open(2, Sender(), quiet_s=1.0, origin_ns=0)
    bench.wait(10_000)
    assert not quiets(bench)
