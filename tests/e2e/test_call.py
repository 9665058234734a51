"""One call's whole life on a real server: audio exact, tenants apart, nothing in clear, erased for good."""

from __future__ import annotations

import asyncio
import json
import queue
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.caller import CallFailed, CallResult, Track, place_call
from gateway.client import Client
from media.codecs import g711
from storage.ledger import verify_certificate
from storage.model import CallId
from storage.probe import Today, prove
from tests.e2e.system import System, call_from, running, status, until

RATE_HZ = 8000
CONFIG = """
[[tenants]]
name = "acme"

[[tenants]]
name = "beta"

[[tenants]]
name = "silent"
record = "events"

[[trunks]]
name = "acme-trunk"
tenant = "acme"
sources = ["127.0.0.1/32"]
dialled = { "800" = "beta", "900" = "silent" }
"""


def tone(seconds: float, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """A waveform that stands out wherever it would appear in clear: seeded noise with pauses, loud as speech."""
    chance = np.random.default_rng(seed)
    samples = chance.normal(0, 6000, int(seconds * RATE_HZ)).clip(-30000, 30000)
    return np.asarray(samples, np.int16)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    (folder / "callvault.toml").write_text(CONFIG)
    with running(folder, CALLVAULT_CONFIG=str(folder / "callvault.toml")) as started:
        yield started


def place(
    system: System, user: str, *tracks: int, to: str = "100", seconds: float = 2.0, codec: str = "PCMA"
) -> CallResult:
    pcm = [Track(tone(seconds, seed)) for seed in tracks]
    return asyncio.run(place_call(system.sip, pcm, codec=codec, from_user=user, to_user=to))


def heard(client: Client, call: str, track: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    wav = client.get(f"/v1/calls/{call}/audio?track={track}")
    return np.frombuffer(wav[44:], "<i2")


@pytest.mark.parametrize(("codec", "ptime_ms"), [("PCMA", 20), ("PCMU", 30), ("PCMA", 60), ("PCMU", 10)])
def test_downloaded_audio_is_the_decoded_audio_that_was_sent(system: System, codec: str, ptime_ms: int) -> None:
    client = system.client("acme")
    user = f"exact-{codec}-{ptime_ms}"
    tracks = [Track(tone(1.8, 1)), Track(tone(1.8, 2))]
    result = asyncio.run(place_call(system.sip, tracks, codec=codec, ptime_ms=ptime_ms, from_user=user, to_user="100"))
    call = until(lambda: call_from(client, user))["id"]
    decode = g711.decode_alaw if codec == "PCMA" else g711.decode_ulaw
    detail = client.json(f"/v1/calls/{call}")
    for number, payload in enumerate(result.payloads):
        samples = heard(client, call, number)
        sent = decode(payload)
        offset = round(detail["tracks"][number]["track"]["facts"]["map"][0][2] * RATE_HZ / 1_000_000)
        assert np.array_equal(samples[offset : offset + len(sent)], sent)
        assert not samples[:offset].any()
        assert not samples[offset + len(sent) :].any()
        quality = detail["tracks"][number]["track"]["quality"]
        assert quality["loss_percent"] == 0
        assert 1 < quality["mos"] <= 4.41  # by how busy the machine was: jitter


def test_any_byte_range_equals_that_part_of_the_whole(system: System) -> None:
    client = system.client("acme")
    place(system, "ranges", 3, 4)
    call = until(lambda: call_from(client, "ranges", "stored"))["id"]
    whole = client.get(f"/v1/calls/{call}/audio")
    chance = np.random.default_rng(5)
    for _ in range(25):
        start, end = sorted(int(n) for n in chance.integers(0, len(whole), 2))
        part = client.get(f"/v1/calls/{call}/audio", {"Range": f"bytes={start}-{end}"})
        assert part == whole[start : end + 1]


def test_speech_is_told_live_and_every_call_begins_and_ends_once(system: System) -> None:
    client = system.client("acme")
    seen: queue.SimpleQueue[tuple[str, dict[str, object]]] = queue.SimpleQueue()

    events = client.events(timeout_s=20)

    def read() -> None:
        for name, fields in events:
            seen.put((name, fields))
            if name == "call_stored":
                return

    reader = threading.Thread(target=read)
    reader.start()
    place(system, "events", 6, seconds=1.5)
    reader.join(20)
    names = []
    while not seen.empty():
        names.append(seen.get()[0])
    assert names.count("call_started") == names.count("call_ended") == names.count("call_stored") == 1
    assert "speech_started" in names


def test_the_dialled_number_finds_the_tenant_and_the_other_tenant_sees_nothing(system: System) -> None:
    acme, beta = system.client("acme"), system.client("beta")
    place(system, "for-beta", 7, to="800555")
    call = until(lambda: call_from(beta, "for-beta", "stored"))["id"]
    assert call_from(acme, "for-beta") is None
    for path in ("", "/audio", "/manifest", "/transcript", "/certificate"):
        assert status(acme, f"/v1/calls/{call}{path}") == 404
    assert status(Client(acme.url, "wrong"), "/v1/calls") == 401


def test_an_agent_may_not_erase_or_read_originals(system: System) -> None:
    agent = system.client("acme", "agent")
    place(system, "for-agent", 8)
    call = until(lambda: call_from(agent, "for-agent", "stored"))["id"]
    assert status(agent, f"/v1/calls/{call}/audio") == 200
    assert status(agent, f"/v1/calls/{call}/transcript/original") == 403
    with pytest.raises(Exception, match="403"):
        agent.post(f"/v1/calls/{call}/erasure", {})


def test_an_unknown_source_is_refused_and_leaves_nothing(system: System) -> None:
    client = system.client("acme")
    before, counted = client.json("/v1/calls")["calls"], client.json("/health/counters")
    with pytest.raises(CallFailed, match="403"):
        asyncio.run(place_call(system.sip, [Track(tone(0.5, 9))], local_address="127.0.0.2", from_user="stranger"))
    assert client.json("/v1/calls")["calls"] == before
    refused = "refused_unknown_source"
    assert client.json("/health/counters")[refused] == counted.get(refused, 0) + 1


def test_a_tenant_of_live_events_only_gets_events_and_nothing_is_stored(system: System) -> None:
    silent = system.client("silent")
    place(system, "not-kept", 10, to="900")
    assert silent.json("/v1/calls")["calls"] == []


def test_an_emergency_call_is_answered_and_not_recorded(system: System) -> None:
    client = system.client("acme")
    place(system, "in-need", 11, to="112")
    row = until(lambda: call_from(client, "in-need"))
    assert row["state"] == "not_recorded"
    assert row["detail"]["why"] == "emergency call"
    assert status(client, f"/v1/calls/{row['id']}/audio") == 409


def test_a_call_without_a_single_packet_ends_as_no_media(system: System) -> None:
    client = system.client("acme")
    silent = Track(np.zeros(0, np.int16))
    asyncio.run(place_call(system.sip, [silent], from_user="mute", to_user="100"))
    assert until(lambda: call_from(client, "mute"))["state"] == "no_media"


def test_erasure_holds_against_a_backup_and_spares_the_others(system: System, tmp_path: Path) -> None:
    client = system.client("acme")
    place(system, "to-be-erased", 14)
    place(system, "to-be-kept", 15)
    gone = until(lambda: call_from(client, "to-be-erased", "stored"))["id"]
    kept = until(lambda: call_from(client, "to-be-kept", "stored"))["id"]
    before = client.get(f"/v1/calls/{kept}/audio")
    backup = tmp_path / "backup"
    shutil.copytree(system.data, backup, ignore=shutil.ignore_patterns("queue"))
    data = system.data
    keys, witness = f"file:{system.folder / 'data-keys'}", f"file:{system.folder / 'data-witness'}"
    today = Today(data, keys, f"file:{data / 'objects'}", witness)
    assert prove(CallId(gone), [backup], today).opened  # the probe can open what is not erased
    certificate = client.post(f"/v1/calls/{gone}/erasure", {"ground": "Art. 17(1) GDPR"})
    proof = prove(CallId(gone), [backup], today)
    assert proof.control_opened
    assert proof.holds
    shown = system.command("prove-erased", gone, "--backup", str(backup))
    assert (shown.returncode, f"nothing of call {gone} opens" in shown.stdout) == (0, True)
    assert system.command("prove-erased", kept, "--backup", str(backup)).returncode == 1
    for path in ("/audio", "/transcript", "/manifest"):
        assert status(client, f"/v1/calls/{gone}{path}") == 410
    assert client.json(f"/v1/calls/{gone}") == {"id": gone, "state": "erased", "day": certificate_day(client, gone)} | {
        "tracks": []
    }
    assert client.get(f"/v1/calls/{kept}/audio") == before
    assert not list((system.data / "objects").rglob(f"*{gone}*/*"))
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate))
    fingerprint = system.command("tenant").stdout.split()[2]
    verify_certificate(certificate, fingerprint)
    assert system.command("verify", str(file), "--fingerprint", fingerprint).returncode == 0
    file.write_text(json.dumps(certificate).replace(gone, kept))
    assert system.command("verify", str(file), "--fingerprint", fingerprint).returncode == 1
    assert system.command("verify", str(file), "--fingerprint", "00" * 32).returncode == 1


def certificate_day(client: Client, call: str) -> str:
    return str(next(row["day"] for row in client.json("/v1/calls")["calls"] if row["id"] == call))


def test_a_live_call_that_is_erased_ends_and_leaves_nothing(system: System) -> None:
    client = system.client("acme")
    task = threading.Thread(target=lambda: place(system, "erased-alive", 16, seconds=20))
    task.start()
    call = until(lambda: call_from(client, "erased-alive", "live"))["id"]
    client.post(f"/v1/calls/{call}/erasure", {})
    task.join(10)
    assert not task.is_alive()  # our BYE ended it long before its 20 s
    assert status(client, f"/v1/calls/{call}/audio") == 410
