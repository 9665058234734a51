"""Wideband and Opus through the engine: kept as received, heard, rendered the same in any part; codecs may change."""

from __future__ import annotations

import numpy as np
import pytest

from media.codecs import G722, OPUS, PCMA, Codec
from media.codecs.g711 import Samples
from media.render import media_span, render_pcm, total_samples
from media.resample import upsampled
from media.timeline import TrackFacts

from .bench import Bench, Sender
from .test_vad import quiet, voice

CODECS = {8: "PCMA", 9: "G722", 111: "opus"}


def spoken(codec: Codec) -> Samples:
    said = np.concatenate((quiet(600), voice(1000), quiet(1000)))
    return upsampled(said, codec.sample_hz // 8000)


def sent(bench: Bench, sender: Sender, codec: Codec, samples: Samples, ptime_ms: int = 20) -> list[bytes]:
    """Send samples in real pace; the payloads."""
    payloads = codec.packets(samples, ptime_ms)
    for payload in payloads:
        bench.send(sender, sender.packet(payload, codec.offered_as, ticks=ptime_ms * codec.clock_hz // 1000))
        bench.wait(ptime_ms)
    return payloads


def part(bench: Bench, facts: TrackFacts, first: int, last: int, **how: bool) -> Samples:
    """Samples from only the chunks that `media_span` asks for."""
    spans = media_span(facts, first, last, conceal=how.get("conceal", False))
    chunks = [c for c in bench.chunks() if any(c.start < end and start < c.end for start, end in spans)]
    return render_pcm(chunks, facts, first, last, **how)


@pytest.mark.parametrize("codec", [G722, OPUS], ids=lambda codec: codec.name)
@pytest.mark.parametrize("ptime_ms", [10, 20, 60])
def test_frames_are_kept_as_received_and_speech_is_heard(codec: Codec, ptime_ms: int) -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, codecs=CODECS)
    payloads = sent(bench, sender, codec, spoken(codec), ptime_ms)
    facts = bench.close()
    assert b"".join(chunk.frames.payload for chunk in bench.chunks()) == b"".join(payloads)
    assert (facts.tally.packets, facts.tally.lost, facts.codecs) == (len(payloads), 0, (codec.name,))
    assert (facts.clock_hz, facts.sample_hz, len(facts.map)) == (codec.clock_hz, codec.sample_hz, 1)
    started, ended = bench.speech
    assert (started.started, ended.started) == (True, False)
    at_us = facts.map[0].at_us
    assert abs(started.at_us - at_us - 600_000) <= 60_000
    assert -60_000 <= ended.at_us - at_us - 1_600_000 <= 200_000


@pytest.mark.parametrize("codec", [G722, OPUS], ids=lambda codec: codec.name)
def test_it_sounds_as_it_was_decoded_at_once_and_any_part_is_that_part(codec: Codec) -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, codecs=CODECS)
    samples = np.tile(spoken(codec), 5)
    payloads = sent(bench, sender, codec, samples)
    facts = bench.close()
    assert [piece.knots for piece in facts.map] == [()]
    whole = bench.audio(facts)
    decoder = codec.decoder()  # type: ignore[attr-defined]  # both are stateful
    at_once = np.concatenate([decoder.decode(payload) for payload in payloads])
    at = (facts.map[0].at_us * codec.sample_hz + 500_000) // 1_000_000
    error = whole[at : at + len(at_once)].astype(np.float64) - at_once
    assert np.sqrt((error**2).mean()) < 0.01 * at_once.astype(np.float64).std()
    chance = np.random.default_rng(1)
    for _ in range(12):
        first, last = sorted(int(n) for n in chance.integers(0, len(whole), 2))
        last = min(last, first + codec.sample_hz)
        assert np.array_equal(part(bench, facts, first, last), whole[first:last])


def test_codecs_of_other_rates_and_clocks_may_change_at_any_packet() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, codecs=CODECS)
    packets = 0
    for codec in (PCMA, G722, PCMA, OPUS, G722):
        packets += len(sent(bench, sender, codec, upsampled(voice(800), codec.sample_hz // 8000)))
    facts = bench.close()
    assert (facts.tally.packets, facts.tally.lost) == (packets, 0)
    assert facts.codecs == ("PCMA", "G722", "opus")
    assert [piece.clock_hz for piece in facts.map] == [8000, 48_000, 8000], "a piece for each clock"
    begins = [piece.at_us - facts.map[0].at_us for piece in facts.map]
    assert begins == [pytest.approx(at, abs=25_000) for at in (0, 2_400_000, 3_200_000)]
    whole = bench.audio(facts)
    assert len(whole) == total_samples(facts, 48_000)
    start = facts.map[0].at_us * 48 // 1000
    for second in range(4):
        assert whole[start + second * 48_000 : start + (second + 1) * 48_000].std() > 500, "every codec sounds"
    for first in (10_000, 70_001, 100_000, 150_007):
        assert np.array_equal(part(bench, facts, first, first + 9_999), whole[first : first + 9_999])


def test_opus_silence_that_is_not_sent_is_dtx_and_ends_speech() -> None:
    bench, sender = Bench(), Sender(payload_type=111)
    bench.open(1, sender, codecs=CODECS)
    sent(bench, sender, OPUS, upsampled(np.concatenate((quiet(400), voice(800))), 6))
    sender.timestamp = (sender.timestamp + 48 * 2000) & 0xFFFFFFFF
    bench.wait(2000)
    sent(bench, sender, OPUS, upsampled(voice(400), 6))
    facts = bench.close()
    assert [gap.reason for gap in facts.gaps if gap.end_us - gap.start_us > 1_500_000] == ["dtx"]
    assert [speech.started for speech in bench.speech][:2] == [True, False]
    assert facts.tally.lost == 0


def test_what_is_no_opus_packet_is_discarded() -> None:
    bench, sender = Bench(), Sender(payload_type=111)
    bench.open(1, sender, codecs=CODECS)
    sent(bench, sender, OPUS, upsampled(voice(200), 6))
    bench.send(sender, sender.packet(b"\x7b\x00abc", ticks=960))
    bench.wait()
    facts = bench.close()
    assert (facts.tally.packets, facts.tally.discarded) == (10, 1)


@pytest.mark.parametrize("number", [9, 111])
def test_prompts_are_played_in_the_peers_codec(number: int) -> None:
    bench, sender = Bench(), Sender(payload_type=number)
    bench.open(1, sender, codecs={number: CODECS[number]}, announce=True)
    bench.engine.load("greeting", voice(400))
    bench.engine.play(1, "greeting", bench.now_ns)
    bench.wait(700)
    sender.sock.setblocking(False)
    codec = G722 if number == 9 else OPUS
    decoder, heard, stamps = codec.decoder(), list[Samples](), list[int]()
    while len(heard) < 20:
        data = sender.sock.recv(1500)
        assert data[1] & 0x7F == number
        stamps.append(int.from_bytes(data[4:8], "big"))
        heard.append(decoder.decode(data[12:]))
    assert set(np.diff(np.array(stamps)) % (1 << 32)) == {codec.clock_hz // 50}
    assert np.concatenate(heard).astype(np.float64).std() > 500


@pytest.mark.parametrize("codec", [PCMA, G722, OPUS], ids=lambda codec: codec.name)
def test_lost_frames_are_concealed_where_that_is_wanted_the_same_in_any_part(codec: Codec) -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, codecs=CODECS)
    payloads = codec.packets(upsampled(voice(2000), codec.sample_hz // 8000), 20)
    for index, payload in enumerate(payloads):
        data = sender.packet(payload, codec.offered_as, ticks=codec.clock_hz // 50)
        if index not in {30, 50, 51, *range(70, 80)}:
            bench.send(sender, data)
        bench.wait()
    facts = bench.close()
    plain, whole = bench.audio(facts), part(bench, facts, 0, total_samples(facts), conceal=True)
    assert facts.tally.lost == 13
    lost = [gap for gap in facts.gaps if gap.reason == "lost"]
    for gap in lost:
        start, end = (us * facts.sample_hz // 1_000_000 + 1 for us in (gap.start_us, gap.end_us))
        assert not plain[start : end - 2].any()
        if gap.end_us - gap.start_us <= 60_000:
            around = plain[start - codec.sample_hz // 50 : start].astype(np.float64).std()
            assert whole[start : start + codec.sample_hz // 100].astype(np.float64).std() > around / 3
        else:
            assert not whole[start : end - 2].any(), "nothing is made up for long"
    for first in range(0, len(whole) - 3000, 7001):
        assert np.array_equal(part(bench, facts, first, first + 3000, conceal=True), whole[first : first + 3000])
