"""Both agents against each other: session timers, early media, offers both ways, and networks that lose messages."""

from __future__ import annotations

from random import Random

import pytest

from gateway.sip.events import Acknowledged, Agreed, Ended, Probed, Reinvited, Settings, Updated
from gateway.sip.invitations import PENDING_S_MAX
from gateway.sip.outcomes import Answered, Failed, HungUp, Progress, Reanswered
from tests.gateway.sip.bench import ANSWER, OFFER
from tests.gateway.sip.network import LOST, PROMPT, Fate, Network, Seen

EVERYTHING_S = PENDING_S_MAX + 100.0
DEMAND = ("Require", "100rel")
BY_CALLER = ("Session-Expires", "90;refresher=uac")
BY_SERVER = ("Session-Expires", "90;refresher=uas")


def settled(network: Network) -> bool:
    """Whether nothing is left at either end once all time has passed."""
    network.run(EVERYTHING_S)
    return (network.server.dialogs, network.server.next_deadline(), network.caller.next_deadline()) == (0, None, None)


@pytest.mark.parametrize(("timer", "by_caller"), [(BY_CALLER, True), (BY_SERVER, False)])
def test_either_side_keeps_a_long_call_alive_by_update(timer: tuple[str, str], by_caller: bool) -> None:
    network = Network()
    call = network.call(timer)
    network.run(3600)
    assert 75 <= network.sent("UPDATE", by_caller=by_caller) <= 80
    assert network.sent("UPDATE", by_caller=not by_caller) == 0
    assert [type(event) for event in network.heard] == [Answered]
    network.caller.hang_up(call, network.now)
    network.run(1)
    assert network.heard[-1] == HungUp(call, "us")
    assert settled(network)


def test_a_call_without_wishes_is_refreshed_by_its_caller_every_quarter_of_an_hour() -> None:
    network = Network()
    network.call()
    network.run(3599)
    assert network.sent("UPDATE", by_caller=True) == 3
    assert [event for event in network.events if isinstance(event, Ended)] == []


def test_a_network_that_breaks_down_ends_the_call_at_both_ends() -> None:
    network = Network(lambda seen: PROMPT if seen.at < 100 else LOST)
    call = network.call(BY_SERVER)
    network.run(300)
    assert network.heard[-1] == HungUp(call, "lost")
    assert [event.why for event in network.events if isinstance(event, Ended)] == ["expired"]
    assert settled(network)


def test_an_interval_that_is_too_short_is_raised_and_the_call_stands() -> None:
    network = Network(settings=Settings(session_min_s=200))
    network.call(("Session-Expires", "100"))
    network.run(1)
    assert network.sent("SIP/2.0 422") == 1
    assert isinstance(network.heard[-1], Answered)
    network.run(98)
    assert network.sent("UPDATE") == 0
    network.run(3)
    assert network.sent("UPDATE") == 1


def test_reliable_ringing_is_acknowledged_and_the_call_is_answered() -> None:
    network = Network(answer_after_s=1.0)
    call = network.call(DEMAND)
    network.run(0.1)
    assert network.server.ring(network.dialog, network.now)
    network.run(2)
    assert network.heard[0] == Progress(call, 180)
    assert isinstance(network.heard[1], Answered)
    assert (network.sent("PRACK"), network.sent("SIP/2.0 180")) == (1, 1)


@pytest.mark.parametrize("start", ["SIP/2.0 183", "PRACK", "SIP/2.0 200"])
def test_early_media_get_across_a_network_that_loses_them_thrice(start: str) -> None:
    left = 3

    def fate(seen: Seen) -> Fate:
        nonlocal left
        if seen.start.startswith(start) and left:
            left -= 1
            return LOST
        return PROMPT

    network = Network(fate, answer_after_s=2.0)
    call = network.call()
    network.run(0.1)
    assert network.server.ring(network.dialog, network.now, ANSWER)
    network.run(30)
    assert network.heard[0] == Progress(call, 183, ANSWER)
    [answered] = [event for event in network.heard if isinstance(event, Answered)]
    assert answered.body == ANSWER
    network.caller.hang_up(call, network.now)
    network.run(1)
    assert network.heard[-1] == HungUp(call, "us")
    assert settled(network)


def test_an_early_dialog_is_updated_before_it_is_answered() -> None:
    network = Network(answer_after_s=None)
    call = network.call()
    network.run(0.1)
    network.server.ring(network.dialog, network.now, ANSWER)
    network.run(0.1)
    assert network.caller.update(call, OFFER, network.now)
    network.run(0.1)
    [updated] = [event for event in network.events if isinstance(event, Updated)]
    network.server.update(updated.dialog, ANSWER, network.now)
    network.server.accept(network.dialog, ANSWER, network.now)
    network.run(0.1)
    assert network.heard[1:] == [Reanswered(call, 200, ANSWER), Answered(call, ANSWER, updated.request.call_id)]


def test_a_call_without_an_offer_gets_ours_and_answers_in_its_ack() -> None:
    network = Network()
    call = network.call(offer=b"", answer=OFFER)
    network.run(1)
    assert [event.body for event in network.heard if isinstance(event, Answered)] == [ANSWER]
    assert network.events[-1] == Acknowledged(network.dialog, OFFER)
    assert network.caller.reinvite(call, b"", network.now)
    network.run(1)
    assert network.events[-1] == Acknowledged(network.dialog, OFFER)
    assert [event.body for event in network.events if isinstance(event, Reinvited)] == [b""]


def test_a_call_without_an_offer_that_hears_early_media_answers_in_its_prack() -> None:
    network = Network(answer_after_s=1.0)
    network.call(offer=b"", answer=OFFER)
    network.run(0.1)
    network.server.ring(network.dialog, network.now, ANSWER)
    network.run(2)
    assert Agreed(network.dialog, OFFER) in network.events
    assert network.events[-1] == Acknowledged(network.dialog, b"")
    assert isinstance(network.heard[-1], Answered)


def test_a_call_whose_ack_has_no_answer_is_hung_up() -> None:
    network = Network()
    call = network.call(offer=b"", answer=b"")
    network.run(1)
    assert network.heard[-1] == HungUp(call, "peer")
    assert [event.why for event in network.events if isinstance(event, Ended)] == ["no_answer"]


def test_an_update_renegotiates_and_keeps_the_timer() -> None:
    network = Network()
    call = network.call(BY_CALLER)
    network.run(30)
    assert network.caller.update(call, OFFER, network.now)
    assert not network.caller.update(call, OFFER, network.now)
    network.run(1)
    assert network.heard[-1] == Reanswered(call, 200, ANSWER)
    network.run(43)
    assert network.sent("UPDATE") == 1
    network.run(2)
    assert network.sent("UPDATE") == 2


def test_a_probe_finds_a_call_that_stands_and_one_that_is_gone() -> None:
    network = Network()
    network.call()
    network.run(1)
    network.server.probe(network.dialog, network.now)
    network.run(1)
    assert network.events[-1] == Probed(network.dialog, 200)
    network.caller = Network().caller  # restarted: it knows nothing of the call
    network.server.probe(network.dialog, network.now)
    network.run(1)
    assert network.events[-2:] == [Probed(network.dialog, 481), Ended(network.dialog, "lost")]


def test_our_bye_is_sent_again_until_its_answer_gets_across() -> None:
    answers = 0

    def fate(seen: Seen) -> Fate:
        nonlocal answers
        answers += seen.by_caller and seen.start.startswith("SIP/2.0 200")
        return LOST if seen.by_caller and seen.start.startswith("SIP/2.0 200") and answers <= 3 else PROMPT

    network = Network(fate)
    network.call()
    network.run(1)
    network.server.bye(network.dialog, network.now)
    network.run(30)
    assert network.sent("BYE") == 4
    assert network.server.dialogs == 0


def test_our_no_is_sent_again_until_its_ack_gets_across() -> None:
    lost = 2

    def fate(seen: Seen) -> Fate:
        nonlocal lost
        if seen.start.startswith("ACK") and lost:
            lost -= 1
            return LOST
        return PROMPT

    network = Network(fate, answer_after_s=None)
    network.call()
    network.run(0.1)
    network.server.reject(network.dialog, 486, "", network.now)
    network.run(60)
    assert (network.sent("SIP/2.0 486"), network.sent("ACK")) == (3, 3)


@pytest.mark.parametrize("seed", range(20))
def test_a_bad_network_costs_time_and_no_call(seed: int) -> None:
    """15 % lost each way, 10 % doubled, reordered by up to 400 ms; timers, reliable ringing, offers both ways."""
    chance = Random(seed)

    def fate(seen: Seen) -> Fate:
        if chance.random() < 0.15:
            return LOST
        return tuple(0.001 + 0.4 * chance.random() for _ in range(2 if chance.random() < 0.1 else 1))

    network = Network(fate, answer_after_s=1.0)
    timer = BY_CALLER if seed % 2 else BY_SERVER
    calls = [network.call(timer), network.call(timer, DEMAND), network.call(timer, offer=b"", answer=OFFER)]
    network.run(0.9)
    for dialog in (1, 2, 3):
        network.server.ring(dialog, network.now, ANSWER)
    network.run(200)
    assert sorted(event.call for event in network.heard if isinstance(event, Answered)) == calls
    for call in calls:
        network.caller.hang_up(call, network.now)
    assert settled(network)
    assert sorted(event.call for event in network.heard if isinstance(event, HungUp | Failed)) == calls
    assert sorted(event.dialog for event in network.events if isinstance(event, Ended)) == [1, 2, 3]
