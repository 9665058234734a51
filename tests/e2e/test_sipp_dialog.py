"""sipp as the other end of what happens inside dialogs: timers, reliable ringing, offers both ways, CANCEL's races."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.sip.events import Acknowledged
from tests.e2e.judge import SCENARIOS, Verdict, needs_sipp, sipp
from tests.gateway.sip.harness import AnsweringServer

pytestmark = needs_sipp

CALLS = 10
HALF_TIME = (CALLS, 46.0)
"""When all calls stand, the server's clock leaps to where half of their session's 90 s have passed."""


def run(scenario: str, folder: Path, server: AnsweringServer) -> Verdict:
    """Ten calls; what sipp had to send again on a slow machine is not judged."""
    verdict = sipp(server.address[1], folder, ["-sf", str(SCENARIOS / scenario)], CALLS, "-r", "50")
    return Verdict(verdict.successful, verdict.failed, 0)


@pytest.mark.parametrize(
    ("scenario", "leap", "why"),
    [
        ("session_timer.xml", None, "bye"),
        ("refreshed_by_update.xml", HALF_TIME, "bye"),
        ("refreshed_by_reinvite.xml", HALF_TIME, "bye"),
        ("unanswered_offer.xml", None, "no_answer"),
        ("cancelled_too_late.xml", None, "bye"),
    ],
)
def test_the_peer_sees_what_it_expects_and_every_call_ends_once(
    scenario: str, leap: tuple[int, float] | None, why: str, tmp_path: Path
) -> None:
    with AnsweringServer(leap=leap) as server:
        assert run(scenario, tmp_path, server) == Verdict(CALLS, 0, 0)
    assert server.ended == {dialog: [why] for dialog in server.invited}
    assert server.agent.dialogs == 0


def test_early_media_are_sent_again_until_the_prack_and_then_the_call_is_answered(tmp_path: Path) -> None:
    with AnsweringServer(early_media=True) as server:
        assert run("prack.xml", tmp_path, server) == Verdict(CALLS, 0, 0)
    assert server.datagrams["out"] >= 5 * CALLS  # 183 twice, 200 to PRACK, INVITE and BYE
    assert server.ended == {dialog: ["bye"] for dialog in server.invited}


def test_offers_that_are_left_to_us_are_answered(tmp_path: Path) -> None:
    with AnsweringServer() as server:
        assert run("offerless.xml", tmp_path, server) == Verdict(CALLS, 0, 0)
    answers = [event.body for event in server.events if isinstance(event, Acknowledged)]
    assert len(answers) == 2 * CALLS
    assert all(b"m=audio" in body for body in answers)
