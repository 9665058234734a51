"""What happens inside dialogs, on a real server: offers left to it, calls that fall silent, a softphone's hold."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.caller import Track, place_call
from gateway.client import Client
from media.codecs import g711
from tests.e2e.judge import SCENARIOS, Verdict, needs_sipp, sipp
from tests.e2e.softphone import HANG_UP, HOLD, LIMIT_S, RESUME, needs_baresip, phone, press
from tests.e2e.system import System, call_from, running, until
from tests.e2e.test_call import heard, tone

CONFIG = """
[[tenants]]
name = "acme"

[[trunks]]
name = "carrier"
tenant = "acme"
sources = ["127.0.0.1/32"]
media_networks = ["0.0.0.0/0"]  # a softphone names whatever address its machine has
nat = true
quiet_s = 1.0
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    (folder / "callvault.toml").write_text(CONFIG)
    with running(folder, CALLVAULT_CONFIG=str(folder / "callvault.toml")) as started:
        yield started


def test_a_call_whose_offer_was_left_to_us_is_recorded(system: System) -> None:
    client = system.client("acme")
    pcm = tone(2.0, 1)
    result = asyncio.run(place_call(system.sip, [Track(pcm)], from_user="offerless", offerless=True))
    call = until(lambda: call_from(client, "offerless", "stored"))["id"]
    sent = g711.decode_alaw(result.payloads[0])
    samples = heard(client, call, 0)
    starts = np.flatnonzero(samples == sent[0])
    assert any(np.array_equal(samples[start : start + len(sent)], sent) for start in starts)


def ended(client: Client, calls: int) -> list[dict[str, Any]]:
    """All calls, newest first, once there are so many and none is live."""
    rows: list[dict[str, Any]] = client.json("/v1/calls?limit=50")["calls"]
    return rows if len(rows) == calls and all(row["state"] != "live" for row in rows) else []


@needs_sipp
@pytest.mark.parametrize(
    ("scenario", "transport", "why"),
    [
        ("silent.xml", "t1", "lost"),
        ("still_here.xml", "u1", "bye"),
        ("offerless.xml", "t1", "bye"),
        ("unanswered_offer.xml", "u1", "no_answer"),
    ],
)
def test_every_call_ends_as_its_peer_sees_it(
    system: System, scenario: str, transport: str, why: str, tmp_path: Path
) -> None:
    client = system.client("acme")
    before = len(client.json("/v1/calls?limit=50")["calls"])
    verdict = sipp(system.sip[1], tmp_path, ["-sf", str(SCENARIOS / scenario)], 1, "-t", transport)
    assert Verdict(verdict.successful, verdict.failed, 0) == Verdict(1, 0, 0)
    rows = until(lambda: ended(client, before + 1))
    assert (rows[0]["state"], rows[0]["detail"]["why"]) == ("no_media", why)


@needs_baresip
def test_a_softphone_talks_holds_resumes_and_hangs_up(system: System, tmp_path: Path) -> None:
    client = system.client("acme")
    with phone(tmp_path, f"sip:100@127.0.0.1:{system.sip[1]}") as process:
        call = until(lambda: call_from(client, "softphone", "live"), LIMIT_S)["id"]
        press(process, HOLD)
        until(lambda: b"a=recvonly" in (tmp_path / "log").read_bytes(), LIMIT_S)  # our answer to a=sendonly
        press(process, RESUME)
        until(lambda: (tmp_path / "log").read_bytes().count(b"ACK sip:") >= 3, LIMIT_S)
        press(process, HANG_UP)
        row = until(lambda: call_from(client, "softphone", "stored"), LIMIT_S)
    assert (row["id"], row["detail"]["why"]) == (call, "bye")
    assert np.abs(heard(client, call, 0)).max() > 8000
