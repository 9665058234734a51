"""sipp as the judge of the whole server: keys, ports, media legs and records for every call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.client import Client
from tests.e2e.judge import RETRANSMISSIONS_MAX, SCENARIOS, Verdict, needs_sipp, sipp, undisturbed
from tests.e2e.system import System, running, until

pytestmark = [needs_sipp, pytest.mark.alone]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("sipp")) as started:
        yield started


def states(client: Client) -> Counter[str]:
    """How many calls stand in which state."""
    found: Counter[str] = Counter()
    before = ""
    while True:
        page = client.json(f"/v1/calls?limit=500{before}")["calls"]
        found.update(row["state"] for row in page)
        if len(page) < 500:
            return found
        before = f"&before={page[-1]['id']}"


def test_a_thousand_calls_at_fifty_a_second_are_answered_and_recorded_once(system: System, tmp_path: Path) -> None:
    client = system.client()

    def run() -> Verdict:
        before = states(client)
        verdict = sipp(system.sip[1], tmp_path, ["-sn", "uac"], 1000, "-r", "50", "-d", "100")
        until(lambda: not states(client)["live"])
        assert states(client) - before == {"no_media": 1000}
        return verdict

    assert undisturbed(run) == Verdict(successful=1000, failed=0, retransmissions=0)


def test_two_hundred_calls_over_a_network_that_loses_15_percent_stand_and_end_once(
    system: System, tmp_path: Path
) -> None:
    client = system.client()
    before = states(client).total()
    loss = ("-lost", "15", "-max_retrans", RETRANSMISSIONS_MAX)
    scenario = ["-sf", str(SCENARIOS / "lossy.xml")]
    verdict = sipp(system.sip[1], tmp_path, scenario, 200, "-r", "50", "-d", "500", *loss)
    assert (verdict.successful, verdict.failed) == (200, 0)
    until(lambda: not states(client)["live"], 60)
    assert states(client).total() == before + 200


def test_held_calls_are_resumed_and_the_gap_map_says_hold(system: System, tmp_path: Path) -> None:
    client = system.client()
    newest = client.json("/v1/calls?limit=1")["calls"]
    scenario = ["-sf", str(SCENARIOS / "hold_and_resume.xml")]
    verdict = undisturbed(lambda: sipp(system.sip[1], tmp_path, scenario, 20, "-r", "10"))
    assert verdict == Verdict(successful=20, failed=0, retransmissions=0)
    until(lambda: not states(client)["live"])
    assert client.json("/v1/calls?limit=1")["calls"] != newest
    call = client.json("/v1/calls?limit=1")["calls"][0]["id"]
    gaps = client.json(f"/v1/calls/{call}")["tracks"][0]["track"]["facts"]["gaps"]
    assert "hold" in [reason for _, _, reason in gaps]
