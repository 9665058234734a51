"""Keys' tones never reach the sink: no sample of them is kept, whatever the network does, and all else is, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.keytones import dialled, silence, tone
from gateway.commands.speech import human
from media.codecs import G722, PCMA, PCMU, Plain
from media.codecs.g711 import Samples
from media.flushing import FLUSH_TICKS
from media.masking import HOLD_TICKS, MARGIN
from media.messages import Pressed
from media.silencing import SILENCE
from media.timeline import TrackFacts

from .bench import Bench, Sender, first_sample
from .test_tones import keys_in

MARGIN_MS = MARGIN // 8 + 20  # on either side: the margin, and the cell that the tone only touches


def quiet(ms: float, seed: int = 3) -> Samples:
    """Noise of a line, soft, every stretch of it different."""
    return np.random.default_rng(seed).normal(0, 300, round(ms * 8)).astype(np.int16)


def played(
    coded: bytes, ptime_ms: int = 20, codec: Plain = PCMA, **opened: object
) -> tuple[Bench, TrackFacts, Samples]:
    """A whole call, its facts and its audio from its first sample on."""
    bench, sender = Bench(), Sender(payload_type=codec.payload_type or 0)
    bench.open(1, sender, mask=True, **opened)
    bench.play(sender, coded, ptime_ms)
    facts = bench.close()
    at = first_sample(facts)
    return bench, facts, bench.audio(facts)[at : at + len(coded)]


@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 60])
@pytest.mark.parametrize("codec", [PCMA, PCMU])
def test_a_tone_is_silenced_with_a_margin_and_the_rest_is_exact(ptime_ms: int, codec: Plain) -> None:
    for start_ms in (607, 613, 700):
        line = np.concatenate((quiet(start_ms), tone("7", 90), quiet(1200 - start_ms - 90, 4)))
        coded = codec.encode(line)
        _, facts, kept = played(coded, ptime_ms, codec)
        sent = codec.decode(coded)
        begin, end = start_ms * 8, (start_ms + 90) * 8
        assert not kept[begin:end].astype(bool).any() or set(kept[begin:end].tolist()) == {8}
        changed = np.flatnonzero(kept != sent)
        assert begin - MARGIN_MS * 8 <= changed[0] <= begin
        assert end <= changed[-1] + 1 <= end + MARGIN_MS * 8
        spans = [gap for gap in facts.gaps if gap.reason == "masked"]
        at_us = facts.map[0].at_us
        assert len(spans) == 1
        assert spans[0].start_us <= at_us + changed[0] * 125
        assert spans[0].end_us >= at_us + (changed[-1] + 1) * 125
        assert spans[0].end_us - spans[0].start_us <= (90 + 2 * MARGIN_MS + 2 * ptime_ms) * 1000
        assert facts.tally.packets == 1200 // ptime_ms
        assert facts.tally.lost == 0


def test_a_tone_that_a_chunk_ends_in_does_not_leave_its_beginning_behind() -> None:
    for start_ms in range(FLUSH_TICKS * 20 - 60, FLUSH_TICKS * 20 + 30, 7):
        line = np.concatenate((quiet(start_ms), tone("3", 45), quiet(900 - start_ms - 45, 5)))
        bench, _, kept = played(PCMA.encode(line))
        assert set(kept[start_ms * 8 : (start_ms + 45) * 8].tolist()) == {8}, start_ms
        for chunk in bench.chunks():
            assert keys_in(PCMA.decode(chunk.frames.payload)) == ""


def test_a_whole_number_in_tones_of_40_ms_leaves_none_of_its_keys() -> None:
    number = "4929 1234 5678 9011".replace(" ", "")
    spoken = human("two_cities", 2)
    line = np.concatenate((spoken, silence(100), dialled(number, 40, -20), silence(100), spoken))
    coded = PCMA.encode(line)
    assert keys_in(PCMA.decode(coded)) == number  # it would be readable
    _, facts, kept = played(coded)
    assert keys_in(kept) == ""
    assert np.array_equal(kept[: len(spoken)], PCMA.decode(coded[: len(spoken)]))
    assert np.array_equal(kept[-len(spoken) :], PCMA.decode(coded[-len(spoken) :]))
    assert [gap.reason for gap in facts.gaps if gap.reason == "masked"] == ["masked"]  # all of it one span


def test_lost_late_and_bunched_packets_leak_nothing() -> None:
    chance = np.random.default_rng(8)
    line = np.concatenate((quiet(400), dialled("159D#", 80), quiet(400, 6)))
    coded = PCMA.encode(line)
    for trial in range(20):
        bench, sender = Bench(), Sender()
        bench.open(1, sender, mask=True)
        packets = [sender.packet(coded[at : at + 160]) for at in range(0, len(coded) - 159, 160)]
        order = np.argsort(np.arange(len(packets)) + chance.normal(0, 1.2, len(packets)))
        for number in order.tolist():
            if trial % 2 and chance.random() < 0.1:
                continue
            bench.send(sender, packets[number])
            bench.wait(20 if chance.random() < 0.9 else 1)
        bench.close()
        for chunk in bench.chunks():
            assert keys_in(PCMA.decode(chunk.frames.payload)) == ""


def test_a_burst_after_a_standstill_and_a_call_that_ends_in_a_tone_leak_nothing() -> None:
    line = np.concatenate((quiet(300), dialled("2468", 100), tone("0", 200)))
    coded = PCMA.encode(line)
    bench, sender = Bench(), Sender()
    bench.open(1, sender, mask=True)
    bench.play(sender, coded[:1600])
    for at in range(1600, len(coded), 160):
        bench.send(sender, sender.packet(coded[at : at + 160]))
    bench.late(900)
    bench.close()
    for chunk in bench.chunks():
        assert keys_in(PCMA.decode(chunk.frames.payload)) == ""


def test_a_detector_without_time_still_silences_tones() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, mask=True)
    clock = iter(range(10**15, 10**18, 10**12))
    bench.engine._listener._clock = lambda: next(clock)  # every look finds the time over
    bench.play(sender, PCMA.encode(np.concatenate((quiet(500), dialled("147", 60), quiet(500)))))
    bench.close()
    assert bench.engine.totals.shed > 0
    for chunk in bench.chunks():
        assert keys_in(PCMA.decode(chunk.frames.payload)) == ""


def test_speech_and_a_leg_that_is_not_masked_are_kept_octet_for_octet() -> None:
    spoken = PCMA.encode(human("endgame_nagg_nell", 6))
    _, facts, kept = played(spoken)
    assert np.array_equal(kept, PCMA.decode(spoken))
    assert not [gap for gap in facts.gaps if gap.reason == "masked"]
    bench, sender = Bench(), Sender()
    bench.open(1, sender)
    coded = PCMA.encode(np.concatenate((quiet(300), dialled("123"))))
    bench.play(sender, coded)
    bench.close()
    assert b"".join(chunk.frames.payload for chunk in bench.chunks()) == coded[: len(coded) // 160 * 160]


@pytest.mark.parametrize("keys", [True, False])
def test_keys_are_told_where_that_was_asked_for_with_their_times(keys: bool) -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, mask=True, keys=keys)
    bench.play(sender, PCMA.encode(np.concatenate((quiet(400), dialled("4*#0", 80), quiet(200), tone("9", 100)))))
    bench.close()
    bench.wait()
    told = [event.press for event in bench.events if isinstance(event, Pressed)]
    assert "".join(press.symbol for press in told) == ("4*#09" if keys else "")
    if keys:
        assert [press.at_us // 1000 for press in told] == pytest.approx([400, 560, 720, 880, 1240], abs=45)
        assert all(60 <= press.duration_ms <= 100 for press in told)
        assert {press.way for press in told} == {"inband"}


def test_chunks_of_a_masked_leg_wait_for_their_surroundings_and_no_longer() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, mask=True)
    bench.play(sender, PCMA.encode(quiet(20)))
    bench.wait(FLUSH_TICKS * 20)
    bench.wait((HOLD_TICKS + 1) * 20)
    assert len(bench.chunks()) == 1
    assert set(SILENCE) == {PCMA.number, PCMU.number, G722.number}
