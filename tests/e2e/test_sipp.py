"""sipp as the judge of the user agent alone: many real calls over loopback, clean, lossy, held, cancelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.judge import RETRANSMISSIONS_MAX, SCENARIOS, Verdict, needs_sipp, sipp, undisturbed
from tests.gateway.sip.harness import AnsweringServer

pytestmark = [needs_sipp, pytest.mark.alone]


def test_a_thousand_calls_at_fifty_a_second_without_failure_or_retransmission(tmp_path: Path) -> None:
    def run() -> Verdict:
        with AnsweringServer() as server:
            verdict = sipp(server.address[1], tmp_path, ["-sn", "uac"], 1000, "-r", "50", "-d", "100")
        assert (len(server.invited), len(server.ended), server.agent.dialogs) == (1000, 1000, 0)
        if not verdict.retransmissions:
            assert server.datagrams == {"in": 3000, "out": 3000}
        return verdict

    assert undisturbed(run) == Verdict(successful=1000, failed=0, retransmissions=0)


def test_every_call_of_a_network_that_loses_15_percent_stands_and_ends_once(tmp_path: Path) -> None:
    loss = ("-lost", "15", "-max_retrans", RETRANSMISSIONS_MAX)
    with AnsweringServer() as server:
        verdict = sipp(
            server.address[1], tmp_path, ["-sf", str(SCENARIOS / "lossy.xml")], 200, "-r", "50", "-d", "500", *loss
        )
    assert (verdict.successful, verdict.failed) == (200, 0)
    assert verdict.retransmissions > 0
    assert len(server.invited) == 200
    assert server.ended == {dialog: ["bye"] for dialog in server.invited}


def test_calls_behind_a_proxy_are_held_and_resumed(tmp_path: Path) -> None:
    def run() -> Verdict:
        with AnsweringServer() as server:
            scenario = ["-sf", str(SCENARIOS / "hold_and_resume.xml")]
            verdict = sipp(server.address[1], tmp_path, scenario, 100, "-r", "50")
        assert server.ended == {dialog: ["bye"] for dialog in server.invited}
        return verdict

    assert undisturbed(run) == Verdict(successful=100, failed=0, retransmissions=0)


def test_callers_who_hang_up_while_it_rings(tmp_path: Path) -> None:
    def run() -> Verdict:
        with AnsweringServer(answer=False) as server:
            verdict = sipp(server.address[1], tmp_path, ["-sf", str(SCENARIOS / "cancelled.xml")], 100, "-r", "50")
        assert server.ended == {dialog: ["cancel"] for dialog in server.invited}
        return verdict

    assert undisturbed(run) == Verdict(successful=100, failed=0, retransmissions=0)
