"""Calls of two people for the tests of rights: everything that one of them left in them bears that one's canary."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.calls.call import track_document
from gateway.calls.identifiers import Sort, wanted
from media.codecs import BY_NAME, OPUS, g711
from media.framelog import Frames, Tally, decode, encode
from media.resample import upsampled
from media.timeline import facts_from_chunks
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.recordings import Recordings
from storage.records import Derived, Wanted
from storage.spool import SpoolWriter
from storage.uploader import Uploader
from transcription.model import Track, Transcript, Word
from transcription.redaction import redact

FRAME = 160
PURPOSE = "quality"


@dataclass(frozen=True)
class Who:
    """A person in the corpus: number, name, a word that only this one says, and what seeds this one's noise."""

    number: str
    name: str
    word: str
    seed: int

    def canaries(self) -> list[bytes]:
        """What must be nowhere in another one's export."""
        digits = self.number.removeprefix("+")
        return [text.encode() for text in (digits, self.name, self.word)]


ALICE = Who("+31201111101", "Alice Anneveld", "aardvarkssaga", 1)
BERT = Who("+31202222202", "Bert Boshuizen", "butterflybush", 2)


@dataclass(frozen=True)
class Kept:
    """A call of the corpus: who took part as whom, and the samples of each."""

    call: CallId
    people: tuple[Who, ...]
    participants: tuple[ParticipantId, ...]
    pcm: tuple[bytes, ...]

    def id_of(self, who: Who) -> ParticipantId:
        return self.participants[self.people.index(who)]

    def pcm_of(self, who: Who) -> bytes:
        return self.pcm[self.people.index(who)]


def session(
    folder: Path,
    recordings: Recordings,
    tenant: TenantId,
    people: Sequence[Who] = (ALICE, BERT),
    *,
    seconds: float = 2.0,
    mixed: bool = False,
    opus: bool = False,
    day_text: str = "2026-03-01T10:00:00.000Z",
) -> Kept:
    """A recording session of these people, a track for each, transcribed, stored; with `mixed` all are on the first."""
    ids = [ParticipantId(new_id()) for _ in people]
    call = CallId(new_id())
    recordings.prepare(tenant, [PURPOSE])
    wanted_now = [Wanted(NO_PARTICIPANT, kind, PURPOSE) for kind in (Kind.CALL_DETAIL, Kind.IDENTITY)]
    wanted_now += [Wanted(person, kind, PURPOSE) for person in ids for kind in (Kind.AUDIO, Kind.DTMF)]
    new = recordings.begin(tenant, call, wanted_now)
    recordings.save([new])
    recordings.identify(new, [i for who in people for i in wanted(Sort.NUMBER, who.number, sees_withheld=False)])
    documents = {
        new.find(Kind.CALL_DETAIL).ref.artefact: _detail(ids, day_text),
        new.find(Kind.IDENTITY).ref.artefact: _identity(people, ids, call),
    }
    pcm = []
    with SpoolWriter(folder / "data" / "spool", node="test", file_bytes=8 << 20) as spool:
        for number, (who, person) in enumerate(zip(people, ids, strict=True)):
            audio = new.find(Kind.AUDIO, person)
            spool.open(number, audio.ref, audio.key)
            spool.release(number)
            payload = _payload(who, seconds)
            pcm.append(g711.decode_alaw(payload).astype("<i2").tobytes())
            chunks = _chunks(*_packets(payload, opus))
            for at, chunk in chunks:
                spool.append(number, at, at + 25 * (960 if opus else FRAME), chunk)
            heard = ids if mixed and number == 0 else [person]
            documents[audio.ref.artefact] = track_document(
                number,
                str(number),
                facts_from_chunks([decode(chunk) for _, chunk in chunks]).to_json(),
                {
                    "line": number,
                    "mixed": mixed and number == 0,
                    "participants": [{"id": one, "from_ms": 0.0, "until_ms": None} for one in heard],
                },
            )
            keys = {"keys": [{"key": "5", "at_ms": 1.5, "note": who.word}]}
            documents[new.find(Kind.DTMF, person).ref.artefact] = json.dumps(keys).encode()
            spool.close(number)
        while not spool.poll():
            time.sleep(0.01)
    recordings.put_documents(new, documents, CallState.ENDED)
    _upload(folder, recordings, tenant, call)
    _transcribe(recordings, tenant, call, people, ids)
    return Kept(call, tuple(people), tuple(ids), tuple(pcm))


def plain(
    folder: Path, recordings: Recordings, tenant: TenantId, *, caller: Who = ALICE, called: Who = BERT
) -> tuple[CallId, ParticipantId]:
    """A call that we answered ourselves: one track, the caller's. Its Call-ID has the caller's number in it."""
    call, person = CallId(new_id()), ParticipantId(new_id())
    recordings.prepare(tenant, [PURPOSE])
    wanted_now = [Wanted(NO_PARTICIPANT, kind, PURPOSE) for kind in (Kind.CALL_DETAIL, Kind.IDENTITY)]
    new = recordings.begin(tenant, call, [*wanted_now, Wanted(person, Kind.AUDIO, PURPOSE)])
    recordings.save([new])
    numbers = (caller.number, called.number)
    recordings.identify(new, [i for number in numbers for i in wanted(Sort.NUMBER, number, sees_withheld=False)])
    identity = {
        **{"display": caller.name, "from_uri": f"sip:{caller.number}@a.example", "from_user": caller.number},
        **{"to_uri": f"sip:{called.number}@b.example", "to_user": called.number},
        **{"request_uri": f"sip:{called.number}@b.example", "sip_call_id": f"{called.number}-1@b.example"},
        "asserted_uri": "",
    }
    detail = {"version": 1, "from": caller.number, "to": called.number, "private": False, "trunk": called.word}
    detail |= {"started": "2026-03-01T10:00:00.000Z", "duration_ms": 2000, "recorded": True}
    audio = new.find(Kind.AUDIO, person)
    chunks = _chunks(*_packets(_payload(caller, 1.0), opus=False))
    with SpoolWriter(folder / "data" / "spool", node="test", file_bytes=8 << 20) as spool:
        spool.open(0, audio.ref, audio.key)
        spool.release(0)
        for at, chunk in chunks:
            spool.append(0, at, at + 25 * FRAME, chunk)
        spool.close(0)
        while not spool.poll():
            time.sleep(0.01)
    facts = facts_from_chunks([decode(chunk) for _, chunk in chunks]).to_json()
    documents = {
        new.find(Kind.CALL_DETAIL).ref.artefact: json.dumps(detail).encode(),
        new.find(Kind.IDENTITY).ref.artefact: json.dumps(identity).encode(),
        audio.ref.artefact: track_document(0, "0", facts),
    }
    recordings.put_documents(new, documents, CallState.ENDED)
    _upload(folder, recordings, tenant, call)
    return call, person


def _detail(ids: Sequence[ParticipantId], started: str) -> bytes:
    people = [{"id": person, "from_ms": 0.0, "until_ms": None} for person in ids]
    events = [{"at_ms": 1.0, "what": "hung_up", "line": line} for line in range(len(ids))]
    facts = {"by": "siprec", "metadata": "read", "participants": people, "events": events}
    body = {"version": 1, "from": "recorder", "to": "recorder", "started": started, "duration_ms": 2000}
    return json.dumps(body | {"language": "en", "recorded": True, "recording_session": facts}).encode()


def _identity(people: Sequence[Who], ids: Sequence[ParticipantId], call: CallId) -> bytes:
    told = [
        {"id": person, "addresses": [f"sip:{who.number}@pbx.example"], "name": who.name}
        for who, person in zip(people, ids, strict=True)
    ]
    xml = " ".join(f"<aor>{who.number} {who.name} {who.word}</aor>" for who in people)
    found = {"sessions": [call], "participants": told, "metadata": [{"at_ms": 0, "xml": xml}]}
    return json.dumps({"from_uri": "sip:src@pbx.example", "recording_session": found}).encode()


def _payload(who: Who, seconds: float) -> bytes:
    noise = np.random.default_rng(who.seed).normal(0, 5000, int(seconds * 50) * FRAME).astype(np.int16)
    return bytes(g711.encode_alaw(noise))


def _packets(payload: bytes, opus: bool) -> tuple[list[bytes], str, int]:
    """Packets of 20 ms, their codec, and how many ticks of its clock each lasts."""
    if opus:
        return OPUS.packets(upsampled(g711.decode_alaw(payload), 6), 20), "OPUS", 960
    return [payload[at : at + FRAME] for at in range(0, len(payload), FRAME)], "PCMA", FRAME


def _chunks(packets: Sequence[bytes], codec: str, ticks: int) -> list[tuple[int, bytes]]:
    made = []
    for first in range(0, len(packets), 25):
        part = packets[first : first + 25]
        numbers = np.arange(first, first + len(part), dtype=np.int64)
        frames = Frames(
            numbers * ticks,
            numbers * 20_000,
            np.array([len(packet) for packet in part], np.int64),
            np.full(len(part), BY_NAME[codec].number, np.uint8),
            np.zeros(len(part), np.uint8),
            b"".join(part),
        )
        end = (first + len(part)) * 20_000
        made.append(
            (first * ticks, encode(frames, head=first * ticks, written_us=end, tally=Tally(packets=first + len(part))))
        )
    return made


def _upload(folder: Path, recordings: Recordings, tenant: TenantId, call: CallId) -> None:
    with Uploader(folder / "data" / "spool", recordings.slices, recordings.objects) as uploader:
        while recordings.call(tenant, call).state is not CallState.STORED:
            uploader.step(time.monotonic())


def _transcribe(
    recordings: Recordings, tenant: TenantId, call: CallId, people: Sequence[Who], ids: Sequence[ParticipantId]
) -> None:
    items: list[Derived] = []
    for who, person in zip(people, ids, strict=True):
        spoken = ["my", "name", "is", *who.name.split(), who.word]
        words = tuple(Word(text, 300 * n, 300 * n + 250, 0.9) for n, text in enumerate(spoken))
        transcript = Transcript("en", "test", (Track(person, words),))
        redacted, _ = redact(transcript)
        items.append(Derived(person, Kind.TRANSCRIPT, PURPOSE, transcript.to_json()))
        items.append(Derived(person, Kind.REDACTED_TRANSCRIPT, PURPOSE, redacted.to_json()))
    recordings.add_derived(tenant, call, (), items)
