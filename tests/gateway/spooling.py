"""Calls with real chunks in the spool, for tests of what becomes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gateway.calls.call import track_document
from media.codecs import BY_NAME, g711
from media.framelog import NEW_PIECE, Frames, Reason, Tally, decode, encode
from media.lives import life_begins
from media.readings import Reading
from media.timeline import TrackFacts, facts_from_chunks
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.recordings import Recordings
from storage.records import NewArtefact, NewCall, Wanted
from storage.spool import SpoolWriter
from storage.spoolfile import scan, spool_files
from storage.spoolformat import RECORD_HEADER_BYTES
from storage.spoolheld import HeldLimits
from storage.uploader import Uploader

FRAMES_A_CHUNK = 20
FRAME_SAMPLES = 160
CHUNK_SAMPLES = FRAMES_A_CHUNK * FRAME_SAMPLES
CHUNK_MS = 400
BEGUN_US = 200_000  # into the call, where tracks are held up


@dataclass(frozen=True, slots=True)
class Spooled:
    """A call in the spool: its keys, and of each track what the worker would have said of it."""

    new: NewCall
    facts: tuple[TrackFacts, ...]

    @property
    def audio(self) -> list[NewArtefact]:
        return [artefact for artefact in self.new.artefacts if artefact.ref.kind is Kind.AUDIO]


def spooled(
    recordings: Recordings,
    tenant: TenantId,
    chunks: Sequence[int],
    *,
    end: bool = True,
    late: bool = False,
    held_up_us: Sequence[int] = (),
    keys_away_ms: float | None = None,
) -> Spooled:
    """A live call with a track for each number, of so many chunks of 0.4 s.

    `late`: its key row is durable only after all of them came; what exceeds a megabyte finds no room then. With
    `keys_away_ms` it was held until that call time, to the same bound.
    With `held_up_us` the tracks are one device's: it holds each up so long, and says so in sender reports.
    """
    held: Sequence[int | None] = held_up_us or [None] * len(chunks)
    tracks = [_track(count, by_us) for count, by_us in zip(chunks, held, strict=True)]
    recordings.prepare(tenant, ["quality"])
    wanted = [Wanted(NO_PARTICIPANT, kind, "quality") for kind in (Kind.CALL_DETAIL, Kind.IDENTITY)]
    wanted += [Wanted(ParticipantId(new_id()), Kind.AUDIO, "quality") for _ in chunks]
    new = recordings.begin(tenant, CallId(new_id()), wanted)
    detail: dict[str, object] = {"answered": "2026-03-01T10:00:00.000Z", "missing_ms": []}
    if keys_away_ms is not None:
        detail["keys_away_ms"] = keys_away_ms
    recordings.save([new], {new.find(Kind.CALL_DETAIL).ref.artefact: json.dumps(detail).encode()})
    made = Spooled(new, tuple(facts_from_chunks(map(decode, track)) for track in tracks))
    limits = HeldLimits(stream_bytes=1 << 20)
    with SpoolWriter(recordings.spool_folder, node="test", file_bytes=4 << 20, commit_s=0.01, held=limits) as spool:
        for number, (artefact, track) in enumerate(zip(made.audio, tracks, strict=True)):
            spool.open(number, artefact.ref, artefact.key)
            if keys_away_ms is not None:
                spool.hold(number)
            elif not late:
                spool.release(number)
            for at, chunk in enumerate(track):
                spool.append(number, at * CHUNK_SAMPLES, (at + 1) * CHUNK_SAMPLES, chunk)
            spool.release(number)
            if end:
                spool.close(number)
        left = len(chunks) if end else 0
        while left:
            left -= len(spool.poll())
            time.sleep(0.005)
    return made


def gone_on(recordings: Recordings, made: Spooled, *, chunks: int, after_ms: int) -> None:
    """The call's worker died, and another received so many chunks from that call time on, until it died too."""
    (artefact,) = made.audio
    base = life_begins(1)
    with SpoolWriter(recordings.spool_folder, node="test", file_bytes=4 << 20, commit_s=0.01) as spool:
        spool.open(0, artefact.ref, artefact.key)
        spool.release(0)
        numbers, octets = np.zeros(0, np.int64), np.zeros(0, np.uint8)
        none = Frames(numbers, numbers, numbers, octets, octets, b"")
        began = encode(none, head=base, written_us=after_ms * 1000, pending=Reason.WORKER_LOST)
        spool.append(0, base, base, began)
        for at, raw in enumerate(_track(chunks)):
            chunk = decode(raw)
            frames = replace(
                chunk.frames,
                timestamps=chunk.frames.timestamps + base,
                arrivals_us=chunk.frames.arrivals_us + after_ms * 1000,
                flags=np.array([0 if at else NEW_PIECE | Reason.WORKER_LOST, *[0] * 19], np.uint8),
            )
            start = base + at * CHUNK_SAMPLES
            again = encode(frames, head=0, written_us=chunk.written_us + after_ms * 1000, tally=chunk.tally)
            spool.append(0, start, start + CHUNK_SAMPLES, again)


def ended(recordings: Recordings, made: Spooled) -> None:
    """The call's end, as the gateway writes it."""
    documents = {
        artefact.ref.artefact: track_document(index, str(index), facts.to_json())
        for index, (artefact, facts) in enumerate(zip(made.audio, made.facts, strict=True))
    }
    recordings.put_documents(made.new, documents, CallState.ENDED)


def damage(recordings: Recordings, artefact: NewArtefact, number: int) -> None:
    """Flip a bit in the body of one of the artefact's records."""
    raw = bytes.fromhex(artefact.ref.artefact)
    places = [
        (path, head) for path in spool_files(recordings.spool_folder) for head in scan(path) if head.artefact == raw
    ]
    path, head = places[number]
    _flip(path, head.offset + RECORD_HEADER_BYTES + 5)


def uploaded(uploader: Uploader) -> None:
    """All that is there is uploaded."""
    for now_s in (0.0, 1000.0, 2000.0):
        assert uploader.step(now_s).held is None


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        octet = file.read(1)[0]
        file.seek(at)
        file.write(bytes([octet ^ 1]))


def _track(chunks: int, held_up_us: int | None = None) -> list[bytes]:
    noise = np.random.default_rng(7).normal(0, 5000, chunks * FRAMES_A_CHUNK * FRAME_SAMPLES).astype(np.int16)
    payload = bytes(g711.encode_alaw(noise))
    return [_chunk(number * FRAMES_A_CHUNK, payload, held_up_us) for number in range(chunks)]


def _chunk(first: int, payload: bytes, held_up_us: int | None) -> bytes:
    numbers = np.arange(first, first + FRAMES_A_CHUNK, dtype=np.int64)
    last = first + FRAMES_A_CHUNK
    begun_us = 0 if held_up_us is None else BEGUN_US + held_up_us
    frames = Frames(
        numbers * FRAME_SAMPLES,
        numbers * 20_000 + begun_us,
        np.full(FRAMES_A_CHUNK, FRAME_SAMPLES, np.int64),
        np.full(FRAMES_A_CHUNK, BY_NAME["PCMA"].number, np.uint8),
        np.zeros(FRAMES_A_CHUNK, np.uint8),
        payload[first * FRAME_SAMPLES : last * FRAME_SAMPLES],
    )
    at_us = last * 20_000
    told = [] if held_up_us is None else [Reading(at_us + begun_us, last * FRAME_SAMPLES, (at_us << 32) // 10**6, 7)]
    tally = Tally(packets=last)
    return encode(frames, head=last * FRAME_SAMPLES, written_us=at_us + begun_us, tally=tally, told=told)
