"""The data itself, of one person (Art. 15 and 20 GDPR) or of an order's scope: one ZIP, made as it is sent.

storage/FORMAT.md §9 describes it. What a call's turn finds erased or refused by then is told in the index and left
out; where the store itself fails the file breaks off, and no reader takes it for whole. Nothing is written to a disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.ogg import OggOpus
from gateway.playback import Manner, Wav
from gateway.rights.annotations import entries_of
from gateway.rights.archive import Archive
from gateway.rights.fields import DOCUMENTS, narrowed
from gateway.rights.parts import Part, Words
from gateway.rights.share import EVERYONE, Matched, OwnTrack, Share, share_of
from storage.errors import NotReady, Refused
from storage.model import Kind, TenantId
from storage.recordings import Recordings
from transcription.model import RedactedTranscript, Transcript, turns_of
from transcription.redaction import restore

AS_RECEIVED = Manner(comfort_noise=False, conceal=False)
"""Nothing that we made up is in somebody's data."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is exported: of which calls whose share, which parts; `about` goes into the index as it is. Where there are
    `fields`, nothing else of the parts that are documents leaves."""

    tenant: TenantId
    matches: Sequence[Matched]
    about: Mapping[str, Any] = field(repr=False)
    parts: frozenset[Part] = frozenset(Part)
    words: Words = Words.ORIGINAL
    fields: Mapping[Part, frozenset[str]] | None = None


Bodies = Iterable[tuple[Part, Mapping[str, Any] | None]]
"""Parts of one call that are a JSON document each; None where there is nothing."""


def exported(recordings: Recordings, plan: Plan) -> Iterator[bytes]:
    """The file, in pieces of some 256 KiB. Raises StoreError where it breaks off."""
    archive, calls = Archive(), list[dict[str, Any]]()
    for matched in plan.matches:
        try:
            share = share_of(recordings, plan.tenant, matched)
        except Refused as error:
            calls.append({**matched.to_json(), "left_out": type(error).__name__})
            continue
        first = len(archive.files)
        yield from _call(archive, recordings, plan, share)
        calls.append(told_of(share, [str(entry["name"]) for entry in archive.files[first:]]))
    index = recordings.sign_export(index_of(plan, calls, archive.files))
    yield from archive.add("index.json", [_json(index)])
    yield from archive.close()


def index_of(plan: Plan, calls: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The index, before it is signed."""
    return {**plan.about, "tenant": plan.tenant, "words": plan.words.value, "calls": calls, "files": files}


def told_of(share: Share, files: Sequence[str]) -> dict[str, Any]:
    """What the index says of a call."""
    return {
        **{"call": share.record.id, "who": share.who, "day": share.record.day, "state": share.record.state.value},
        **{"tracks": [track.index for track in share.tracks], "tracks_left_out": dict(share.left_out), "files": files},
    }


def folder_of(share: Share) -> str:
    """Where the files of a call's share are."""
    return f"calls/{share.record.id}/{share.who}/"


def leaving(plan: Plan, bodies: Bodies) -> Iterator[tuple[Part, Mapping[str, Any]]]:
    """Of documents that there are, what the plan lets leave: its parts, and of them its fields."""
    for part, body in bodies:
        if part not in plan.parts or body is None:
            continue
        if plan.fields is not None and part in DOCUMENTS:
            body = narrowed(body, plan.fields.get(part, frozenset()))  # noqa: PLW2901  # the whole must not be at hand
            if not body:
                continue
        yield part, body


def _call(archive: Archive, recordings: Recordings, plan: Plan, share: Share) -> Iterator[bytes]:
    folder = folder_of(share)
    bodies = ((part, made(recordings, plan, share)) for part, made in _PARTS.items() if part in plan.parts)
    for part, body in leaving(plan, bodies):
        yield from archive.add(f"{folder}{part.value}.json", [_json(body)])
    for track in share.tracks if Part.AUDIO in plan.parts else ():
        yield from _audio(archive, recordings, plan.tenant, share, track, folder)


def _audio(
    archive: Archive, recordings: Recordings, tenant: TenantId, share: Share, track: OwnTrack, folder: str
) -> Iterator[bytes]:
    """A track as WAV on the call's clock, and its packets as they came where all of them were Opus."""
    name = f"{folder}track-{track.index}"
    with Wav.open(recordings, tenant, share.record.id, track.index, how=AS_RECEIVED) as wav:
        yield from archive.add(f"{name}.wav", wav.read(0, wav.size), wav.size)
    if track.opus:
        with OggOpus.open(recordings, tenant, share.record.id, track.index) as file:
            yield from archive.add(f"{name}.opus", file.read())


def _transcript(recordings: Recordings, plan: Plan, share: Share) -> dict[str, Any] | None:
    kind = Kind.TRANSCRIPT if plan.words is Words.ORIGINAL else Kind.REDACTED_TRANSCRIPT
    parts: list[Transcript | RedactedTranscript] = []
    for artefact in share.derived(kind):
        document = recordings.document(plan.tenant, artefact.ref.artefact)
        parts.append(Transcript.from_json(document) if kind is Kind.TRANSCRIPT else restore(artefact.ref, document))
    if not parts:
        return None
    own = {track.participant for track in share.tracks}
    tracks = [track for part in parts for track in part.tracks if track.participant in own]
    turns = [
        {"participant": turn.participant, "start_ms": turn.start_ms, "end_ms": turn.end_ms, "text": turn.text}
        | {"words": [[word.text, word.start_ms, word.end_ms] for word in turn.words]}
        for turn in turns_of(tracks)
    ]
    return {"language": parts[0].language, "engine": parts[0].engine, "words": plan.words.value, "turns": turns}


def _facts(recordings: Recordings, plan: Plan, share: Share) -> dict[str, Any] | None:
    return {"tracks": [dict(track.document) for track in share.tracks]} if share.tracks else None


def _keys(recordings: Recordings, plan: Plan, share: Share) -> dict[str, Any] | None:
    found = [
        {"participant": artefact.ref.participant}
        | json.loads(recordings.document(plan.tenant, artefact.ref.artefact).decode())
        for artefact in share.derived(Kind.DTMF)
    ]
    return {"participants": found} if found else None


def _annotations(recordings: Recordings, plan: Plan, share: Share) -> dict[str, Any] | None:
    found = [
        entry for entry in entries_of(recordings, plan.tenant, share.record) if share.who in (EVERYONE, entry["who"])
    ]
    return {"entries": found} if found else None


def _manifest(recordings: Recordings, plan: Plan, share: Share) -> dict[str, Any] | None:
    """Ids, hashes and ciphertext of the whole call: signed, so that nothing can be taken out of it."""
    try:
        return recordings.manifest(plan.tenant, share.record.id)
    except NotReady:
        return None


_PARTS: Mapping[Part, Callable[[Recordings, Plan, Share], Mapping[str, Any] | None]] = {
    Part.IDENTITY: lambda recordings, plan, share: share.identity or None,
    Part.DETAIL: lambda recordings, plan, share: share.detail or None,
    Part.FACTS: _facts,
    Part.KEYS: _keys,
    Part.TRANSCRIPT: _transcript,
    Part.ANNOTATIONS: _annotations,
    Part.MANIFEST: _manifest,
}
"""Every part that is one JSON document of a call."""


def _json(body: object) -> bytes:
    return (json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
