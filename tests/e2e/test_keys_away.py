"""A real key provider is away while calls come: refused, or held in memory, whole when it is back, none lost unseen."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.caller import CallFailed, CallResult, Track, place_call
from gateway.client import ApiError, Client
from gateway.config import load
from gateway.operations.doctor.held import held
from gateway.operations.doctor.row import State
from media.codecs import g711
from storage.spoolfile import scan, spool_files
from tests.canary import Canaries
from tests.e2e.system import System, call_from, until
from tests.e2e.test_call import RATE_HZ, heard, tone
from tests.storage.keyservers import OpenBao

CONFIG = """
[[tenants]]
name = "refusing"
keys = "{url}"

[[tenants]]
name = "holding"
keys = "{url}"
when_keys_away = "hold"
transcribe = false

[[trunks]]
name = "trunk"
tenant = "holding"
sources = ["127.0.0.1/32"]
dialled = {{ "700" = "refusing" }}
"""
SECONDS = 1.2


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    server = OpenBao(tmp_path_factory.mktemp("bao"))
    yield server
    server.kill()


@pytest.fixture
def system(tmp_path: Path, bao: OpenBao) -> Iterator[System]:
    """Started while the provider of both tenants is sealed, so that no keys are prepared; it is unsealed at the end."""
    (tmp_path / "callvault.toml").write_text(CONFIG.format(url=bao.url(bao.mount())))
    system = System(tmp_path, {"CALLVAULT_CONFIG": str(tmp_path / "callvault.toml"), "CALLVAULT_SIP__DRAIN_S": "0"})
    with bao.sealed():
        system.start()
        try:
            yield system
        finally:
            if system.process is not None:
                system.stop()


def call(system: System, user: str, *seeds: int, to: str = "800", seconds: float = SECONDS) -> CallResult:
    tracks = [Track(tone(seconds, seed)) for seed in seeds]
    return asyncio.run(place_call(system.sip, tracks, from_user=user, to_user=to))


def metrics(client: Client) -> dict[str, float]:
    """Every series without a label but alarms', by name or `alarm:NAME`."""
    found = {}
    for line in client.get("/metrics").decode().splitlines():
        if match := re.match(r'callvault_(?:alarm\{alarm="(\w+)"\}|(\w+)) (\S+)$', line):
            found[f"alarm:{match[1]}" if match[1] else match[2]] = float(match[3])
    return found


def keyless(client: Client) -> list[dict[str, Any]]:
    return [row for row in client.json("/v1/calls")["calls"] if row["state"] == "keyless"]


def assert_exact(client: Client, user: str, result: CallResult) -> Any:
    """The call can be downloaded, and is what was sent, to the last sample. Its detail."""
    row = until(lambda: call_from(client, user, "stored"))
    tracks = client.json(f"/v1/calls/{row['id']}")["tracks"]
    for number, payload in enumerate(result.payloads):
        facts = tracks[number]["track"]["facts"]
        assert [(end - start) for start, end, _ in facts["map"]] == [len(payload)]
        assert {gap[2] for gap in facts["gaps"]} <= {"no_media"}, "before its first and after its last packet"
        samples, sent = heard(client, row["id"], number), g711.decode_alaw(payload)
        offset = round(facts["map"][0][2] * RATE_HZ / 1_000_000)
        assert np.array_equal(samples[offset : offset + len(sent)], sent)
    assert not row.get("reason")
    return row["detail"]


def test_refused_or_held_and_whole_when_the_provider_is_back(system: System, bao: OpenBao) -> None:
    client = system.client("holding")
    with pytest.raises(CallFailed, match="503"):
        call(system, "refused", 1, to="700")
    over = call(system, "over", 2, 3)
    (row,) = until(lambda: keyless(client))
    assert row.keys() == {"id", "state", "day", "reason", "stored_in", "artefacts"}
    assert (row["reason"], row["artefacts"]) == ("keys_away", [])

    all_of_it = 2 * SECONDS * RATE_HZ
    told = until(lambda: found if (found := metrics(client)).get("held_bytes", 0) > all_of_it else None)
    assert (told["keys_away_tenants"], told["held_calls"], told["held_streams"]) == (2, 1, 2)
    assert told["held_calls_ended"] == 1
    assert (told["keys_prepared_seconds"], told["alarm:keys_away"]) == (0, 1)
    assert told["keys_away_seconds"] > 0
    doctor = {row.name: row for row in held(load(Path(system.environ["CALLVAULT_CONFIG"]), system.environ).settings)}
    assert doctor["held calls"].state is State.FAIL
    assert doctor["held calls"].found.startswith("1 calls, 1 of them over, 2 streams, 0.0 MiB")
    assert "keys of 2 tenants away for" in doctor["held calls"].found
    assert "held memory" in doctor

    result: list[CallResult] = []
    live = threading.Thread(target=lambda: result.append(call(system, "live", 4, 5, seconds=3.0)))
    live.start()
    until(lambda: len(keyless(client)) == 2)
    canaries = Canaries()
    for seed in (2, 3, 4, 5):
        pcm = tone(3.0 if seed > 3 else SECONDS, seed)
        coded = g711.encode_alaw(pcm)
        canaries.add_sound(f"track {seed}", coded, g711.decode_alaw(coded))
    canaries.add_words("caller", "sip:over@127.0.0.1")
    assert canaries.below([system.folder]) == {}
    spooled = [header for path in spool_files(system.data / "spool") for header in scan(path)]
    assert spooled == [], "sealed neither, before there are keys"

    bao.unseal()
    assert assert_exact(client, "over", over)["keys_away_ms"] > 1000 * SECONDS, "they came after its end"
    live.join()
    assert 0 < assert_exact(client, "live", result[0])["keys_away_ms"] < 20_000
    assert [row["detail"]["from"] for row in client.json("/v1/calls")["calls"]] == ["live", "over"]
    call(system, "taken", 6, to="700", seconds=0.1)
    assert canaries.below([system.folder]) == {}
    audit = json.loads(system.command("reconcile", "--json").stdout)
    assert audit["unexplained_total"] == 0
    until(lambda: not metrics(client)["alarm:keys_away"])


def manifest(client: Client, call: str) -> dict[str, Any] | None:
    """None while the call is not closed yet."""
    try:
        found: dict[str, Any] = client.json(f"/v1/calls/{call}/manifest")
    except ApiError as error:
        if error.status != 409:
            raise
        return None
    return found


def test_a_held_call_that_never_gets_keys_is_told_of(system: System) -> None:
    client = system.client("holding")
    told: dict[str, str] = {}
    for way, state in (("kill", "interrupted"), ("stop", "not_recorded")):
        call(system, "lost", 7)
        (row,) = until(lambda: keyless(client))
        getattr(system, way)()
        system.start()
        told[row["id"]] = state
        rows = {found["id"]: found for found in client.json("/v1/calls")["calls"]}
        assert {name: found["state"] for name, found in rows.items()} == told
        assert rows[row["id"]] == row | {"state": state, "reason": "keys_away"}
        assert until(lambda: manifest(client, row["id"]))["artefacts"] == []  # noqa: B023  # called at once
    audit = json.loads(system.command("reconcile", "--json").stdout)
    assert (audit["unexplained_total"], audit["calls"]) == (0, {"interrupted": 1, "not_recorded": 1})
