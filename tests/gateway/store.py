"""A real recording store for gateway tests, with a call in it that came the way of the spool and the uploader."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gateway.calls.call import track_document
from media.codecs import BY_NAME, g711
from media.framelog import Frames, Reason, Tally, decode, encode, noise_step
from media.timeline import facts_from_chunks
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.places import Place
from storage.recordings import Recordings
from storage.records import Wanted
from storage.spool import SpoolWriter
from storage.uploader import Uploader

FRAMES_A_CHUNK = 12
FRAME_SAMPLES = 160


@contextmanager
def opened(folder: Path, kind: type[Recordings] = Recordings, places: Sequence[Place] = ()) -> Iterator[Recordings]:
    """A fresh store in a folder."""
    keys, objects = f"file:{folder / 'keys'}", f"file:{folder / 'objects'}"
    with kind.open(folder / "data", keys, objects, node="test", places=places) as recordings:
        yield recordings


def recorded(
    folder: Path,
    recordings: Recordings,
    tenant: TenantId,
    seconds: float,
    noise_db: int | None = None,
    lost: Collection[int] = (),
) -> tuple[CallId, bytes]:
    """A stored call of one track, and the A-law bytes that it holds; with `noise_db` then 2 s of such a silence.

    Its frames, of 20 ms, with the numbers `lost` are.
    """
    person, call = ParticipantId(new_id()), CallId(new_id())
    wanted = [Wanted(NO_PARTICIPANT, Kind.CALL_DETAIL, "quality"), Wanted(person, Kind.AUDIO, "quality")]
    recordings.prepare(tenant, ["quality"])
    new = recordings.begin(tenant, call, wanted)
    recordings.save([new])
    audio = new.find(Kind.AUDIO, person)
    frames = int(seconds * 50)
    noise = np.random.default_rng(1).normal(0, 5000, frames * FRAME_SAMPLES).astype(np.int16)
    payload = bytes(g711.encode_alaw(noise))
    chunks = []
    with SpoolWriter(folder / "data" / "spool", node="test", file_bytes=4 << 20) as spool:
        spool.open(1, audio.ref, audio.key)
        spool.release(1)
        for first in range(0, frames, FRAMES_A_CHUNK):
            chunk = _chunk(first, min(FRAMES_A_CHUNK, frames - first), payload, lost)
            chunks.append(decode(chunk))
            spool.append(1, first * FRAME_SAMPLES, (first + FRAMES_A_CHUNK) * FRAME_SAMPLES, chunk)
        if noise_db is not None:
            last, silence = frames * FRAME_SAMPLES, _silence(frames, noise_db)
            chunks.append(decode(silence))
            spool.append(1, last, last, silence)
        spool.close(1)
        while not spool.poll():
            time.sleep(0.01)
    facts = facts_from_chunks(chunks).to_json()
    detail = json.dumps({"from": "100", "language": "en"}).encode()
    documents = {
        new.find(Kind.CALL_DETAIL).ref.artefact: detail,
        audio.ref.artefact: track_document(0, "0", facts),
    }
    recordings.put_documents(new, documents, CallState.ENDED)
    uploader = Uploader(folder / "data" / "spool", recordings.slices, recordings.objects)
    try:
        while recordings.call(tenant, call).state is not CallState.STORED:
            uploader.step(time.monotonic())
    finally:
        uploader.close()
    return call, payload


def _chunk(first: int, count: int, payload: bytes, lost: Collection[int]) -> bytes:
    kept = [number for number in range(first, first + count) if number not in lost]
    numbers, start = np.array(kept, np.int64), first * FRAME_SAMPLES
    frames = Frames(
        numbers * FRAME_SAMPLES,
        numbers * 20_000,
        np.full(len(kept), FRAME_SAMPLES, np.int64),
        np.full(len(kept), BY_NAME["PCMA"].number, np.uint8),
        np.zeros(len(kept), np.uint8),
        b"".join(payload[number * FRAME_SAMPLES : (number + 1) * FRAME_SAMPLES] for number in kept),
    )
    return encode(frames, head=start, written_us=(first + count) * 20_000, tally=Tally(packets=first + count))


def _silence(after: int, level_db: int) -> bytes:
    """Two seconds in which the sender told what its silence sounds like."""
    column, octets = np.zeros(0, np.int64), np.zeros(0, np.uint8)
    frames = Frames(column, column, column, octets, octets, b"")
    return encode(
        frames,
        head=after * FRAME_SAMPLES,
        written_us=after * 20_000 + 2_000_000,
        pending=Reason.DTX,
        noise=noise_step(level_db),
        tally=Tally(packets=after),
    )
