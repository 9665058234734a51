"""Rendering lays every frame on its sample of the call's clock, whatever part of the track is asked for."""

from __future__ import annotations

import io
import struct
import wave
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.codecs import PCMA
from media.framelog import NEW_PIECE, Chunk, Frames, Tally, decode, encode
from media.render import media_span, render_pcm, total_samples
from media.timeline import TrackFacts, facts_from_chunks
from media.wav import WAV_DATA_BYTES_MAX, Mark, WavLayout, interleave, marks_chunks, wav_header

AUDIO = PCMA.encode(np.random.default_rng(4).normal(0, 3000, 4800).astype(np.int16))


def chunk_of(first: int, count: int, arrival_us: int, base: int = 1000, flags: int = 0, octets: bytes = AUDIO) -> Chunk:
    """Frames `first` to `first + count` of `octets`, 20 ms each, arriving in pace."""
    index = np.arange(first, first + count)
    marks = np.zeros(count, np.uint8)
    marks[0] = flags
    frames = Frames(
        base + 160 * index,
        arrival_us + 20_000 * (index - first),
        np.full(count, 160, np.int64),
        np.full(count, 8, np.uint8),
        marks,
        octets[first * 160 : (first + count) * 160],
    )
    return decode(encode(frames, head=0, written_us=2_000_000, tally=Tally()))


# Two pieces: frames 0 to 9 from 100 ms on, 15 to 29 from 1 s on.
CHUNKS = [chunk_of(0, 10, 100_000), chunk_of(15, 10, 1_000_000, 9000, NEW_PIECE), chunk_of(25, 5, 1_200_000, 9000)]
FACTS = facts_from_chunks(CHUNKS)
WHOLE = np.zeros(16_000, np.int16)
WHOLE[800:2400] = PCMA.decode(AUDIO[:1600])
WHOLE[8000:10400] = PCMA.decode(AUDIO[2400:4800])


def test_the_whole_call_has_audio_in_its_place_and_silence_elsewhere() -> None:
    assert total_samples(FACTS) == 16_000
    assert np.array_equal(render_pcm(CHUNKS, FACTS, 0, 16_000), WHOLE)


@given(st.integers(0, 16_500), st.integers(0, 4000))
def test_any_part_is_that_part_of_the_whole_and_needs_only_its_own_chunks(first: int, length: int) -> None:
    spans = media_span(FACTS, first, first + length)
    needed = [chunk for chunk in CHUNKS if any(chunk.start < end and start < chunk.end for start, end in spans)]
    part = render_pcm(needed, FACTS, first, first + length)
    assert np.array_equal(part, np.pad(WHOLE, (0, 5000))[first : first + length])


def test_a_span_names_no_media_where_there_is_none() -> None:
    assert media_span(FACTS, 0, 800) == []
    assert media_span(FACTS, 2400, 8000) == []
    assert media_span(FACTS, 2399, 8001) == [(2599, 2600), (11_400, 11_401)]


def test_a_track_without_media_is_silence_of_the_calls_length() -> None:
    facts = facts_from_chunks([decode(encode(_nothing(), head=0, written_us=500_000))])
    assert total_samples(facts) == 4000
    assert not render_pcm([], facts, 0, 4000).any()


def _nothing() -> Frames:
    none = np.zeros(0, np.int64)
    return Frames(none, none, none, none.astype(np.uint8), none.astype(np.uint8), b"")


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_wav_is_read_by_others(channels: int) -> None:
    tracks = [np.arange(100, dtype=np.int16) + 1000 * i for i in range(channels)]
    data = wav_header(channels, 8000, 100) + interleave(tracks)
    with wave.open(io.BytesIO(data)) as reader:
        assert (reader.getnchannels(), reader.getframerate(), reader.getsampwidth()) == (channels, 8000, 2)
        samples = np.frombuffer(reader.readframes(1000), "<i2").reshape(-1, channels)
    assert [samples[:, i].tolist() for i in range(channels)] == [track.tolist() for track in tracks]


MARKS = (Mark(2, 5, "concealed, channel 1"), Mark(7, 20, "odd"))


@given(st.integers(1, 3), st.integers(0, 400), st.integers(0, 400), st.sampled_from([(), MARKS]))
def test_any_byte_range_is_that_part_of_the_file(
    channels: int, first: int, length: int, marks: tuple[Mark, ...]
) -> None:
    tracks = [np.arange(20, dtype=np.int16) + 1000 * i for i in range(channels)]
    layout = WavLayout(channels, 8000, 20, marks)
    whole = layout.header() + interleave(tracks) + marks_chunks(marks)
    assert len(whole) == layout.size == int.from_bytes(whole[4:8], "little") + 8
    first, last = min(first, layout.size), min(first + length, layout.size)
    span = layout.span(first, last)
    data = interleave([track[span.first_sample : span.last_sample] for track in tracks])
    assert span.header + data[span.skip : span.skip + span.length] + span.tail == whole[first:last]


def test_marks_are_cue_points_behind_samples_that_lie_where_they_do_without() -> None:
    samples = interleave([np.arange(20, dtype=np.int16)])
    whole = WavLayout(1, 8000, 20, MARKS).header() + samples + marks_chunks(MARKS)
    assert whole[44:84] == samples
    with wave.open(io.BytesIO(whole)) as reader:
        assert reader.readframes(100) == samples
    chunks = dict(riff_chunks(whole[12:]))
    points = list(struct.iter_unpack("<II4sIII", chunks[b"cue "][4:]))
    assert [(number, at, at_again) for number, at, _, _, _, at_again in points] == [(1, 2, 2), (2, 7, 7)]
    notes = list(riff_chunks(chunks[b"LIST"][4:]))
    assert [struct.unpack("<II", body[:8]) for name, body in notes if name == b"ltxt"] == [(1, 3), (2, 13)]
    assert [body[4:] for name, body in notes if name == b"labl"] == [b"concealed, channel 1\0", b"odd\0"]


def test_a_file_too_long_for_riff_has_no_marks() -> None:
    longest = WAV_DATA_BYTES_MAX // 2
    assert WavLayout(1, 8000, longest, MARKS).size == WavLayout(1, 8000, longest).size
    fitting = WavLayout(1, 8000, longest - len(marks_chunks(MARKS)), MARKS)
    assert fitting.size - fitting.data_end == len(marks_chunks(MARKS))


def riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Chunks by name, as anybody reads them."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def test_facts_survive_json() -> None:
    assert TrackFacts.from_json(FACTS.to_json()) == FACTS
