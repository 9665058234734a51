"""A recording as a WAV file of known length, any byte range of it rendered from the chunks that it overlaps.

For listening, silence whose level its sender told is filled with noise of that level; without `comfort_noise` only what
was received sounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from media import framelog, render
from media.codecs.g711 import Samples
from media.timeline import TrackFacts
from storage.errors import Erased, NotFound, NotReady
from storage.model import ArtefactId, CallId, CallState, Kind, ParticipantId, TenantId
from storage.recordings import Recordings
from storage.streams import StreamReader

BLOCK_BYTES = 1 << 18  # rendered at once: sixteen seconds of one channel


@dataclass(frozen=True, slots=True)
class Track:
    """One track that can be played: its facts and its sealed chunks."""

    artefact: ArtefactId
    participant: ParticipantId
    index: int
    label: str
    facts: TrackFacts
    stream: StreamReader

    def pcm(self, first: int, last: int, *, comfort_noise: bool) -> Samples:
        """Samples [first, last) on the call's clock; only the overlapping chunks are opened."""
        spans = render.media_span(self.facts, first, last)
        chunks = (framelog.decode(raw) for start, end in spans for raw in self.stream.read(start, end))
        return render.render_pcm(chunks, self.facts, first, last, comfort_noise=comfort_noise)


class Wav:
    """A WAV file over tracks of one call, a channel for each, that is never held as a whole. Close it after use."""

    def __init__(self, tracks: Sequence[Track], *, comfort_noise: bool = True) -> None:
        self.tracks = tracks
        # Where there is none to make, both ways give the same file, under the same tag.
        levels = any(gap.noise_db is not None for track in tracks for gap in track.facts.gaps)
        self._comfort_noise = comfort_noise and levels
        samples = max(render.total_samples(track.facts) for track in tracks)
        self._layout = render.WavLayout(len(tracks), tracks[0].facts.clock_hz, samples)
        self.size = self._layout.size

    @classmethod
    def open(
        cls,
        recordings: Recordings,
        tenant: TenantId,
        call: CallId,
        only: int | None = None,
        *,
        comfort_noise: bool = True,
    ) -> Wav:
        """The WAV of an ended call, or of one track of it.

        Raises NotFound, Erased, and NotReady for a call that is still live or has no audio.
        """
        record = recordings.call(tenant, call)
        if record.state is CallState.ERASED:
            raise Erased(f"call {call} is erased")
        if record.state is CallState.LIVE:
            raise NotReady(f"call {call} is still live")
        artefacts = record.find(Kind.AUDIO)
        if not artefacts:
            raise NotReady(f"call {call} has no audio ({record.state.value})")
        with ExitStack() as opened:
            tracks = []
            for artefact in artefacts:
                described = json.loads(recordings.document(tenant, artefact.ref.artefact))
                if only is None or described["index"] == only:
                    facts = TrackFacts.from_json(described["facts"])
                    stream = opened.enter_context(recordings.stream(tenant, artefact.ref.artefact))
                    where = (described["index"], described["label"])
                    tracks.append(Track(artefact.ref.artefact, artefact.ref.participant, *where, facts, stream))
            if not tracks:
                raise NotFound(f"call {call} has no track {only}")
            wav = cls(sorted(tracks, key=lambda track: track.index), comfort_noise=comfort_noise)
            opened.pop_all()
        return wav

    @property
    def etag(self) -> str:
        """Strong: the same tracks always render to the same bytes."""
        how = ["noise"] if self._comfort_noise else []
        return '"' + "-".join([*(track.artefact for track in self.tracks), str(self._layout.samples), *how]) + '"'

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end) of the file, in blocks."""
        for first in range(start, end, BLOCK_BYTES):
            span = self._layout.span(first, min(first + BLOCK_BYTES, end))
            channels = [
                track.pcm(span.first_sample, span.last_sample, comfort_noise=self._comfort_noise)
                for track in self.tracks
            ]
            yield span.header + render.interleave(channels)[span.skip : span.skip + span.length]

    def close(self) -> None:
        """Let go of the streams."""
        for track in self.tracks:
            track.stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
