"""One track as an Ogg Opus file, of tracks that were received as Opus and as nothing else: the packets as they came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from gateway.errors import NotOpus
from gateway.playback import Track, open_tracks
from media import framelog, ogg
from media.codecs import OPUS
from media.framelog import Frames
from media.grid import Grid
from media.timemap import Piece
from storage.model import CallId, TenantId
from storage.recordings import Recordings

SPAN_S = 60  # of media that is opened at once
VENDOR = "callvault"


class OggOpus:
    """The file, read once from its beginning. Close it after use."""

    def __init__(self, track: Track) -> None:
        if track.facts.codecs != (OPUS.name,):
            raise NotOpus("only a track that was received as Opus alone is there as Ogg Opus")
        self.track = track

    @classmethod
    def open(cls, recordings: Recordings, tenant: TenantId, call: CallId, track: int) -> OggOpus:
        """One track of an ended call. Raises NotOpus, and as `open_tracks` does."""
        with ExitStack() as opened:
            (found,) = open_tracks(opened, recordings, tenant, call, track)
            made = cls(found)
            opened.pop_all()
        return made

    def read(self) -> Iterator[bytes]:
        """The file, page by page."""
        return ogg.muxed(self._packets(), self.track.index, VENDOR)

    def _packets(self) -> Iterator[ogg.OpusPacket]:
        for piece in self.track.facts.map:
            span = SPAN_S * piece.clock_hz
            for start in range(piece.start, piece.end, span):
                end = min(piece.end, start + span)
                parts = [framelog.decode(raw).frames for raw in self.track.stream.read(start, end)]
                parts = [part for part in parts if len(part.timestamps)]
                if parts:
                    yield from _of(framelog.joined(parts), piece, start, end)

    def close(self) -> None:
        """Let go of the stream."""
        self.track.stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _of(frames: Frames, piece: Piece, start: int, end: int) -> Iterator[ogg.OpusPacket]:
    """The frames that begin in [start, end), as packets on the call's clock."""
    grid, at = Grid(piece, ogg.RATE_HZ), 0
    rows = (frames.timestamps.tolist(), frames.durations.tolist(), frames.lengths.tolist())
    for timestamp, ticks, length in zip(*rows, strict=True):
        if start <= timestamp < end:
            first = grid.sample_at(timestamp)
            yield ogg.OpusPacket(first, first + ticks, frames.payload[at : at + length])
        at += length
