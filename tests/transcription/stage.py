"""A recorded call in a real store, made without a network: G.711 chunks through the spool, call detail, and the job."""

from __future__ import annotations

import json
import sys
import time
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from media.codecs import PCMA
from media.framelog import NEW_PIECE, Frames, decode, encode
from media.timeline import facts_from_chunks
from storage.model import CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.places import Place
from storage.recordings import Recordings
from storage.records import NewCall, Wanted
from storage.spool import SpoolWriter
from transcription.audio import resample

RATE_HZ = 8000
FRAME = 160
CHUNK_FRAMES = 50
LANGUAGE = "en"

Samples = NDArray[np.int16]


@contextmanager
def opened_store(folder: Path, places: Sequence[Place] = ()) -> Iterator[Recordings]:
    """A store with everything embedded."""
    keys, objects = f"file:{folder / 'keys'}", f"file:{folder / 'data' / 'objects'}"
    store = Recordings.open(folder / "data", keys, objects, node="test", places=places)
    with store:
        yield store


def begin_call(store: Recordings, tracks: int) -> NewCall:
    """A live call of a new tenant with that many participants."""
    tenant = store.tenant(f"tenant {new_id()}")
    participants = [ParticipantId(new_id()) for _ in range(tracks)]
    wanted = [Wanted(participant, Kind.AUDIO, "quality") for participant in participants]
    new = store.begin(tenant, CallId(new_id()), [*wanted, Wanted(ParticipantId("0" * 32), Kind.CALL_DETAIL, "quality")])
    store.save([new])
    return new


def end_call(store: Recordings, new: NewCall, tracks: Sequence[Samples], *, start_s: float = 0.0) -> None:
    """Spools the tracks as received from `start_s` of call time on, and ends the call with a transcription job."""
    audio = [artefact for artefact in new.artefacts if artefact.ref.kind is Kind.AUDIO]
    documents = {new.find(Kind.CALL_DETAIL).ref.artefact: json.dumps({"language": LANGUAGE}).encode()}
    with SpoolWriter(store.spool_folder, node="test", file_bytes=4 << 20) as writer:
        for number, (artefact, pcm) in enumerate(zip(audio, tracks, strict=True)):
            writer.open(number, artefact.ref, artefact.key)
            writer.release(number)
            chunks = list(chunks_of(pcm, start_s))
            for start, end, chunk in chunks:
                writer.append(number, start, end, chunk)
            writer.close(number)
            facts = facts_from_chunks(decode(chunk) for _start, _end, chunk in chunks).to_json()
            documents[artefact.ref.artefact] = json.dumps({"facts": facts if chunks else {}}).encode()
        ended: set[int] = set()
        while len(ended) < len(audio):
            ended.update(writer.poll())
            time.sleep(0.005)
    store.put_documents(new, documents, CallState.ENDED, jobs=["transcribe"])


def recorded_call(store: Recordings, tracks: Sequence[Samples], *, start_s: float = 0.0) -> tuple[TenantId, CallId]:
    """A whole call: begun, spooled, ended."""
    new = begin_call(store, len(tracks))
    end_call(store, new, tracks, start_s=start_s)
    return new.tenant, new.call


def chunks_of(pcm: Samples, start_s: float) -> Iterator[tuple[int, int, bytes]]:
    """The track as A-law chunks of a second: (first timestamp, last timestamp, chunk)."""
    payload = PCMA.encode(pcm[: len(pcm) // FRAME * FRAME])
    base, base_us = 1_000_000, round(start_s * 1_000_000)
    for first in range(0, len(payload) // FRAME, CHUNK_FRAMES):
        count = min(CHUNK_FRAMES, len(payload) // FRAME - first)
        places = np.arange(first, first + count, dtype=np.int64)
        flags = np.zeros(count, np.uint8)
        flags[0] = NEW_PIECE if first == 0 else 0
        frames = Frames(
            timestamps=base + places * FRAME,
            arrivals_us=base_us + places * 20_000,
            lengths=np.full(count, FRAME, np.int64),
            codecs=np.full(count, PCMA.number, np.uint8),
            flags=flags,
            payload=payload[first * FRAME : (first + count) * FRAME],
        )
        written_us = base_us + (first + count) * 20_000
        start = base + first * FRAME
        yield start, start + count * FRAME, encode(frames, head=start, written_us=written_us)


def read_wav(path: Path) -> Samples:
    """The first channel of a WAV file at telephone rate."""
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())[:, 0]
        return resample(pcm, file.getframerate(), RATE_HZ)


def installed(package: str, name: str) -> Path:
    """A data file of an installed package."""
    for folder in map(Path, sys.path):
        if (folder / package / name).is_file():
            return folder / package / name
    raise FileNotFoundError(f"{package}/{name}")


def through_g711(pcm: Samples) -> Samples:
    """The same as a telephone network passes it on."""
    return PCMA.decode(PCMA.encode(pcm))
