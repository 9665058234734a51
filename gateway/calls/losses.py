"""What was received and is not stored, named in a track's facts: damaged spool records, and what found no room.

The media worker says what it received, the store says what it has; the difference is a gap like any other, with a
reason of its own. It is written down before the manifest closes the call.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from media import framelog
from media.errors import Malformed
from media.timeline import GAPS_MAX, Gap, TrackFacts
from storage.errors import DataError, Refused
from storage.model import ArtefactId, CallId, Kind, TenantId
from storage.recordings import Recordings
from storage.streams import StreamReader

log = logging.getLogger(__name__)

CORRUPTED = "corrupted"  # its spool record was damaged
DROPPED = "dropped"  # it found no room in the spool
KEYS_AWAY = "keys_away"  # it found no room in memory, where the call waited for its keys
ROUNDING_US = 1000  # a span shorter than that is no frame

Spans = list[tuple[int, int]]


def name_losses(recordings: Recordings, due: Sequence[tuple[TenantId, CallId]]) -> None:
    """Name what is missing of those calls of which a stream was interrupted; they are about to be closed."""
    for tenant, call in recordings.slices.interrupted(due):
        try:
            _name(recordings, tenant, call)
        except Refused:
            continue  # erased meanwhile
        except (DataError, Malformed, KeyError, ValueError):
            log.exception("what is missing of a call cannot be named", extra={"call": call, "tenant": tenant})


def _name(recordings: Recordings, tenant: TenantId, call: CallId) -> None:
    record, new = recordings.call(tenant, call), recordings.resume(tenant, call)
    detail_id = new.find(Kind.CALL_DETAIL).ref.artefact
    detail: dict[str, Any] = json.loads(recordings.document(tenant, detail_id, recording=True))
    lives: list[list[float | None]] = detail.get("missing_ms", [])  # told where a worker of the call died
    if any(lives) or "unstored_ms" in detail:
        return  # what is missing is known from what is stored, or it has been named before
    keyed_us = 1000 * (detail.get("keys_away_ms") or 0)  # before that nothing of it could be committed
    documents: dict[ArtefactId, bytes] = {}
    whole: list[ArtefactId] = []
    spans: list[list[list[int]]] = []
    for artefact in (found.ref.artefact for found in record.find(Kind.AUDIO)):
        described = json.loads(recordings.document(tenant, artefact, recording=True))
        facts = TrackFacts.from_json(described["facts"])
        with recordings.stream(tenant, artefact, recording=True) as stream:
            lost = unstored(facts, readable(stream, []))
            damaged = stream.records_missing > 0
            reason = CORRUPTED if damaged else DROPPED
        if lives:  # its facts were read back, and name what is damaged
            named = (CORRUPTED, DROPPED, KEYS_AWAY)
            lost = [(gap.start_us, gap.end_us) for gap in facts.gaps if gap.reason in named]
            if not (lost or damaged or facts.gaps_omitted):
                whole.append(artefact)
        spans.append([[start // 1000, -(-end // 1000)] for start, end in lost])
        if lost and not lives:
            held = [span for span in lost if not damaged and span[0] < keyed_us]
            marked = mark(facts, held, KEYS_AWAY)
            marked = mark(marked, [span for span in lost if span not in held], reason)
            documents[artefact] = json.dumps(described | {"facts": marked.to_json()}).encode()
    if len(whole) == len(spans):  # a worker has died, and had written all that it had received
        recordings.slices.whole(whole)
        return
    log.warning("a call is not stored whole", extra={"call": call, "tenant": tenant, "tracks": len(documents)})
    documents[detail_id] = json.dumps(detail | {"unstored_ms": spans}).encode()
    recordings.put_documents(new, documents)


def readable(stream: StreamReader, damaged: Spans) -> Iterator[framelog.Chunk]:
    """A stream's chunks as far as they open; the media time of those that do not is added to `damaged` on the way."""
    for span, entry in zip(stream.entries, stream.read_each(), strict=True):
        try:
            if isinstance(entry, DataError):
                raise Malformed("does not open")
            yield framelog.decode(entry)
        except Malformed:
            damaged.append(span)
            log.error("a chunk could not be read", extra={"artefact": stream.ref.artefact})


def unstored(facts: TrackFacts, chunks: Iterable[framelog.Chunk]) -> Spans:
    """The call time in µs of what the facts say was received and the chunks do not have.

    Nothing where the facts leave gaps spans: what was not received cannot be told there.
    """
    if facts.gaps_omitted:
        return []
    received = [(piece.at_us, piece.end_us) for piece in facts.map]
    received = list(subtract(received, sorted((gap.start_us, gap.end_us) for gap in facts.gaps)))
    stored = in_call_time(facts, _media_spans(chunks))
    return [span for span in subtract(received, stored) if span[1] - span[0] >= ROUNDING_US]


def mark(facts: TrackFacts, spans: Spans, reason: str) -> TrackFacts:
    """The facts with those spans of call time as gaps of that reason, also where they were thought to be lost."""
    gaps = [Gap(start, end, reason) for start, end in spans]
    for gap in facts.gaps:
        if gap.reason == framelog.Reason.LOST.name.lower():
            gaps += [
                dataclasses.replace(gap, start_us=a, end_us=b) for a, b in subtract([(gap.start_us, gap.end_us)], spans)
            ]
        else:
            gaps.append(gap)
    gaps.sort(key=lambda gap: gap.start_us)
    omitted = facts.gaps_omitted + max(0, len(gaps) - GAPS_MAX)
    return dataclasses.replace(facts, gaps=tuple(gaps[:GAPS_MAX]), gaps_omitted=omitted)


def in_call_time(facts: TrackFacts, spans: Iterable[tuple[int, int]]) -> Spans:
    """Spans of media time on the call's clock, as far as the track's map reaches; in order."""
    placed = []
    for start, end in spans:
        for piece in facts.map:
            first, last = max(start, piece.start), min(end, piece.end)
            if first < last:
                placed.append((piece.call_us(first), piece.call_us(last)))
    return sorted(placed)


def subtract(spans: Iterable[tuple[int, int]], holes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of the spans without the holes; both in order."""
    at = 0
    for start, end in spans:
        while at < len(holes) and holes[at][1] <= start:
            at += 1
        number, rest = at, start
        while number < len(holes) and holes[number][0] < end:
            if holes[number][0] > rest:
                yield rest, holes[number][0]
            rest = max(rest, holes[number][1])
            number += 1
        if rest < end:
            yield rest, end


def _media_spans(chunks: Iterable[framelog.Chunk]) -> Spans:
    """The media time that the chunks' frames fill, joined where they touch."""
    found: Spans = []
    for frames in (chunk.frames for chunk in chunks):
        if len(frames.timestamps):
            ends = frames.timestamps + frames.durations
            breaks = np.flatnonzero(frames.timestamps[1:] > ends[:-1])
            starts = [0, *(breaks + 1).tolist()]
            stops = [*breaks.tolist(), len(ends) - 1]
            found += [(int(frames.timestamps[a]), int(ends[b])) for a, b in zip(starts, stops, strict=True)]
    joined: Spans = []
    for start, end in sorted(found):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
