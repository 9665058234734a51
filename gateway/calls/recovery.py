"""Calls whose gateway or media worker died: facts are taken from the frame log itself, the end is told as it was.

What is missing is named: from the end of the last frame that is stored to the moment of death, or to an unknown moment
at most a second later, which is the spool's promise. Before it stands what workers cost that died while the call went
on: `missing_ms` has for each track the instants at which it stops and goes on, in turn.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.calls import keypresses, rated
from gateway.calls.call import Call, track_document
from gateway.calls.losses import CORRUPTED, Spans, in_call_time, mark, readable
from gateway.calls.resumption import missing as lost_with_workers
from media.ties import tied
from media.timeline import TrackFacts, facts_from_chunks
from storage.errors import Erased, StoreError
from storage.model import ArtefactId, CallId, CallState, Kind, TenantId
from storage.recordings import Recordings
from storage.spoollock import WRITER_WAIT_S, writing

log = logging.getLogger(__name__)


def recover_all(recordings: Recordings, wait_s: float | None = WRITER_WAIT_S) -> int:
    """Bring every call that a former run left live, or waiting for keys, to its end. Returns how many.

    First the spool's former writer must be gone: what it still commits belongs to these calls. `Unavailable` if it is
    not within `wait_s`, for then these calls are another server's, and live. None: the caller is the writer.
    """
    live = recordings.live_calls()
    if not live and not recordings.keyless.count():
        return 0
    if wait_s is None:
        return _recover(recordings, live)
    with writing(recordings.spool_folder, wait_s):
        return _recover(recordings, recordings.live_calls())


def _recover(recordings: Recordings, live: Sequence[tuple[TenantId, CallId]]) -> int:
    count = recordings.keyless.lost()
    for tenant, call in live:
        try:
            recover_call(recordings, tenant, call, None)
            count += 1
        except Erased:
            continue
        except StoreError:
            log.exception("a call could not be recovered", extra={"call": call, "tenant": tenant})
    return count


def recover_call(recordings: Recordings, tenant: TenantId, call: CallId, ended_s: float | None) -> CallState:
    """End one interrupted call from what is stored of it. `ended_s`: wall clock of the interruption, if known."""
    new = recordings.resume(tenant, call)
    record = recordings.call(tenant, call)
    documents: dict[ArtefactId, bytes] = {}
    missing: list[list[float | None]] = []
    packets = 0
    detail_id = new.find(Kind.CALL_DETAIL).ref.artefact
    detail = _detail(recordings, tenant, detail_id)
    until_ms = _until_ms(detail, ended_s)
    session = detail.get("recording_session") or {}
    tracks = {track.pop("artefact"): track for track in map(dict, session.get("tracks", ()))}
    audio = record.find(Kind.AUDIO)
    replayed = tied([_replayed(recordings, tenant, artefact.ref.artefact) for artefact in audio])
    for index, (artefact, facts) in enumerate(zip(audio, replayed, strict=True)):
        packets += facts.tally.packets
        heard = tracks.get(artefact.ref.artefact, {})
        label = heard.pop("label", str(index))
        documents[artefact.ref.artefact] = track_document(index, label, facts.to_json(), heard)
        if not facts.tally.packets:  # nothing of it may have reached the spool, and then nothing else ends it
            recordings.slices.complete_stream(artefact.ref.artefact, interrupted=True)
        missing.append([*lost_with_workers(facts, until_ms), *_lost_end(facts, until_ms)])
    for artefact in record.find(Kind.DTMF):
        documents[artefact.ref.artefact] = keypresses.document((), complete=False)
    state = CallState.INTERRUPTED if any(missing) else CallState.ENDED
    if not packets and detail.get("keys_away_ms") is None:  # of one that was held what came was lost with its worker
        state = CallState.NO_MEDIA
    if not record.find(Kind.AUDIO):
        state = CallState.NOT_RECORDED
    announcement = detail.get("announcement") or {}
    if announcement.get("complete") is False:  # as it was when the call began; nothing is kept before its end
        announcement["complete"] = packets > 0
        if not packets:
            state, detail["why"] = CallState.NOT_RECORDED, "interrupted before the announcement had ended"
    detail["missing_ms"] = missing
    detail["why"] = detail.get("why") or "interrupted"
    if ended_s is not None:
        detail["ended"] = datetime.fromtimestamp(ended_s, UTC).isoformat(timespec="milliseconds")
        detail["duration_ms"] = until_ms
    documents[detail_id] = json.dumps(detail).encode()
    heard_ms = max((facts.ended_us / 1000 for facts in replayed), default=None)
    documents |= rated.recovered(recordings, tenant, new, heard_ms if until_ms is None else until_ms)
    spoken = state in (CallState.INTERRUPTED, CallState.ENDED)
    recordings.put_documents(new, documents, state, ["transcribe"] if spoken else [])
    return state


def facts_of_lives(
    recordings: Recordings, call: Call, ended_s: float
) -> tuple[dict[ArtefactId, dict[str, Any]], list[list[float | None]]]:
    """The facts of a call's tracks of which a media worker died and another went on, and what that has cost each.

    Everything of the call is durable. No worker knows all of it, so it is read back.
    """
    artefacts = [leg.artefact.ref.artefact for leg in call.every_leg if leg.artefact is not None]
    replayed = tied([_replayed(recordings, call.tenant, artefact) for artefact in artefacts])
    facts = {artefact: found.to_json() for artefact, found in zip(artefacts, replayed, strict=True)}
    until_ms = 1000 * (ended_s - call.answered_s)
    return facts, [lost_with_workers(found, until_ms) for found in replayed]


def facts_together(facts: Mapping[ArtefactId, Mapping[str, Any]]) -> Mapping[ArtefactId, Mapping[str, Any]]:
    """The same facts as media workers tell them, each of its leg, once they are those of a call: tracks are tied."""
    if not any("walls" in found for found in facts.values()):
        return facts
    known = {artefact: TrackFacts.from_json(dict(found)) for artefact, found in facts.items() if found}
    made = zip(known, tied(list(known.values())), strict=True)
    return {**facts, **{artefact: found.to_json() for artefact, found in made}}


def _replayed(recordings: Recordings, tenant: TenantId, artefact: ArtefactId) -> TrackFacts:
    damaged: Spans = []
    with recordings.stream(tenant, artefact, recording=True) as stream:
        facts = facts_from_chunks(readable(stream, damaged))
    return mark(facts, in_call_time(facts, damaged), CORRUPTED)


def _detail(recordings: Recordings, tenant: TenantId, artefact: ArtefactId) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(recordings.document(tenant, artefact, recording=True))
    except StoreError:  # the crash came between the key row and the document
        found = {"version": 1}
    return found


def _until_ms(detail: dict[str, Any], ended_s: float | None) -> float | None:
    if ended_s is None or "answered" not in detail:
        return None
    return round(1000 * (ended_s - datetime.fromisoformat(detail["answered"]).timestamp()))


def _lost_end(facts: TrackFacts, until_ms: float | None) -> list[float | None]:
    """From the last frame to the call's end, unless the worker that received it wrote something as late as that."""
    if until_ms is not None and facts.ended_us >= 1000 * until_ms:
        return []
    return [round((facts.last_us or 0) / 1000), until_ms]
