"""The engine receives every call's audio completely, whatever the network and the peer do, and nobody else's."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from media.codecs import PCMA, PCMU
from media.engine import CATCH_UP_NS
from media.errors import Unavailable, Unsupported
from media.messages import Discard, Hold, Open, Update
from media.receive import BURST
from media.rtcp import Goodbye, ReceiverReport, SenderReport, parse, to_bytes
from media.timeline import Gap, TrackFacts

from .bench import START_NS, Bench, Sender, first_sample, noise, udp_socket


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40, 60])
def test_audio_comes_out_sample_for_sample(ptime_ms: int) -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio = noise(1200)
    bench.play(sender, audio, ptime_ms)
    facts = bench.close()
    at = first_sample(facts)
    rendered = bench.audio(facts)
    assert np.array_equal(rendered[at : at + len(audio)], PCMA.decode(audio))
    assert not rendered[:at].any()
    assert facts.tally.packets == 1200 // ptime_ms
    assert (facts.tally.lost, facts.tally.discarded) == (0, 0)
    assert len(facts.map) == 1


def test_ptime_may_change_at_any_packet() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio, at = noise(2000), 0
    for ptime_ms in (20, 20, 10, 30, 60, 40, 20, 10) * 9:
        bench.play(sender, audio[at : at + ptime_ms * 8], ptime_ms)
        at += ptime_ms * 8
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + at][: len(audio)], PCMA.decode(audio[:at]))
    assert facts.tally.lost == 0


def test_odd_payload_sizes_lose_nothing() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio, at = noise(1000), 0
    while at < len(audio):
        size = min(161 if at % 2 else 159, len(audio) - at)
        bench.send(sender, sender.packet(audio[at : at + size]))
        bench.wait()
        at += size
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], PCMA.decode(audio))


def test_lost_packets_leave_silence_of_their_length_and_a_gap_each() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio, drop = noise(4000), random.Random(7)
    expected = PCMA.decode(audio).copy()
    lost = 0
    for index, at in enumerate(range(0, len(audio), 160)):
        data = sender.packet(audio[at : at + 160])
        if 0 < index < 199 and drop.random() < 0.05:
            expected[at : at + 160] = 0
            lost += 1
        else:
            bench.send(sender, data)
        bench.wait()
    facts = bench.close()
    offset = first_sample(facts)
    assert lost > 5
    assert facts.tally.lost == lost
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], expected)
    assert sum(gap.end_us - gap.start_us for gap in facts.gaps if gap.reason == "lost") == lost * 20_000


def test_reordered_packets_are_put_back() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio, shuffle = noise(3000), random.Random(3)
    packets = [sender.packet(audio[at : at + 160]) for at in range(0, len(audio), 160)]
    for at in range(0, len(packets), 5):
        group = packets[at : at + 5]
        shuffle.shuffle(group)
        for data in group:
            bench.send(sender, data)
        bench.wait(100)
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], PCMA.decode(audio))
    assert facts.tally.lost == 0
    assert facts.tally.out_of_order > 20
    assert all(gap.reason == "no_media" for gap in facts.gaps)


def test_a_packet_that_comes_after_its_chunk_fills_its_gap() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio = noise(2000)
    packets = [sender.packet(audio[at : at + 160]) for at in range(0, len(audio), 160)]
    held = packets.pop(50)
    for index, data in enumerate(packets):
        bench.send(sender, data)
        bench.wait()
        if index == 80:  # 600 ms late: its neighbours are sealed
            bench.send(sender, held)
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], PCMA.decode(audio))
    assert (facts.tally.lost, facts.tally.out_of_order) == (0, 1)


def test_a_packet_more_than_a_second_late_is_counted_and_not_kept() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    packets = [sender.packet(noise(20, seed)) for seed in range(100)]
    held = packets.pop(20)
    for data in packets:
        bench.send(sender, data)
        bench.wait()
    bench.send(sender, held)
    bench.wait()
    facts = bench.close()
    assert (facts.tally.late, facts.tally.lost, facts.tally.packets) == (1, 1, 99)


def test_duplicates_are_counted_once_each_and_change_nothing() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio = noise(1000)
    for at in range(0, len(audio), 160):
        data = sender.packet(audio[at : at + 160])
        bench.send(sender, data)
        if at % 800 == 0:
            bench.send(sender, data)
        bench.wait()
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], PCMA.decode(audio))
    assert (facts.tally.duplicate, facts.tally.packets) == (10, 50)


def test_a_backlog_of_seconds_is_worked_off_without_loss() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio = noise(2400)
    bench.play(sender, audio[:800])
    for at in range(800, len(audio), 160):
        bench.send(sender, sender.packet(audio[at : at + 160]))
    bench.wait()
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], PCMA.decode(audio))


def test_who_works_off_a_backlog_ends_its_tick_all_the_same() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio, asked = noise(2000), 0

    def slow() -> int:
        nonlocal asked
        asked += 1
        return bench.now_ns + asked * CATCH_UP_NS

    bench.play(sender, audio[:800])
    for at in range(800, len(audio), 160):
        bench.send(sender, sender.packet(audio[at : at + 160]))
    bench.engine._clock = slow
    bench.wait()
    taken = bench.engine.totals.counted("packets")
    assert 5 < taken < len(audio) // 160  # a pass or two, not all of them
    for _ in range(8):
        bench.wait()
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], PCMA.decode(audio))


def test_late_ticks_do_not_keep_frames_from_the_sink() -> None:
    bench = Bench()
    senders = {leg: Sender() for leg in range(1, 5)}
    for leg, sender in senders.items():
        bench.open(leg, sender)
    for _ in range(5):
        for leg, sender in senders.items():
            for _ in range(10):
                bench.send(sender, sender.packet(noise(20)), leg)
        bench.late(200)
    flushed = {leg: sum(len(chunk.frames.timestamps) for chunk in bench.chunks(leg)) for leg in senders}
    assert min(flushed.values()) >= 20  # those of 400 ms, two ticks, at most are not there yet


def test_telephone_events_are_kept_out_of_the_audio() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    audio = noise(400)
    bench.play(sender, audio)
    for _ in range(5):
        bench.send(sender, sender.packet(struct.pack("!BBH", 5, 10, 160), 101, ticks=0))
        bench.wait()
    sender.rest(100)
    bench.play(sender, audio)
    facts = bench.close()
    offset, rendered = first_sample(facts), bench.audio(facts)
    assert facts.tally.events == 5
    assert facts.tally.lost == 0
    assert np.array_equal(rendered[offset : offset + 3200], PCMA.decode(audio))
    assert not rendered[offset + 3200 : offset + 4000].any()
    assert np.array_equal(rendered[offset + 4000 : offset + 7200], PCMA.decode(audio))


def test_comfort_noise_becomes_a_gap_of_the_senders_silence() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    bench.send(sender, sender.packet(b"\x40", 13, ticks=0))
    bench.wait(2000)
    sender.rest(2000)
    bench.play(sender, noise(400, 2))
    facts = bench.close()
    assert (facts.tally.comfort, facts.tally.lost, len(facts.map)) == (1, 0, 1)
    (gap,) = [gap for gap in facts.gaps if gap.reason == "dtx"]
    assert gap.end_us - gap.start_us == 2_000_000


def test_a_new_ssrc_begins_a_new_piece_where_it_arrived() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    first, second = noise(600), noise(600, 2)
    bench.play(sender, first)
    bench.wait(300)
    sender.ssrc, sender.sequence, sender.timestamp = 7, 1, 99
    bench.play(sender, second)
    facts = bench.close()
    rendered = bench.audio(facts)
    assert len(facts.map) == 2
    assert facts.map[1].start >= facts.map[0].end
    assert facts.map[1].at_us - facts.map[0].at_us == pytest.approx(900_000, abs=25_000)
    for piece, audio in enumerate((first, second)):
        at = first_sample(facts, piece)
        assert np.array_equal(rendered[at : at + len(audio)], PCMA.decode(audio))
    assert (facts.tally.lost, facts.tally.discarded) == (0, 0)


def test_a_single_stray_packet_of_another_stream_is_discarded() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    stray = Sender(ssrc=9, sock=sender.sock)
    bench.send(sender, stray.packet(noise(20)))
    bench.play(sender, noise(400, 2))
    facts = bench.close()
    assert (len(facts.map), facts.tally.discarded, facts.tally.packets) == (1, 1, 40)


def test_a_timestamp_jump_begins_a_new_piece() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    sender.timestamp = (sender.timestamp + 8_000_000) & 0xFFFFFFFF
    bench.play(sender, noise(400, 2))
    facts = bench.close()
    assert len(facts.map) == 2
    assert facts.map[1].at_us - facts.map[0].at_us == pytest.approx(400_000, abs=25_000)
    assert facts.tally.packets == 40


def test_a_clock_that_stood_still_begins_a_new_piece() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    bench.wait(5000)
    bench.play(sender, noise(400, 2))
    facts = bench.close()
    assert [piece.at_us > 5_000_000 for piece in facts.map] == [False, True]
    assert facts.tally.packets == 40


def test_a_network_that_stood_still_and_then_delivers_makes_no_new_piece() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    bench.wait(3000)
    audio = noise(3000, 2)
    for at in range(0, len(audio), 160):
        bench.send(sender, sender.packet(audio[at : at + 160]))
    bench.wait()
    bench.play(sender, noise(400, 3))
    facts = bench.close()
    assert (len(facts.map), facts.tally.packets, facts.tally.lost) == (1, 190, 0)


def test_the_codec_may_change_within_what_was_agreed() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    first, second = noise(400), noise(400, 2, PCMU)
    bench.play(sender, first)
    sender.payload_type = 0
    bench.play(sender, second)
    facts = bench.close()
    offset = first_sample(facts)
    expected = np.concatenate((PCMA.decode(first), PCMU.decode(second)))
    assert np.array_equal(bench.audio(facts)[offset : offset + len(expected)], expected)
    assert facts.codecs == ("PCMU", "PCMA")


def test_a_payload_type_not_agreed_on_and_garbage_are_discarded() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(100))
    for data in (b"", b"\x80", b"\x00" * 40, bytes(2000), sender.packet(b"x" * 20, 18, ticks=0)):
        bench.send(sender, data)
    bench.wait()
    facts = bench.close()
    assert (facts.tally.packets, facts.tally.discarded) == (5, 5)


def test_another_source_is_never_taken() -> None:
    bench, sender, stranger = Bench(), Sender(), Sender()
    bench.open(1, sender)
    audio = noise(400)
    for at in range(0, len(audio), 160):
        bench.send(stranger, stranger.packet(noise(20, 9)))
        bench.send(sender, sender.packet(audio[at : at + 160]))
        bench.wait()
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], PCMA.decode(audio))
    assert (facts.tally.foreign, facts.tally.packets) == (20, 20)


def test_without_nat_a_leg_without_an_address_takes_nothing() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1)
    bench.play(sender, noise(100))
    facts = bench.close()
    assert (facts.tally.packets, facts.tally.foreign) == (0, 5)
    assert facts.gaps == (Gap(0, 100_000, "no_media"),)


def test_nat_latches_the_first_source_within_the_networks_and_no_second() -> None:
    bench, sender, second = Bench(), Sender(), Sender()
    bench.open(1, nat=True, remote=("192.0.2.1", 4000), networks=("127.0.0.0/8",))
    bench.play(sender, noise(200))
    bench.play(second, noise(200))
    facts = bench.close()
    assert (facts.tally.packets, facts.tally.foreign) == (10, 10)


def test_nat_takes_nothing_from_outside_the_networks() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, nat=True, remote=("192.0.2.1", 4000), networks=("192.0.2.0/24",))
    bench.play(sender, noise(200))
    assert bench.close().tally.foreign == 10


def test_nat_latches_again_only_after_an_update() -> None:
    bench, sender, moved, third = Bench(), Sender(), Sender(), Sender()
    bench.open(1, nat=True, networks=("127.0.0.0/8",))
    bench.play(sender, noise(200))
    bench.engine.update(Update(1, {8: "PCMA"}, ("192.0.2.1", 4000)), bench.now_ns)
    bench.play(sender, noise(100))
    moved.sequence, moved.timestamp = sender.sequence, sender.timestamp
    bench.play(moved, noise(200))
    bench.play(third, noise(200))
    facts = bench.close()
    assert facts.tally.packets == 25
    assert facts.tally.foreign == 10


@pytest.mark.parametrize("nat", [False, True])
def test_the_former_calls_sender_never_reaches_the_ports_next_call(*, nat: bool) -> None:
    bench, former, sender = Bench(), Sender(), Sender(ssrc=5)
    fields = {"nat": nat, "networks": ("127.0.0.0/8",)}
    address = bench.open(1, former, **fields)
    bench.play(former, noise(400))
    bench.close(1)
    for _ in range(3000):  # it goes on for a minute, into a closed port
        former.packet(bytes(160))
    bench.wait(60_000)
    bench.open(2, sender, sockets=(udp_socket(address[1]), udp_socket()), **fields)
    audio = noise(400, 2)
    for at in range(0, len(audio), 160):
        bench.send(former, former.packet(noise(20, 9)), 2)
        bench.send(sender, sender.packet(audio[at : at + 160]), 2)
        bench.wait()
    facts = bench.close(2)
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts, 2)[offset : offset + len(audio)], PCMA.decode(audio))
    assert (facts.tally.foreign, facts.tally.packets) == (20, 20)


def test_pause_and_hold_keep_nothing_and_are_named() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(400))
    bench.engine.pause(1, bench.now_ns)
    bench.play(sender, noise(1000))
    bench.engine.resume(1, bench.now_ns)
    bench.play(sender, noise(400))
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address, receiving=False), bench.now_ns)
    bench.wait(2000)
    sender.rest(2000)
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address), bench.now_ns)
    bench.play(sender, noise(400))
    facts = bench.close()
    spans = [(gap.reason, gap.end_us - gap.start_us) for gap in facts.gaps if gap.reason in {"paused", "hold"}]
    assert spans == [("paused", 1_000_000), ("hold", 2_000_000)]
    assert (facts.tally.packets, facts.tally.withheld, facts.tally.lost) == (60, 50, 0)


def test_a_pause_keeps_what_came_before_it_and_nothing_after_however_late_it_is_read() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    before = noise(100, 1)
    bench.play(sender, before[:640])
    bench.send(sender, sender.packet(before[640:]))  # it waits in the socket when the command comes
    paused_us = bench.engine.pause(1, bench.now_ns)
    assert paused_us == (bench.now_ns - START_NS) // 1000
    for _ in range(20 * BURST):  # more than is read at once when the pause ends
        bench.send(sender, sender.packet(noise(20, 2)))
    bench.now_ns += 400_000_000
    resumed_us = bench.engine.resume(1, bench.now_ns)
    assert resumed_us == paused_us + 400_000
    bench.wait()
    after = noise(200, 3)
    bench.play(sender, after)
    facts = bench.close()
    kept = b"".join(chunk.frames.payload for chunk in bench.chunks())
    assert kept == before + after
    assert facts.tally.packets == 15


def test_a_pause_that_is_asked_for_twice_goes_on_as_it_was() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(100))
    bench.engine.pause(1, bench.now_ns)
    bench.play(sender, noise(200))
    bench.engine.pause(1, bench.now_ns)
    bench.play(sender, noise(200))
    bench.engine.resume(1, bench.now_ns)
    bench.engine.resume(1, bench.now_ns)
    bench.play(sender, noise(100))
    gaps = [gap for gap in bench.close().gaps if gap.reason == "paused"]
    assert [gap.end_us - gap.start_us for gap in gaps] == [400_000]
    assert bench.engine.pause(1, bench.now_ns) is None  # it is closed


def test_a_pause_outlasts_hold_and_names_the_silence_around_it() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.play(sender, noise(100))
    bench.engine.pause(1, bench.now_ns)
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address, receiving=False), bench.now_ns)
    bench.wait(1000)
    sender.rest(1000)
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address), bench.now_ns)
    bench.play(sender, noise(200))  # the hold is over, the pause is not
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address, receiving=False), bench.now_ns)
    bench.engine.resume(1, bench.now_ns)
    bench.wait(500)
    sender.rest(500)
    bench.engine.update(Update(1, {8: "PCMA"}, sender.address), bench.now_ns)
    bench.play(sender, noise(100))
    facts = bench.close()
    assert facts.tally.packets == 10
    assert [(gap.reason, gap.end_us - gap.start_us) for gap in facts.gaps if gap.reason in {"paused", "hold"}] == [
        ("paused", 1_700_000)
    ]


def test_a_call_that_ends_in_a_pause_says_so_and_a_leg_may_begin_in_one() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, paused=True)
    bench.play(sender, noise(300))
    assert bench.chunks()[0].pending.name == "PAUSED"  # a crash now would leave that
    bench.engine.resume(1, bench.now_ns)
    bench.play(sender, noise(100))
    bench.engine.pause(1, bench.now_ns)
    bench.play(sender, noise(300))
    facts = bench.close()
    assert facts.tally.packets == 5
    assert [(gap.reason, gap.end_us) for gap in facts.gaps if gap.reason == "paused"][-1] == ("paused", facts.ended_us)
    assert facts.gaps[0].reason == "paused"


def test_what_comes_before_the_answer_to_our_offer_waits_for_it() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, remote=None, answered=False)
    audio = noise(400)
    bench.play(sender, audio[:800])
    assert bench.engine.totals.counted("packets") == bench.engine.totals.counted("foreign") == 0
    bench.engine.update(Update(1, {8: "PCMA"}, remote=sender.address), bench.now_ns)
    bench.play(sender, audio[800:])
    facts = bench.close()
    offset = first_sample(facts)
    assert np.array_equal(bench.audio(facts)[offset : offset + len(audio)], PCMA.decode(audio))
    assert (facts.tally.packets, facts.tally.foreign) == (20, 0)


def test_nothing_is_read_before_the_start_and_nothing_older_than_the_origin_is_kept() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, origin_ns=0)
    bench.send(sender, sender.packet(noise(20)))
    bench.wait(100)
    bench.engine.start(1, bench.now_ns + 1_000_000)
    bench.wait()
    bench.play(sender, noise(200))
    facts = bench.close()
    assert facts.tally.packets == 11 - facts.tally.discarded


def test_a_leg_is_flushed_every_400_ms_and_legs_take_turns() -> None:
    bench, senders = Bench(), [Sender(ssrc=i) for i in range(3)]
    for leg, sender in enumerate(senders):
        bench.open(leg, sender)
    sizes = set()
    for _ in range(120):
        before = sum(len(chunks) for chunks in bench.sink.chunks.values())
        for leg, sender in enumerate(senders):
            bench.send(sender, sender.packet(noise(20)), leg)
        bench.wait()
        sizes.add(sum(len(chunks) for chunks in bench.sink.chunks.values()) - before)
    assert sizes == {0, 1}
    assert {len(chunks) for chunks in bench.sink.chunks.values()} == {6}


def test_sender_reports_are_answered_from_the_host_of_the_audio() -> None:
    bench, sender = Bench(), Sender()
    rtcp = udp_socket()
    bench.open(1, sender, sockets=(udp_socket(), rtcp))
    peer, port = udp_socket(), rtcp.getsockname()
    bench.play(sender, noise(400))
    peer.sendto(to_bytes((SenderReport(sender.ssrc, 0x1234_5678_9ABC_DEF0, 1, 20, 3200),)), port)
    peer.sendto(b"garbage", port)
    peer.sendto(to_bytes((Goodbye((sender.ssrc,)),)), port)
    bench.wait(600)
    report = next(entry for entry in parse(peer.recv(1500)) if isinstance(entry, ReceiverReport))
    (block,) = report.blocks
    assert (block.ssrc, block.packets_lost, block.last_report) == (sender.ssrc, 0, 0x5678_9ABC)
    assert block.highest_sequence & 0xFFFF == (sender.sequence - 1) & 0xFFFF


def test_a_leg_that_is_held_or_discarded_goes_on_and_the_sink_is_told_also_after_its_end() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    bench.engine.withhold(Hold(1))
    bench.engine.withhold(Discard(2))
    bench.play(sender, noise(100))
    bench.engine.close(1, bench.now_ns)
    bench.engine.withhold(Discard(1))
    assert (bench.sink.held, bench.sink.discarded) == ([1], [1]), "of legs that it knows"
    (ended,) = bench.engine.ended()
    assert TrackFacts.from_json(ended.facts).tally.packets == 5


def test_counts_outlive_their_legs() -> None:
    bench, senders, stranger = Bench(), [Sender(ssrc=i) for i in range(2)], Sender()
    for leg, sender in enumerate(senders):
        bench.open(leg, sender)
        bench.play(sender, noise(100), leg=leg)
        bench.play(stranger, noise(40), leg=leg)
    bench.close(0)
    assert (bench.engine.totals.counted("packets"), bench.engine.totals.counted("foreign")) == (10, 4)
    assert (bench.engine.totals.overflowed, bench.engine.playing) == (0, 0)


def test_comfort_noise_is_no_codec_and_taken_where_it_is_named_with_them() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, codecs={8: "PCMA", 13: "CN"})
    bench.play(sender, noise(200))
    facts = bench.close()
    assert (facts.codecs, facts.tally.packets) == (("PCMA",), 10)


def test_what_cannot_be_received_is_refused() -> None:
    bench = Bench()
    rtp, rtcp = udp_socket(), udp_socket()
    for command in (
        Open(1, {}),
        Open(1, {18: "G729"}),
        Open(1, {8: "PCMA"}, remote=("::ffff:192.0.2.1", 4000)),
        Open(1, {8: "PCMA"}, networks=("nowhere",)),
    ):
        with pytest.raises(Unsupported):
            bench.engine.open(command, rtp, rtcp, bench.now_ns)
    for leg in range(16):
        bench.open(leg)
    with pytest.raises(Unsupported):
        bench.open(3)
    with pytest.raises(Unavailable):
        bench.open(16)
