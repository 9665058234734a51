"""Prompts go out packet by packet to the leg's own peer; before an announcement's end nothing of the leg is kept."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from media.codecs import PCMA, PCMU
from media.codecs.g711 import Samples
from media.errors import Unsupported
from media.framelog import Reason
from media.messages import Played, Update
from media.playout import CATCH_UP_MAX, NOWHERE_NS_MAX
from media.ports import RECEIVE_BUFFER_BYTES
from media.prompts import PROMPTS_MAX, Prompt, Prompts
from media.rtcp import Goodbye, SenderReport, SourceDescription, parse, to_bytes
from media.rtp import Packet
from media.timeline import Gap

from .bench import LOOPBACK, Bench, Sender, first_sample, noise, udp_socket
from .test_vad import voice

PROMPT = "greeting"


def samples(ms: int, seed: int = 5) -> Samples:
    return np.random.default_rng(seed).normal(0, 3000, ms * 8).astype(np.int16)


def heard(sock: socket.socket) -> list[Packet]:
    """What has come to this socket."""
    sock.setblocking(False)
    packets = []
    while True:
        try:
            packets.append(Packet.parse(sock.recv(2000)))
        except BlockingIOError:
            return packets


@dataclass
class Peer(Sender):
    """A peer whose RTCP port is the one above its RTP port, as RFC 3550 §11 has it."""

    rtcp: socket.socket | None = None

    def __post_init__(self) -> None:
        while self.rtcp is None:
            try:
                self.rtcp = udp_socket(self.address[1] + 1)
            except OSError:
                self.sock = udp_socket()


def announced(ms: int = 200, **fields: object) -> tuple[Bench, Sender]:
    """A leg that waits for a prompt of so many milliseconds, which begins with the next tick."""
    bench, sender = Bench(), Sender()
    bench.engine.load(PROMPT, samples(ms))
    bench.open(1, sender, announce=True, **fields)
    bench.engine.play(1, PROMPT, bench.now_ns)
    return bench, sender


@pytest.mark.parametrize("codec", [PCMA, PCMU])
def test_a_prompt_arrives_whole_in_packets_of_20_ms(codec: object) -> None:
    chosen = PCMA if codec is PCMA else PCMU
    bench, sender = announced(190, codecs={chosen.payload_type: chosen.name})
    bench.wait(500)
    packets = heard(sender.sock)
    audio = b"".join(packet.payload for packet in packets)
    assert audio == chosen.encode(np.pad(samples(190), (0, 80)))
    assert [len(packet.payload) for packet in packets] == [160] * 10
    assert [packet.marker for packet in packets] == [True] + [False] * 9
    assert {packet.payload_type for packet in packets} == {chosen.payload_type}
    assert len({packet.ssrc for packet in packets}) == 1
    first = packets[0]
    assert [(p.sequence - first.sequence) % 65_536 for p in packets] == list(range(10))
    assert [(p.timestamp - first.timestamp) % 2**32 for p in packets] == list(range(0, 1600, 160))


def test_nothing_is_kept_before_the_announcements_last_packet() -> None:
    bench, sender = announced(2000)
    before, after = noise(200), noise(600, 2)
    bench.wait(800)
    bench.play(sender, before)
    bench.wait(1000)
    chunks = bench.chunks()
    assert chunks[0].pending is Reason.ANNOUNCEMENT  # so that a crash during it can be told from a loss
    assert sum(len(chunk.frames.timestamps) for chunk in chunks) == 0
    bench.wait(1000)
    sender.rest(2000)
    bench.play(sender, after)
    facts = bench.close()
    (played,) = bench.events
    assert played == Played(1, 20_000, 2_000_000, True)
    assert (facts.tally.packets, facts.tally.withheld) == (30, 10)
    assert facts.gaps[0] == Gap(0, 2_000_000, "announcement")
    at = first_sample(facts)
    rendered = bench.audio(facts)
    assert at >= 16_000
    assert not rendered[:at].any()
    assert np.array_equal(rendered[at : at + len(after)], PCMA.decode(after))


def test_what_came_before_the_end_and_is_read_after_it_is_not_kept() -> None:
    rtp = udp_socket()
    rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    bench, sender = announced(20, sockets=(rtp, udp_socket()))
    begun_ns, bench.now_ns = bench.now_ns, bench.now_ns + 10_000_000_000
    offset_ns = time.time_ns() - bench.now_ns
    for seed in range(300):  # more than one tick reads of a leg, all of it older than the only packet of the prompt
        bench.send(sender, sender.packet(noise(10, seed)))
    for _ in range(2):
        bench.now_ns += 5_000_000_000
        bench.events += bench.engine.tick(bench.now_ns, bench.now_ns + offset_ns)
    sent_us = (bench.now_ns - 5_000_000_000 - begun_ns) // 1000
    assert bench.events == [Played(1, sent_us, sent_us, True)]
    facts = bench.close()
    assert (facts.tally.packets, facts.tally.withheld) == (0, 300)


def test_silence_after_the_announcement_is_not_called_by_its_name() -> None:
    bench, sender = announced(200)
    bench.wait(1000)
    bench.play(sender, noise(200))
    facts = bench.close()
    assert facts.gaps[0] == Gap(0, 200_000, "announcement")
    assert (facts.gaps[1].start_us, facts.gaps[1].reason) == (200_000, "no_media")
    assert facts.gaps[1].end_us == facts.map[0].at_us


def test_hanging_up_during_the_announcement_leaves_no_frame() -> None:
    bench, sender = announced(2000)
    bench.play(sender, noise(1000))
    facts = bench.close()
    bench.wait()
    assert bench.events == [Played(1, 20_000, 1_000_000, False)]
    assert facts.tally.packets == 0
    assert facts.gaps == (Gap(0, 1_000_000, "announcement"),)
    assert all(len(chunk.frames.timestamps) == 0 for chunk in bench.chunks())


def test_a_leg_that_waits_is_never_kept_without_a_prompt() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, announce=True)
    bench.engine.play(1, "unknown", bench.now_ns)
    bench.play(sender, noise(400))
    facts = bench.close()
    assert bench.events == [Played(1, 0, 0, False)]
    assert (facts.tally.packets, facts.gaps) == (0, (Gap(0, 400_000, "announcement"),))


def test_nobody_speaks_during_the_announcement() -> None:
    bench, sender = announced(1000)
    speech = PCMA.encode(np.concatenate((np.zeros(1600, np.int16), voice(800))))
    bench.play(sender, speech)
    assert not bench.speech
    bench.play(sender, noise(20))
    bench.play(sender, speech)
    assert [event.started for event in bench.speech] == [True]


def test_a_prompt_waits_while_its_peer_is_on_hold_and_begins_anew() -> None:
    bench, sender = announced(200)
    bench.wait(100)
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address, receiving=False, hears=False), bench.now_ns)
    bench.wait(3000)
    assert len(heard(sender.sock)) == 5
    assert not bench.events
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address), bench.now_ns)
    bench.wait(300)
    packets = heard(sender.sock)
    assert b"".join(packet.payload for packet in packets) == PCMA.encode(samples(200))
    assert packets[0].marker
    assert bench.events == [Played(1, 3_120_000, 3_300_000, True)]
    bench.play(sender, noise(200))
    assert bench.close().gaps[0] == Gap(0, 3_300_000, "announcement")


def test_a_pause_outlasts_the_announcement() -> None:
    bench, sender = announced(200)
    bench.engine.pause(1, bench.now_ns)
    bench.play(sender, noise(400))
    bench.engine.resume(1, bench.now_ns)
    bench.play(sender, noise(200))
    facts = bench.close()
    assert [gap.reason for gap in facts.gaps][:2] == ["announcement", "paused"]
    assert facts.tally.packets == 10


def test_behind_nat_the_prompt_goes_to_who_is_heard_and_to_nobody_outside_the_networks() -> None:
    bench, sender = Bench(), Sender()
    bench.engine.load(PROMPT, samples(200))
    stranger = Sender(sock=socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with stranger.sock:
        stranger.sock.bind(("127.0.0.2", 0))
        bench.open(1, announce=True, nat=True, networks=(f"{LOOPBACK}/32",))
        bench.engine.play(1, PROMPT, bench.now_ns)
        bench.play(stranger, noise(100))
        assert not heard(stranger.sock)
        bench.play(sender, noise(400))
        bench.play(stranger, noise(100, 2))
        assert not heard(stranger.sock)
    assert b"".join(packet.payload for packet in heard(sender.sock)) == PCMA.encode(samples(200))
    facts = bench.close()
    assert (facts.tally.packets + facts.tally.withheld, facts.tally.foreign) == (20, 10)
    assert facts.tally.withheld > 0


def test_a_prompt_begins_anew_for_a_peer_that_turns_out_to_be_elsewhere() -> None:
    bench, said, sender = Bench(), Sender(), Sender()
    bench.engine.load(PROMPT, samples(200))
    bench.open(1, said, announce=True, nat=True, networks=(f"{LOOPBACK}/32",))
    bench.engine.play(1, PROMPT, bench.now_ns)
    bench.wait(100)
    bench.play(sender, noise(400))
    assert len(heard(said.sock)) == 6  # the tick that hears of the other address has sent already
    assert b"".join(packet.payload for packet in heard(sender.sock)) == PCMA.encode(samples(200))
    assert bench.events == [Played(1, 140_000, 320_000, True)]


def test_a_prompt_without_an_address_to_go_to_is_given_up() -> None:
    bench = Bench()
    bench.engine.load(PROMPT, samples(200))
    bench.open(1, announce=True)
    bench.engine.play(1, PROMPT, bench.now_ns)
    bench.wait(NOWHERE_NS_MAX / 1e6)
    assert not bench.events
    bench.wait(40)
    assert [(event.complete, event.end_us) for event in bench.events if isinstance(event, Played)] == [(False, 0)]
    assert bench.close().gaps[0].reason == "announcement"


def test_another_prompt_ends_the_first() -> None:
    bench, sender = announced(1000)
    bench.engine.load("second", samples(100, 6))
    bench.wait(100)
    bench.engine.play(1, "second", bench.now_ns)
    bench.wait(200)
    assert bench.events == [Played(1, 20_000, 100_000, False), Played(1, 120_000, 200_000, True)]
    packets = heard(sender.sock)
    assert [(b.timestamp - a.timestamp) % 2**32 for a, b in pairwise(packets)] == [160] * 9
    assert [index for index, packet in enumerate(packets) if packet.marker] == [0, 5]


def test_the_codec_may_change_while_a_prompt_plays() -> None:
    bench, sender = announced(200)
    bench.wait(100)
    bench.engine.update(Update(1, {0: "PCMU"}, sender.address), bench.now_ns)
    bench.wait(200)
    packets = heard(sender.sock)
    assert [packet.payload_type for packet in packets] == [8] * 5 + [0] * 5
    assert b"".join(packet.payload for packet in packets[5:]) == PCMU.encode(samples(200)[800:])


def test_a_late_tick_is_made_up_for_by_a_few_packets_and_no_burst() -> None:
    bench, sender = announced(1000)
    counts = []
    for late_ms in (20, 60, 20, 400, 20):
        bench.late(late_ms)
        counts.append(len(heard(sender.sock)))
    assert counts == [1, 3, 1, CATCH_UP_MAX, 1]


def test_a_prompt_played_later_goes_on_in_the_same_stream() -> None:
    bench, sender = announced(100)
    bench.wait(1100)
    bench.engine.play(1, PROMPT, bench.now_ns)
    bench.wait(200)
    packets = heard(sender.sock)
    assert len({packet.ssrc for packet in packets}) == 1
    assert (packets[5].timestamp - packets[0].timestamp) % 2**32 == 1100 * 8
    assert (packets[5].sequence - packets[0].sequence) % 65_536 == 5


def test_what_we_send_is_reported_and_its_end_said() -> None:
    bench, peer = Bench(), Peer()
    assert peer.rtcp is not None
    bench.engine.load(PROMPT, samples(400))
    bench.open(1, peer)
    bench.engine.play(1, PROMPT, bench.now_ns)
    bench.wait(600)
    bench.close()
    packets = heard(peer.sock)
    begun, ended = parse(peer.rtcp.recv(1500)), parse(peer.rtcp.recv(1500))
    report, described = begun
    assert isinstance(report, SenderReport)
    assert isinstance(described, SourceDescription)
    assert (report.ssrc, described.cnames[0][0]) == (packets[0].ssrc, packets[0].ssrc)
    report, described, goodbye = ended
    assert isinstance(report, SenderReport)
    assert (report.packets, report.octets) == (20, 3200)
    assert (report.timestamp - packets[0].timestamp) % 2**32 == (600 - 20) * 8
    assert goodbye == Goodbye((packets[0].ssrc,))


def test_a_report_that_is_answered_while_we_send_is_answered_by_a_sender() -> None:
    bench, peer = Bench(), Peer()
    assert peer.rtcp is not None
    rtcp = udp_socket()
    bench.engine.load(PROMPT, samples(2000))
    bench.open(1, peer, sockets=(udp_socket(), rtcp))
    bench.engine.play(1, PROMPT, bench.now_ns)
    bench.play(peer, noise(600))
    peer.rtcp.sendto(to_bytes((SenderReport(peer.ssrc, 7 << 32, 1, 30, 4800),)), rtcp.getsockname())
    bench.wait(600)
    bench.close()
    reports = [parse(peer.rtcp.recv(1500))[0] for _ in range(3)]
    (answer,) = [report for report in reports if isinstance(report, SenderReport) and report.blocks]
    assert answer.ssrc == heard(peer.sock)[0].ssrc
    assert (answer.blocks[0].ssrc, answer.blocks[0].last_report) == (peer.ssrc, 7 << 16)


def test_who_was_sent_nothing_is_not_said_goodbye() -> None:
    bench, peer = Bench(), Peer()
    assert peer.rtcp is not None
    bench.open(1, peer)
    bench.play(peer, noise(100))
    bench.close()
    peer.rtcp.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.rtcp.recv(1500)


def test_prompts_have_limits_and_the_one_loaded_first_goes() -> None:
    for wrong in (samples(0), samples(60_001)):
        with pytest.raises(Unsupported):
            Prompt.of(wrong)
    prompts = Prompts()
    for number in range(PROMPTS_MAX):
        prompts.load(str(number), samples(20))
    prompts.load("0", samples(40))
    prompts.load("one more", samples(20))
    found = prompts.find("0")
    assert found is not None
    assert found.packets == 2
    assert prompts.find("1") is None
    assert prompts.find("2") is not None
