"""A recording as a WAV file of known length, any byte range of it rendered from the chunks that it overlaps.

For listening, silence whose level its sender told is filled with noise of that level, and where that is wanted what the
network lost for a moment is concealed, and marked as made up; without both only what was received sounds. The file has
the highest rate of its tracks' codecs: 8 kHz for G.711, of which every sample then is as it was sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from media import concealment, framelog, render, wav
from media.codecs.g711 import Samples
from media.timeline import TrackFacts
from storage.errors import Erased, NotFound, NotReady
from storage.model import ArtefactId, CallId, CallState, Kind, ParticipantId, TenantId
from storage.recordings import Recordings
from storage.streams import StreamReader

BLOCK_BYTES = 1 << 18  # rendered at once: sixteen seconds of one channel


@dataclass(frozen=True, slots=True)
class Manner:
    """What sounds beside what was received."""

    comfort_noise: bool = True
    conceal: bool = False

    def applied(self, tracks: Sequence[Track]) -> Manner:
        """The same, without what would make no difference: both ways then give one file, under one tag."""
        gaps = [gap for track in tracks for gap in track.facts.gaps]
        return Manner(
            self.comfort_noise and any(gap.noise_db is not None for gap in gaps),
            self.conceal and any(track.concealed or track.facts.gaps_omitted for track in tracks),
        )


@dataclass(frozen=True, slots=True)
class Track:
    """One track that can be played: its facts and its sealed chunks."""

    artefact: ArtefactId
    participant: ParticipantId
    index: int
    label: str
    facts: TrackFacts
    stream: StreamReader

    @property
    def concealed(self) -> list[tuple[int, int]]:
        """Where concealment makes something up, in µs of the call; see `media.concealment.concealed`."""
        return concealment.concealed(self.facts)

    def pcm(self, first: int, last: int, rate_hz: int, how: Manner) -> Samples:
        """Samples [first, last) on the call's clock; only the chunks that matter are opened."""
        spans = render.media_span(self.facts, first, last, rate_hz=rate_hz, conceal=how.conceal)
        chunks = (framelog.decode(raw) for start, end in spans for raw in self.stream.read(start, end))
        noise, conceal = how.comfort_noise, how.conceal
        return render.render_pcm(chunks, self.facts, first, last, rate_hz=rate_hz, comfort_noise=noise, conceal=conceal)


class Wav:
    """A WAV file over tracks of one call, a channel for each, that is never held as a whole. Close it after use."""

    def __init__(self, tracks: Sequence[Track], how: Manner) -> None:
        self.tracks = tracks
        self._how = how.applied(tracks)
        rate_hz = max(track.facts.sample_hz for track in tracks)
        samples = max(render.total_samples(track.facts, rate_hz) for track in tracks)
        marks = _marks(tracks, rate_hz) if self._how.conceal else ()
        self._layout = wav.WavLayout(len(tracks), rate_hz, samples, marks)
        self.size = self._layout.size

    @classmethod
    def open(
        cls,
        recordings: Recordings,
        tenant: TenantId,
        call: CallId,
        only: int | None = None,
        *,
        how: Manner = Manner(),
    ) -> Wav:
        """The WAV of an ended call, or of one track of it. Raises as `open_tracks` does."""
        with ExitStack() as opened:
            made = cls(open_tracks(opened, recordings, tenant, call, only), how)
            opened.pop_all()
        return made

    @property
    def etag(self) -> str:
        """Strong: the same tracks always render to the same bytes."""
        how = [name for name, wanted in (("noise", self._how.comfort_noise), ("plc-cue", self._how.conceal)) if wanted]
        return '"' + "-".join([*(track.artefact for track in self.tracks), str(self._layout.samples), *how]) + '"'

    @property
    def conceals(self) -> bool:
        """Whether anything in it is made up."""
        return self._how.conceal

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end) of the file, in blocks."""
        for first in range(start, end, BLOCK_BYTES):
            span = self._layout.span(first, min(first + BLOCK_BYTES, end))
            rendered = (span.first_sample, span.last_sample, self._layout.rate_hz, self._how)
            channels = [track.pcm(*rendered) for track in self.tracks]
            yield span.header + wav.interleave(channels)[span.skip : span.skip + span.length] + span.tail

    def close(self) -> None:
        """Let go of the streams."""
        for track in self.tracks:
            track.stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _marks(tracks: Sequence[Track], rate_hz: int) -> tuple[wav.Mark, ...]:
    """What is made up, in samples of the file."""
    found = [
        wav.Mark(_sample(start_us, rate_hz), _sample(end_us, rate_hz), f"concealed, channel {channel}")
        for channel, track in enumerate(tracks, 1)
        for start_us, end_us in track.concealed
    ]
    return tuple(sorted(found, key=lambda mark: mark.first))


def _sample(at_us: int, rate_hz: int) -> int:
    """The nearest sample."""
    return (at_us * rate_hz + 500_000) // 1_000_000


def open_tracks(
    opened: ExitStack, recordings: Recordings, tenant: TenantId, call: CallId, only: int | None
) -> list[Track]:
    """The tracks of an ended call, or one of them, in order; their streams are closed with `opened`.

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
    return sorted(tracks, key=lambda track: track.index)
