"""What happens inside dialogs, on a real server: offers left to it, and calls that fall silent."""

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
from tests.e2e.system import System, call_from, running, until
from tests.e2e.test_call import heard, tone

RATE_HZ = 8000
CONFIG = """
[[tenants]]
name = "acme"

[[trunks]]
name = "carrier"
tenant = "acme"
sources = ["127.0.0.1/32"]
quiet_s = 1.0
"""
RACE_S = 0.5
"""Of the beginning, that may be missing: media that come before the ACK says where they come from are a stranger's."""


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
    late = round(RACE_S * RATE_HZ)
    sent = g711.decode_alaw(result.payloads[0])[late:]
    samples = heard(client, call, 0)
    starts = np.flatnonzero(samples == sent[0])
    assert any(np.array_equal(samples[start : start + len(sent)], sent) for start in starts)


def ended(client: Client, calls: int) -> list[dict[str, Any]]:
    """All calls, newest first, once there are so many and none is live."""
    rows: list[dict[str, Any]] = client.json("/v1/calls?limit=50")["calls"]
    return rows if len(rows) == calls and all(row["state"] != "live" for row in rows) else []


@needs_sipp
@pytest.mark.parametrize(
    ("scenario", "why"),
    [
        ("silent.xml", "lost"),
        ("still_here.xml", "bye"),
        ("offerless.xml", "bye"),
        ("unanswered_offer.xml", "no_answer"),
    ],
)
def test_every_call_ends_as_its_peer_sees_it(system: System, scenario: str, why: str, tmp_path: Path) -> None:
    client = system.client("acme")
    before = len(client.json("/v1/calls?limit=50")["calls"])
    verdict = sipp(system.sip[1], tmp_path, ["-sf", str(SCENARIOS / scenario)], 1)
    assert Verdict(verdict.successful, verdict.failed, 0) == Verdict(1, 0, 0)
    rows = until(lambda: ended(client, before + 1))
    assert (rows[0]["state"], rows[0]["detail"]["why"]) == ("no_media", why)
