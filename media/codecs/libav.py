"""Codecs whose frames build on each other, by libav; the home of PyAV.

A context keeps the state from frame to frame, so it belongs to one stream and is fed in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet

from media.codecs.g711 import Samples


class LibavDecoder:
    """One stream's decoder to one channel of 16-bit samples."""

    def __init__(self, name: str, rate_hz: int) -> None:
        context = CodecContext.create(name, "r")
        assert isinstance(context, AudioCodecContext), "an audio codec"
        context.sample_rate = rate_hz
        context.layout = "mono"
        self._context = context

    def decode(self, payload: bytes) -> Samples:
        """The samples of the stream's next frame; none where it cannot be decoded."""
        try:
            frames = self._context.decode(Packet(payload))
        except FFmpegError:
            return np.zeros(0, np.int16)
        return np.concatenate([_samples(frame) for frame in frames]) if frames else np.zeros(0, np.int16)


def encoded(name: str, rate_hz: int, samples: Samples, frame_samples: int, options: dict[str, str]) -> list[bytes]:
    """Whole frames of samples as a new encoder codes them, a payload for each."""
    context = CodecContext.create(name, "w")
    assert isinstance(context, AudioCodecContext), "an audio codec"
    context.sample_rate = rate_hz
    context.layout, context.format = "mono", "s16"
    context.time_base = Fraction(1, rate_hz)
    context.options = options
    payloads: list[bytes] = []
    for first in range(0, len(samples), frame_samples):
        block = np.ascontiguousarray(samples[first : first + frame_samples], np.int16)
        frame = AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, first
        payloads += _payloads(context.encode(frame))
    return payloads + _payloads(context.encode(None))


def _payloads(packets: Iterable[Packet[AudioStream]]) -> list[bytes]:
    return [bytes(packet) for packet in packets]


def _samples(frame: AudioFrame) -> Samples:
    assert frame.format.name == "s16", "both decoders give 16 bits"
    return np.asarray(frame.to_ndarray(), np.int16).reshape(-1)
