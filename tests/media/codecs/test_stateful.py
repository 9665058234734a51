"""G.722 and Opus as others code and decode them (PyAV's own pairs), and packets that say how long they last."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from gateway.commands import speech
from media.codecs import BY_NAME, G722, OPUS, PCMA, Stateful, find
from media.codecs.g711 import Samples
from media.codecs.libav import encoded
from media.resample import upsampled
from tests.media import libopus


def tone(hz: float, ms: int, rate_hz: int) -> Samples:
    return np.asarray(8000 * np.sin(2 * np.pi * hz * np.arange(rate_hz * ms // 1000) / rate_hz), np.int16)


def strength(samples: Samples, hz: float, rate_hz: int) -> float:
    """The amplitude of a tone in samples."""
    phase = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / rate_hz)
    return float(2 * abs((samples * phase).mean()))


@pytest.mark.parametrize("codec", [G722, OPUS], ids=lambda codec: codec.name)
@pytest.mark.parametrize("ptime_ms", [10, 20, 40, 60])
def test_what_is_coded_is_decoded_at_its_rate_and_lasts_as_long(codec: Stateful, ptime_ms: int) -> None:
    spoken = tone(3000, 600, codec.sample_hz)
    decoder = codec.decoder()
    payloads = codec.packets(spoken, ptime_ms)
    assert {codec.ticks(payload) for payload in payloads} == {codec.clock_hz * ptime_ms // 1000}
    heard = np.concatenate([decoder.decode(payload) for payload in payloads])
    assert len(heard) == codec.sample_hz * 600 // 1000
    assert strength(heard[len(heard) // 2 :], 3000, codec.sample_hz) == pytest.approx(8000, rel=0.15)


def test_g722_is_the_octets_of_another_encoder() -> None:
    """A whole file in the G.722 container, which a demuxer of libav's reads back."""
    spoken = tone(5000, 400, 16_000)
    stream = b"".join(G722.packets(spoken, 20))
    with av.open(io.BytesIO(stream), "r", format="g722") as file:
        heard = np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)])
    assert strength(heard[3200:], 5000, 16_000) == pytest.approx(8000, rel=0.15)


@pytest.mark.parametrize(
    ("head", "ms"),
    [
        # RFC 6716 Tables 2 and 3: configuration, then code 0 (one frame), 1 and 2 (two), 3 (as many as the next octet).
        *((b"\x00", 10), (b"\x18", 60), (b"\x60", 10), (b"\x78", 20), (b"\x80", 2.5), (b"\xf8", 20)),
        *((b"\x79", 40), (b"\x7a", 40), (b"\x7b\x03", 60), (b"\x83\x30", 120), (b"\x1b\x02", 120)),
        *((b"\x1b\x03", 0), (b"\x83\x31", 0), (b"\x7b\x00", 0), (b"\x7b", 0), (b"", 0)),
    ],
)
def test_an_opus_packet_says_how_long_it_lasts(head: bytes, ms: float) -> None:
    assert OPUS.ticks(head) == ms * 48
    assert OPUS.ticks(head + b"\0" * (len(head) > 1)) == ms * 48


@pytest.mark.parametrize("codec", [G722, OPUS], ids=lambda codec: codec.name)
def test_nonsense_decodes_to_something_or_nothing_and_the_decoder_lives_on(codec: Stateful) -> None:
    chance, decoder = np.random.default_rng(2), codec.decoder()
    for size in (1, 2, 7, 160, 1400):
        decoder.decode(chance.integers(0, 256, size).astype(np.uint8).tobytes())
    good = codec.packets(tone(1000, 40, codec.sample_hz), 20)
    assert len(decoder.decode(good[0])) == codec.sample_hz // 50


HEADS = [bytes((toc, 0)) for toc in range(256) if toc & 3 < 3]
HEADS += [bytes((toc, frames)) for toc in range(3, 256, 4) for frames in range(1, 49)]


@pytest.mark.parametrize("octets", [1, 2, 3, 4, 5, 8, 60, 100, 255, 256, 257, 258, 511, 520, 1500])
def test_a_silent_opus_packet_is_as_long_as_the_one_that_it_stands_for(octets: int) -> None:
    decoder, tried = OPUS.decoder(), 0
    for number, head in enumerate(HEADS):
        payload = head[:octets].ljust(octets, b"\x5a")
        if not (ticks := OPUS.ticks(payload)):
            continue
        tried += 1
        quiet = OPUS.silent(payload)
        assert (len(quiet), OPUS.ticks(quiet)) == (octets, ticks)
        if octets > 1:
            assert libopus.lasts(quiet) == ticks
            assert quiet[0] & 4 == payload[0] & 4, "as many channels"
        if octets >= 2 + 2 * 48 and number % 7 == 0:
            decoder.decode(quiet)  # to bring it to rest
            heard = decoder.decode(quiet)
            assert len(heard) == ticks
            assert not heard.any()
    assert tried > 100


@pytest.mark.parametrize("ptime_ms", [10, 20, 40, 60])
def test_an_opus_packet_tells_whether_it_repeats_another(ptime_ms: int) -> None:
    spoken = upsampled(speech.human("beckett", 3), 6)
    frame = 48 * ptime_ms
    padded = np.pad(spoken, (0, -len(spoken) % frame))
    options = {"application": "voip", "b": "24000", "frame_duration": str(ptime_ms), "fec": "1", "packet_loss": "20"}
    for fec in ("0", "1"):
        packets = encoded("libopus", 48_000, padded, frame, options | {"fec": fec})
        told = [OPUS.repeats is not None and OPUS.repeats(packet) for packet in packets]
        assert told == [libopus.repeats(packet) for packet in packets]
        assert any(told) == (fec == "1")


@pytest.mark.parametrize("before", [0, 1])
def test_the_octet_of_silence_brings_a_g722_decoder_to_rest(before: int) -> None:
    decoder = G722.decoder()
    if before:
        for payload in G722.packets(tone(1000, 200, 16_000), 20):
            decoder.decode(payload)
    heard = decoder.decode(G722.silent(bytes(800)))
    assert np.abs(heard[160:].astype(int)).max() <= 64


def test_codecs_are_found_by_what_descriptions_call_them() -> None:
    assert find("OPUS", 48_000, 2) is OPUS
    assert find("opus", 48_000) is None, "RFC 7587 §7: always two channels"
    assert find("g722", 8000) is G722
    assert find("G722", 16_000) is None, "RFC 3551 §4.5.2"
    assert len({codec.number for codec in BY_NAME.values()}) == len(BY_NAME)
    assert PCMA.in_octets
    assert G722.in_octets
    assert not OPUS.in_octets
