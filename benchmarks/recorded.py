"""What an installation has stored, found by opening it: the benchmarks believe no counter of callvault's own."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from media import framelog
from storage.model import CallState, Kind, TenantId
from storage.recordings import Recordings
from storage.records import CallRecord

PAGE = 500
POLL_S = 0.25
EVERYTHING = (-(1 << 62), 1 << 62)  # a range of media timestamps that holds any
NOT_KEPT = ("lost", "late", "duplicate", "foreign", "discarded", "withheld")
UNFINISHED = (CallState.LIVE, CallState.ENDED)
PROBE_OCTETS = 800  # 100 ms, found once in a circle of human speech


@dataclass(frozen=True, slots=True)
class Found:
    """What was opened. A frame counts once, however often it was stored."""

    tracks: int
    frames: int
    repeated: int  # frames stored more than once
    intact: int  # tracks whose audio is, octet for octet and without a gap, a part of the speech that was sent
    tally: dict[str, int]  # callvault's own account of packets that it did not keep, to explain a loss, not to count it


def all_calls(recordings: Recordings, tenant: TenantId) -> Iterator[CallRecord]:
    """Every call of a tenant, newest first."""
    page = recordings.calls(tenant, limit=PAGE)
    while page:
        yield from page
        page = recordings.calls(tenant, limit=PAGE, before=page[-1].id)


def wait_until_stored(recordings: Recordings, tenant: TenantId, calls: int, timeout_s: float) -> Counter[str]:
    """The states of all calls, once `calls` of them are finished or the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        states = Counter(call.state for call in all_calls(recordings, tenant))
        finished = sum(states.values()) - sum(states[state] for state in UNFINISHED)
        if finished >= calls or time.monotonic() > deadline:
            return Counter({state.value: count for state, count in states.items()})
        time.sleep(POLL_S)


def open_all(recordings: Recordings, tenant: TenantId, circle: bytes) -> Found:
    """Open every recording and count its frames; compare the audio with the speech that was sent in a circle."""
    tracks = frames = repeated = intact = 0
    tally: Counter[str] = Counter()
    for call in all_calls(recordings, tenant):
        for artefact in call.find(Kind.AUDIO):
            read = recordings.stream(tenant, artefact.ref.artefact).read(*EVERYTHING)
            chunks = [framelog.decode(raw).frames for raw in read]
            tracks += 1
            facts = json.loads(recordings.document(tenant, artefact.ref.artefact))["facts"]
            tally.update({name: int(facts.get(name, 0)) for name in NOT_KEPT})
            if not chunks:
                continue
            stamps = np.concatenate([chunk.timestamps for chunk in chunks])
            unique = len(np.unique(stamps))
            frames += unique
            repeated += len(stamps) - unique
            in_order = bool((np.diff(stamps) == framelog_ticks(chunks)).all())
            intact += in_order and is_part_of(circle, b"".join(chunk.payload for chunk in chunks))
    return Found(tracks, frames, repeated, intact, {name: count for name, count in tally.items() if count})


def framelog_ticks(chunks: list[framelog.Frames]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """How far each frame's successor should be from it."""
    return np.concatenate([chunk.durations for chunk in chunks])[:-1]


def is_part_of(circle: bytes, audio: bytes) -> bool:
    """Whether `audio` is what somebody says who goes round the circle, from wherever."""
    start = (circle + circle[:PROBE_OCTETS]).find(audio[:PROBE_OCTETS])
    if start < 0:
        return False
    laps = (start + len(audio)) // len(circle) + 1
    return (circle * laps)[start : start + len(audio)] == audio
