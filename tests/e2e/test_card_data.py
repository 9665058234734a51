"""Card data on a real server: what is said in a pause, and every key, is nowhere, or only where it may be."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from benchmarks.keytones import dialled, silence
from benchmarks.recorded import EVERYTHING
from gateway.client import ApiError, Client
from media import framelog
from media.codecs import CODECS, Codec, Plain, g711
from media.codecs.g711 import Samples
from storage.model import ArtefactId
from storage.recordings import Recordings
from tests.e2e.handset import Handset
from tests.e2e.system import System, call_from, running, status, until
from tests.media.test_masking_apart import keys_at_any_offset, readable

CONFIG = """
[[tenants]]
name = "acme"
transcribe = false

[[tenants]]
name = "keeper"
dtmf = "keep"
transcribe = false

[[tenants]]
name = "brief"
pause_limit_s = 1
transcribe = false

[[trunks]]
name = "pbx"
tenant = "acme"
sources = ["127.0.0.1/32"]
dialled = { "800" = "keeper", "700" = "brief" }
pause_by_info = true

[[trunks]]
name = "carrier"
tenant = "acme"
sources = ["127.0.0.2/32"]
"""


def speech(ms: int, seed: int) -> Samples:
    """A waveform that stands out wherever it would appear."""
    return np.random.default_rng(seed).normal(0, 6000, ms * 8).clip(-30_000, 30_000).astype(np.int16)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("card-data")
    (folder / "callvault.toml").write_text(CONFIG)
    with running(folder, CALLVAULT_CONFIG=str(folder / "callvault.toml")) as started:
        yield started


def heard(client: Client, call: str) -> Samples:
    return np.frombuffer(client.get(f"/v1/calls/{call}/audio")[44:], "<i2")


def has(samples: Samples, coded: bytes) -> list[bool]:
    """Which 20 ms pieces of what was sent are in a download."""
    raw, sent = samples.tobytes(), g711.decode_alaw(coded)
    return [sent[at : at + 160].tobytes() in raw for at in range(0, len(sent) - 159, 160)]


def live(client: Client, user: str) -> str:
    return str(until(lambda: call_from(client, user, "live"))["id"])


def test_what_is_said_in_a_pause_is_not_kept_and_the_rest_is_in_its_place(system: System) -> None:
    client = system.client("acme", "agent")
    seen: queue.SimpleQueue[tuple[str, dict[str, object]]] = queue.SimpleQueue()
    events = client.events(timeout_s=20)

    def read() -> None:
        for name, fields in events:
            seen.put((name, fields))
            if name == "call_ended":
                return

    reader = threading.Thread(target=read)
    reader.start()
    with Handset(system.sip, "pauser") as handset:
        before = handset.say(speech(600, 1))
        call = live(client, "pauser")
        paused = client.post(f"/v1/calls/{call}/pause", {})
        assert client.post(f"/v1/calls/{call}/pause", {}) == paused
        card = handset.say(speech(600, 2))
        resumed = client.post(f"/v1/calls/{call}/resume", {})
        after = handset.say(speech(600, 3))
    row = until(lambda: call_from(client, "pauser"))
    reader.join(20)
    samples = heard(client, call)
    assert all(has(samples, before))
    assert all(has(samples, after))
    assert not any(has(samples, card))
    span = resumed["pause"]
    assert row["detail"]["pauses"] == [span]
    assert (span["by"], span["ended_by"], span["start_ms"]) == ("agent", "agent", paused["pause"]["start_ms"])
    gaps = client.json(f"/v1/calls/{call}")["tracks"][0]["track"]["facts"]["gaps"]
    [gap] = [gap for gap in gaps if gap[2] == "paused"]
    assert gap[0] / 1000 <= span["start_ms"] + 40  # from the last packet before the pause
    assert gap[1] / 1000 >= span["end_ms"] - 40  # to the first one after it
    begin, end = round(gap[0] * 8 / 1000), round(gap[1] * 8 / 1000)
    assert not samples[begin:end].any()
    told = []
    while not seen.empty():
        name, fields = seen.get()
        told += [(name, fields.get("by"))] if name.startswith("recording_") else []
    assert told == [("recording_paused", "agent"), ("recording_resumed", "agent")]
    with pytest.raises(ApiError, match="409"):
        client.post(f"/v1/calls/{call}/pause", {})


def test_a_peer_pauses_by_info_where_its_trunk_may_and_only_within_its_call(system: System) -> None:
    client = system.client("acme")
    with Handset(system.sip, "key") as handset, Handset(system.sip, "other", host="127.0.0.2") as other:
        assert handset.ask("INFO", extra="Record: off").status == 200
        card = handset.say(speech(400, 4))
        assert other.ask("INFO", extra="Record: off").status == 403
        assert handset.ask("INFO", extra="Record: on", sip=other._sip).status == 403  # another trunk's address
        assert handset.ask("INFO", extra="Record: on").status == 200
        after = handset.say(speech(400, 5))
        tag, handset._tag = handset._tag, "guessed"
        assert handset.ask("INFO", extra="Record: off").status == 481
        handset._tag = tag
    row = until(lambda: call_from(client, "key"))
    [span] = row["detail"]["pauses"]
    assert (span["by"], span["ended_by"]) == ("sip", "sip")
    samples = heard(client, row["id"])
    assert all(has(samples, after))
    assert not any(has(samples, card))
    assert until(lambda: call_from(client, "other"))["detail"]["pauses"] == []
    counted = client.json("/health/counters")
    assert counted["refused_pause_by_info"] == 1
    assert counted["refused_other_trunk"] == 1


def test_a_pause_ends_by_itself_after_the_policys_limit(system: System) -> None:
    client = system.client("brief")
    with Handset(system.sip, "forgetful", "700") as handset:
        call = live(client, "forgetful")
        assert client.post(f"/v1/calls/{call}/pause", {})["limit_s"] == 1
        handset.say(speech(1400, 6))
        after = handset.say(speech(400, 7))
    row = until(lambda: call_from(client, "forgetful"))
    [span] = row["detail"]["pauses"]
    assert span["ended_by"] == "policy"
    assert span["end_ms"] - span["start_ms"] == pytest.approx(1000, abs=300)
    assert all(has(heard(client, call), after))


KEYS = "4929 1100".replace(" ", "")


def dial(handset: Handset) -> bytes:
    """Press the same keys in every way there is; what was sent of their tones."""
    said = handset.say(np.concatenate((speech(300, 8), silence(100), dialled(KEYS, 60), silence(100))))
    for key in KEYS:
        handset.press(int(key))
    for key in KEYS:
        relay = f"Signal={key}\r\nDuration=161\r\n".encode()
        assert handset.ask("INFO", body=relay, extra="Content-Type: application/dtmf-relay").status == 200
    handset.say(speech(300, 9))
    return said


@pytest.fixture(scope="module")
def dialled_calls(system: System) -> dict[tuple[str, str], bytes]:
    """Calls to both tenants in every codec, at once; by who called, what was sent of the keys' tones."""

    def call(way: tuple[str, Codec]) -> bytes:
        to, codec = way
        with Handset(system.sip, f"{codec.name}-{to}", to, codec=codec) as handset:
            return dial(handset)

    ways = [(to, codec) for to in ("100", "800") for codec in CODECS]
    with ThreadPoolExecutor(len(ways)) as threads:
        return {(codec.name, to): sent for (to, codec), sent in zip(ways, threads.map(call, ways), strict=True)}


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_keys_are_nowhere_by_default(system: System, dialled_calls: dict[tuple[str, str], bytes], codec: Codec) -> None:
    client = system.client("acme")
    row = until(lambda: call_from(client, f"{codec.name}-100", "stored"))
    assert "dtmf" not in {artefact["kind"] for artefact in row["artefacts"]}
    assert status(client, f"/v1/calls/{row['id']}/keys") == 409
    nowhere(system, client, row["id"], codec, dialled_calls[codec.name, "100"])
    [track] = client.json(f"/v1/calls/{row['id']}")["tracks"]
    facts = track["track"]["facts"]
    assert (facts["codecs"], facts["lost"]) == ([codec.name], 0)
    assert [gap[2] for gap in facts["gaps"]].count("masked") == 1
    objects, keys = f"file:{system.data / 'objects'}", f"file:{system.data}-keys"
    with closing(Recordings.open(system.data, keys, objects, node="test")) as recordings:
        stream = recordings.stream(recordings.tenant("acme"), ArtefactId(track["artefact"]))
        kept = framelog.joined([framelog.decode(raw).frames for raw in stream.read(*EVERYTHING)])
    assert len(kept.codecs) == facts["packets"] > 80
    if isinstance(codec, Plain):
        assert keys_at_any_offset(codec.decode(kept.payload)) == set()
    else:
        assert readable(codec, kept) == set()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_keys_that_the_policy_keeps_are_sealed_and_open_for_officers_only(
    system: System, dialled_calls: dict[tuple[str, str], bytes], codec: Codec
) -> None:
    client, agent = system.client("keeper", "officer"), system.client("keeper", "agent")
    call = until(lambda: call_from(client, f"{codec.name}-800", "stored"))["id"]
    assert status(agent, f"/v1/calls/{call}/keys") == 403
    [participant] = client.json(f"/v1/calls/{call}/keys")["participants"]
    for way in ("inband", "rtp", "info"):
        keys = [key for key in participant["keys"] if key["way"] == way]
        assert "".join(key["key"] for key in keys) == KEYS
    times = [key["at_ms"] for key in participant["keys"]]
    assert times == sorted(times)
    nowhere(system, agent, call, codec, dialled_calls[codec.name, "800"])


def nowhere(system: System, client: Client, call: str, codec: Codec, said: bytes) -> None:
    """No key in any file, log, event or answer: neither as text nor as the packets that told of it."""
    needles = [KEYS.encode(), b"Signal=", b"dtmf-relay", b'"key": "4"', b"Duration=161"]
    per_ms = len(said) / (400 + len(KEYS) * 120 + 100)
    tones = [round((400 + number * 120 + 30) * per_ms) for number in range(len(KEYS))]  # the middle of each
    needles += [said[at : at + 24] for at in tones] if codec.in_octets else [said[at : at + 12] for at in tones]
    for path in system.folder.rglob("*"):
        if path.is_file() and path.name != "callvault.toml":
            raw = path.read_bytes()
            assert not [needle for needle in needles if needle in raw], path.name
    for part in ("", "/manifest"):
        answer = json.dumps(client.json(f"/v1/calls/{call}{part}")).encode()
        assert not [needle for needle in needles if needle in answer]


def test_no_event_tells_a_key(system: System) -> None:
    client = system.client("acme", "agent")
    seen: list[str] = []
    events = client.events(timeout_s=20)

    def read() -> None:
        for name, fields in events:
            seen.append(f"{name} {json.dumps(fields)}")
            if name == "call_ended":
                return

    reader = threading.Thread(target=read)
    reader.start()
    with Handset(system.sip, "heard") as handset:
        dial(handset)
    reader.join(20)
    assert any(text.startswith("call_started") for text in seen)
    assert not [text for text in seen if KEYS in text or "key" in text or "inband" in text or "dtmf" in text]
