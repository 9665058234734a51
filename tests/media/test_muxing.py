"""RTP and RTCP on one port (RFC 5761): reports are told by their second octet, and audio is as without them."""

from __future__ import annotations

import socket

import pytest

from media.messages import Quiet, Update
from media.muxing import REPORT_BYTES_MIN
from media.reports import KEPT_MAX, OWN_NS_MAX
from media.rtcp import Goodbye, ReceiverReport, Report, SenderReport, SourceDescription, to_bytes
from media.rtp import Packet
from media.srtp import Protection

from . import srtp_reference
from .bench import Bench, Sender, noise, udp_socket
from .test_reports import INTERVAL_MS, SUITE, datagrams, neighbours, told

PRESENT = 7 << 32  # of an NTP clock


def reporting(sender: Sender, *more: Report) -> bytes:
    """A sender report."""
    return to_bytes((SenderReport(sender.ssrc, PRESENT, sender.timestamp, 10, 1600), *more))


def shared(bench: Bench, sender: Sender, **changes: object) -> socket.socket:
    """A leg that shares its port; its RTCP socket, on which nothing is to come or go."""
    rtcp = udp_socket()
    bench.open(1, sender, sockets=(udp_socket(), rtcp), mux=True, **changes)
    return rtcp


def compounds(sender: Sender) -> list[tuple[Report, ...]]:
    """What was reported to the sender's own port, which is all that comes there."""
    return told(sender.sock)


def test_audio_among_reports_is_kept_octet_for_octet() -> None:
    bench, sender, audio = Bench(), Sender(), noise(1200)
    shared(bench, sender)
    for at in range(0, len(audio), 320):
        bench.send(sender, sender.packet(audio[at : at + 160]))
        bench.send(sender, reporting(sender))
        bench.send(sender, sender.packet(audio[at + 160 : at + 320]))
        bench.wait(40)
    facts = bench.close()
    assert bench.octets() == audio
    tally = facts.tally
    assert (tally.packets, tally.discarded, tally.lost, tally.foreign) == (60, 0, 0, 0)


def test_a_report_is_answered_on_the_port_that_both_share() -> None:
    bench, (sender, above) = Bench(), neighbours()
    rtcp = shared(bench, sender)
    bench.play(sender, noise(200))
    bench.send(sender, reporting(sender, SourceDescription(((sender.ssrc, "a"),))))
    bench.wait(500)
    ((report, described),) = compounds(sender)
    assert isinstance(report, ReceiverReport)
    assert isinstance(described, SourceDescription)
    assert (report.blocks[0].ssrc, report.blocks[0].last_report) == (sender.ssrc, PRESENT >> 16)
    assert not told(above)
    assert not told(rtcp)


def test_who_never_reports_is_told_there_too() -> None:
    bench, (sender, above) = Bench(), neighbours()
    shared(bench, sender, reports=above.getsockname())  # what a description says for peers that do not share
    bench.play(sender, noise(200))
    bench.wait(OWN_NS_MAX / 1e6)
    assert compounds(sender)
    assert not told(above)


def test_reports_alone_are_life_and_none_of_it_is_audio() -> None:
    bench, sender, silent = Bench(), Sender(), Sender()
    shared(bench, sender, quiet_s=2.0)
    bench.open(2, silent, quiet_s=2.0, mux=True)
    bench.play(sender, noise(200))
    bench.play(silent, noise(200), leg=2)
    for _ in range(8):
        bench.send(sender, reporting(sender, Goodbye((sender.ssrc,))))
        bench.wait(500)
    assert {event.leg for event in bench.events if isinstance(event, Quiet)} == {2}
    assert bench.close().tally.packets == 10


def test_a_strangers_reports_are_nobodys() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, mux=True)  # takes nobody's audio, so nobody's reports
    bench.send(sender, reporting(sender))
    bench.wait(INTERVAL_MS)
    assert not compounds(sender)
    assert bench.close().tally.discarded == 0


@pytest.mark.parametrize("octet", [192, 200, 207, 223])
def test_every_packet_type_between_192_and_223_is_a_report(octet: int) -> None:
    bench, sender = Bench(), Sender()
    shared(bench, sender)
    bench.send(sender, bytes((0x80, octet, 0, 1)) + bytes(REPORT_BYTES_MIN - 4))
    bench.wait()
    assert bench.close().tally.discarded == 0


@pytest.mark.parametrize("head", [b"\x80\xbf", b"\x80\xe0", b"\x40\xc8", b"\x00\xc8"])
def test_and_nothing_else_is(head: bytes) -> None:
    bench, sender = Bench(), Sender()
    shared(bench, sender)
    bench.send(sender, head + bytes(10))
    bench.wait()
    assert bench.close().tally.discarded == 1


def test_where_it_was_not_agreed_on_all_that_comes_is_rtp() -> None:
    bench, sender = Bench(), Sender(payload_type=72)
    bench.open(1, sender, codecs={72: "PCMA"})
    for _ in range(10):
        bench.send(sender, Packet(72, sender.sequence, sender.timestamp, 1, noise(20), marker=True).to_bytes())
        sender.sequence, sender.timestamp = sender.sequence + 1 & 0xFFFF, sender.timestamp + 160 & 0xFFFFFFFF
        bench.wait()
    assert bench.close().tally.packets == 10


def test_a_flood_of_reports_is_worked_off_within_bounds() -> None:
    bench, sender = Bench(), Sender()
    shared(bench, sender)
    bench.play(sender, noise(200))
    for _ in range(10 * KEPT_MAX):
        bench.send(sender, reporting(sender))
    bench.wait(500)
    bench.play(sender, noise(200))
    bench.wait(500)
    assert len(compounds(sender)) == 1
    assert bench.close().tally.packets == 20


def test_a_strangers_flood_takes_nobodys_place() -> None:
    bench, sender, stranger = Bench(), Sender(), Sender(sock=udp_socket(host="127.0.0.2"))
    shared(bench, sender)
    bench.play(sender, noise(200))
    for _ in range(2 * KEPT_MAX):
        bench.send(stranger, reporting(stranger))
    bench.send(sender, reporting(sender))
    bench.wait(500)
    assert compounds(sender)
    assert not compounds(stranger)


def test_an_update_shares_the_port_or_parts_it() -> None:
    bench, (sender, above) = Bench(), neighbours()
    rtcp = shared(bench, sender)
    bench.play(sender, noise(200))
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address), bench.now_ns)
    bench.play(sender, noise(200))
    above.sendto(reporting(sender), rtcp.getsockname())
    bench.wait(500)
    assert not compounds(sender)
    assert told(above)
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address, mux=True), bench.now_ns)
    bench.wait(5000)
    bench.send(sender, reporting(sender))
    bench.wait(500)
    assert compounds(sender)
    assert not told(above)


def test_under_srtp_both_are_opened_each_by_its_own_rule() -> None:
    agreed = {"suite": SUITE, "ours": "11" * 30, "theirs": "22" * 30}
    bench, sender, audio = Bench(), Sender(), noise(800)
    rtp = srtp_reference.Sender(SUITE, bytes.fromhex(agreed["theirs"]))
    peer = Protection({"suite": SUITE, "ours": agreed["theirs"], "theirs": agreed["ours"]})
    shared(bench, sender, srtp=agreed)
    for at in range(0, len(audio), 160):
        bench.send(sender, rtp.protect(sender.packet(audio[at : at + 160])))
        if at % 1600 == 0:
            bench.send(sender, peer.protect_reports(reporting(sender)))
            bench.send(sender, reporting(sender))  # in clear: it is nobody's
        bench.wait()
    bench.wait(500)
    opened = [peer.open_reports(data) for data in datagrams(sender.sock)]
    assert opened
    assert all(opened)
    assert bench.engine.totals.unauthentic == 4
    bench.close()
    assert bench.octets() == audio


def test_a_leg_that_takes_the_row_of_a_closed_one_has_none_of_its_reports() -> None:
    bench, sender, other = Bench(), Sender(), Sender()
    shared(bench, sender)
    bench.play(sender, noise(200))
    bench.wait(500)
    bench.send(sender, reporting(sender))
    bench.wait()
    bench.close()
    bench.open(1, other, mux=True)
    bench.play(other, noise(200))
    bench.wait(500)
    assert not any(block.last_report for compound in compounds(other) for block in getattr(compound[0], "blocks", ()))
