"""An Ogg Opus file is read by others, with the packets as they were and silence where there were none."""

from __future__ import annotations

import io

import av
import numpy as np

from media.codecs import OPUS
from media.codecs.g711 import Samples
from media.ogg import OpusPacket, muxed
from media.resample import upsampled

from .test_vad import voice

PACKETS = OPUS.packets(upsampled(voice(3000), 6), 20)


def heard(data: bytes) -> Samples:
    """The first channel, as libav's own demuxer and decoder have it."""
    with av.open(io.BytesIO(data), "r", format="ogg") as file:
        assert file.streams.audio[0].codec_context.name == "opus"
        return np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])


def placed(*starts: int) -> list[OpusPacket]:
    return [OpusPacket(start, start + 960, PACKETS[index]) for index, start in enumerate(starts)]


def test_packets_come_out_as_they_went_in() -> None:
    data = b"".join(muxed(placed(*range(0, 150 * 960, 960)), 7, "callvault"))
    with av.open(io.BytesIO(data), "r", format="ogg") as file:
        found = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
    assert found == PACKETS
    assert len(heard(data)) == 150 * 960


def test_what_was_not_received_keeps_its_time() -> None:
    starts = (96_100, *range(97_060, 97_060 + 30 * 960, 960), *(400_000 + i * 960 for i in range(50)))
    samples = heard(b"".join(muxed(placed(*starts), 7, "callvault")))
    assert abs(len(samples) - (400_000 + 50 * 960)) < 480, "to some milliseconds"
    assert not samples[:90_000].any()
    assert np.abs(samples[97_000:120_000]).max() > 0.02
    assert np.abs(samples[200_000:390_000]).max() < 0.002
    assert np.abs(samples[402_000:440_000]).max() > 0.02


def test_large_packets_and_a_track_without_any_are_files_too() -> None:
    large = [OpusPacket(i * 960, (i + 1) * 960, b"\xf8" + bytes([i]) * 1270) for i in range(60)]
    with av.open(io.BytesIO(b"".join(muxed(large, 7, "callvault"))), "r", format="ogg") as file:
        assert [bytes(packet) for packet in file.demux(audio=0) if packet.size] == [entry.payload for entry in large]
    pages = list(muxed([], 7, "callvault"))
    assert [page[:4] for page in pages] == [b"OggS"] * 3
    assert pages[-1][5] & 4
