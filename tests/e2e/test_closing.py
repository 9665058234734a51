"""A tenant is closed by command beside a running server: its calls are refused, its keys are gone, others go on."""

from __future__ import annotations

import asyncio
import json
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.caller import CallFailed, Track, place_call
from gateway.client import ApiError
from tests.e2e.system import System, call_from, running, until

CONFIG = """
[[tenants]]
name = "leaves"
profile = "cloudtalk"
purpose = "service"
record = "all"
announcement = "{announcement}"
[[tenants]]
name = "stays"
[[trunks]]
name = "carrier"
tenant = "stays"
sources = ["127.0.0.1/32"]
dialled = { "44" = "leaves" }
"""


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with wave.open(str(tmp_path / "announcement.wav"), "wb") as spoken:
        spoken.setparams((1, 2, 8000, 0, "NONE", ""))
        spoken.writeframes((8000 * np.sin(np.arange(800) / 4)).astype("<i2").tobytes())
    (tmp_path / "callvault.toml").write_text(CONFIG.replace("{announcement}", str(tmp_path / "announcement.wav")))
    with running(tmp_path, CALLVAULT_CONFIG=str(tmp_path / "callvault.toml")) as started:
        yield started


def call(system: System, dialled: str) -> None:
    tone = (8000 * np.sin(np.arange(8000) / 8000 * 2 * np.pi * 440)).astype("<i2")
    asyncio.run(place_call(system.sip, [Track(tone)], from_user="caller", to_user=dialled))


def refused(system: System, dialled: str) -> bool:
    try:
        call(system, dialled)
    except CallFailed as error:
        assert "403" in str(error)
        return True
    return False


def test_ct_05_a_tenant_closed_by_command_is_gone_and_has_no_more_calls(system: System) -> None:
    call(system, "4420")
    call(system, "3120")
    client = system.client("leaves")
    row = until(lambda: call_from(client, "caller", "stored"))
    told = client.json(f"/v1/calls/{row['id']}/retention")
    assert {one["purposes"][0]["rule"] for one in told["artefacts"] if one["kind"] == "audio"} == {"CT-05"}
    closed = system.command("tenant", "close", "leaves", "--ground", "uninstalled")
    assert closed.returncode == 0 and "its content is destroyed" in closed.stdout, closed.stdout + closed.stderr
    with pytest.raises(ApiError) as gone:
        client.get(f"/v1/calls/{row['id']}/audio")
    assert gone.value.status == 410
    assert client.json(f"/v1/calls/{row['id']}/retention")["erasures"][0]["scope"] == "tenant"
    until(lambda: refused(system, "4420") or None)
    assert not refused(system, "3120"), "another tenant of the same trunk"
    assert until(lambda: call_from(system.client("stays"), "caller", "stored"))
    swept = system.command("sweep", "--json")
    assert swept.returncode == 0 and json.loads(swept.stdout)["left"] == 0
