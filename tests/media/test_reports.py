"""Whoever sends us audio is told how it arrives, at RFC 3550's interval, and nobody else is told anything."""

from __future__ import annotations

import socket

from media.reports import OWN_NS_MAX, OWN_NS_MIN
from media.rtcp import ReceiverReport, Report, SenderReport, SourceDescription, parse, to_bytes
from media.srtp import Protection

from . import srtp_reference
from .bench import Bench, Sender, noise, udp_socket

SUITE = "AES_CM_128_HMAC_SHA1_80"
INTERVAL_MS = (OWN_NS_MIN + OWN_NS_MAX) / 2e6


def neighbours() -> tuple[Sender, socket.socket]:
    """A sender, and the port above its own, where its RTCP is expected."""
    while True:
        sender = Sender()
        try:
            return sender, udp_socket(sender.address[1] + 1)
        except OSError:
            continue


def told(sock: socket.socket) -> list[tuple[Report, ...]]:
    """The compounds that have come to a socket."""
    return [parse(data) for data in datagrams(sock)]


def datagrams(sock: socket.socket) -> list[bytes]:
    sock.setblocking(False)
    found = []
    while True:
        try:
            found.append(sock.recv(2000))
        except BlockingIOError:
            return found


def test_who_never_reports_is_told_how_its_audio_arrives() -> None:
    bench, (sender, rtcp) = Bench(), neighbours()
    bench.open(1, sender)
    bench.play(sender, noise(200))
    for _ in range(10):
        sender.packet(noise(20))  # lost
    bench.play(sender, noise(600))
    bench.wait(OWN_NS_MAX / 1e6)
    report, described = told(rtcp)[0]
    assert isinstance(report, ReceiverReport)
    assert isinstance(described, SourceDescription)
    assert described.cnames[0][0] == report.ssrc
    (block,) = report.blocks
    assert (block.ssrc, block.packets_lost, block.fraction_lost) == (sender.ssrc, 10, 256 * 10 // 50)
    assert block.highest_sequence & 0xFFFF == (sender.sequence - 1) & 0xFFFF
    assert (block.last_report, block.delay) == (0, 0)
    assert bench.engine.reports_sent == 1


def test_reports_come_at_random_and_every_five_seconds_on_average() -> None:
    bench, peers = Bench(), [neighbours() for _ in range(12)]
    for leg, (sender, _) in enumerate(peers):
        bench.open(leg, sender)
    told_ms: list[list[float]] = [[] for _ in peers]
    for look in range(1, 28):
        for leg, (sender, _) in enumerate(peers):
            bench.send(sender, sender.packet(noise(20)), leg)
            sender.rest(480)
        bench.wait(500)
        for times_ms, (_, rtcp) in zip(told_ms, peers, strict=True):
            times_ms += [look * 500.0 for _ in told(rtcp)]
    firsts_ms = [times_ms[0] for times_ms in told_ms]
    intervals_ms = [times_ms[1] - times_ms[0] for times_ms in told_ms]
    assert min(firsts_ms) >= 1000
    assert max(firsts_ms) <= 4500
    assert min(intervals_ms) >= 2500
    assert max(intervals_ms) <= 8000
    assert 3500 <= sum(intervals_ms) / len(peers) <= 7000
    assert len(set(intervals_ms)) > 2


def test_what_has_stopped_is_reported_on_once_and_then_we_only_live() -> None:
    bench, (sender, rtcp) = Bench(), neighbours()
    bench.open(1, sender)
    bench.play(sender, noise(200))
    bench.wait(4 * INTERVAL_MS)
    blocks = [len(report.blocks) for report, _ in told(rtcp) if isinstance(report, ReceiverReport)]
    assert len(blocks) >= 2
    assert blocks == [1] + [0] * (len(blocks) - 1)
    assert bench.engine.reports_sent == 1


def test_a_report_goes_where_the_peers_own_come_from_and_names_the_last_of_them() -> None:
    bench, (sender, above) = Bench(), neighbours()
    ours, theirs = udp_socket(), udp_socket()
    bench.open(1, sender, sockets=(udp_socket(), ours))
    bench.play(sender, noise(200))
    theirs.sendto(to_bytes((SenderReport(sender.ssrc, 7 << 32, 1, 10, 1600),)), ours.getsockname())
    bench.wait(500)
    assert len(told(theirs)) == 1  # the answer
    bench.play(sender, noise(200))
    bench.wait(OWN_NS_MAX / 1e6 + 500)
    ((report, _),) = told(theirs)
    assert isinstance(report, ReceiverReport)
    assert report.blocks[0].last_report == 7 << 16
    assert OWN_NS_MIN / 1e9 < report.blocks[0].delay / 65_536 < OWN_NS_MAX / 1e9 + 1
    assert not told(above)


def test_nobody_is_told_before_its_source_is_known() -> None:
    bench, (sender, rtcp), (stranger, strange_rtcp) = Bench(), neighbours(), neighbours()
    bench.open(1, sender)
    bench.open(2, nat=True, networks=("192.0.2.0/24",))
    bench.play(stranger, noise(200))
    bench.play(stranger, noise(200), leg=2)
    bench.wait(3 * INTERVAL_MS)
    assert not told(rtcp)
    assert not told(strange_rtcp)
    assert bench.engine.reports_sent == 0


def test_a_latched_source_is_told() -> None:
    bench, (sender, rtcp) = Bench(), neighbours()
    bench.open(1, nat=True, networks=("127.0.0.0/8",))
    bench.play(sender, noise(400))
    bench.wait(OWN_NS_MAX / 1e6)
    assert told(rtcp)


def test_a_neighbouring_stream_gets_no_reports_on_the_one_below() -> None:
    """A recording client's tracks at 35011 and 35012: the second's audio port is not the first's RTCP port."""
    bench, (below, rtp_above) = Bench(), neighbours()
    above = Sender(ssrc=2, sock=rtp_above)
    bench.open(1, below)
    bench.open(2, above)
    for sender, leg in ((below, 1), (above, 2)):
        bench.play(sender, noise(400), leg=leg)
    bench.wait(2 * INTERVAL_MS)
    assert not told(rtp_above)


def test_reports_on_a_protected_leg_are_protected() -> None:
    agreed = {"suite": SUITE, "ours": "11" * 30, "theirs": "22" * 30}
    bench, (sender, rtcp) = Bench(), neighbours()
    bench.open(1, sender, srtp=agreed)
    sealed = srtp_reference.Sender(SUITE, bytes.fromhex(agreed["theirs"]))
    for _ in range(20):
        bench.send(sender, sealed.protect(sender.packet(noise(20))))
        bench.wait()
    bench.wait(OWN_NS_MAX / 1e6)
    (data, *_) = datagrams(rtcp)
    opened = Protection({"suite": SUITE, "ours": agreed["theirs"], "theirs": agreed["ours"]}).open_reports(data)
    assert opened is not None
    report = parse(opened)[0]
    assert isinstance(report, ReceiverReport)
    assert report.blocks[0].ssrc == sender.ssrc
    assert opened[8:28] not in data


def test_a_pause_is_not_told_as_loss() -> None:
    bench, (sender, rtcp) = Bench(), neighbours()
    bench.open(1, sender)
    bench.play(sender, noise(200))
    bench.engine.pause(1, bench.now_ns)
    bench.play(sender, noise(2000))
    bench.engine.resume(1, bench.now_ns)
    bench.play(sender, noise(200))
    bench.wait(OWN_NS_MAX / 1e6)
    blocks = [report.blocks[0] for report, _ in told(rtcp) if isinstance(report, ReceiverReport) and report.blocks]
    assert {block.packets_lost for block in blocks} == {0}
