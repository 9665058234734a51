"""sipp as the other end of what happens inside dialogs: timers, reliable ringing, offers both ways, CANCEL's races."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.sip.events import Acknowledged, Agreed, Settings
from tests.e2e.judge import SCENARIOS, Verdict, needs_sipp, sipp
from tests.gateway.sip.harness import AnsweringServer

pytestmark = needs_sipp

CALLS = 10
BRIEF = Settings(session_min_s=2)
"""Two seconds until we refresh, not 45: sipp's scenario asks for an interval of four."""


def run(scenario: str, folder: Path, server: AnsweringServer) -> Verdict:
    """Ten calls; what sipp had to send again on a slow machine is not judged."""
    verdict = sipp(server.address[1], folder, ["-sf", str(SCENARIOS / scenario)], CALLS, "-r", "50")
    return Verdict(verdict.successful, verdict.failed, 0)


@pytest.mark.parametrize(
    ("scenario", "settings", "why"),
    [
        ("session_timer.xml", Settings(), "bye"),
        ("refreshed_by_update.xml", BRIEF, "bye"),
        ("refreshed_by_reinvite.xml", BRIEF, "bye"),
        ("offerless.xml", Settings(), "bye"),
        ("unanswered_offer.xml", Settings(), "no_answer"),
        ("cancelled_too_late.xml", Settings(), "bye"),
    ],
)
def test_the_peer_sees_what_it_expects_and_every_call_ends_once(
    scenario: str, settings: Settings, why: str, tmp_path: Path
) -> None:
    with AnsweringServer(settings=settings) as server:
        assert run(scenario, tmp_path, server) == Verdict(CALLS, 0, 0)
    assert server.ended == {dialog: [why] for dialog in server.invited}
    assert server.agent.dialogs == 0


def test_early_media_are_sent_again_until_the_prack_and_then_the_call_is_answered(tmp_path: Path) -> None:
    with AnsweringServer(early_media=True) as server:
        assert run("prack.xml", tmp_path, server) == Verdict(CALLS, 0, 0)
    assert server.datagrams["out"] >= 6 * CALLS  # 100, 183 twice, 200 to PRACK, INVITE and BYE
    assert server.ended == {dialog: ["bye"] for dialog in server.invited}


def test_the_answers_to_our_offers_arrive(tmp_path: Path) -> None:
    with AnsweringServer() as server:
        run("offerless.xml", tmp_path, server)
    answers = [event.body for event in server.events if isinstance(event, Acknowledged | Agreed)]
    assert len(answers) == 2 * CALLS
    assert all(b"m=audio" in body for body in answers)
