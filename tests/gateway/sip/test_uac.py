"""The caller's agent, against our own server and against hand-made answers."""

from __future__ import annotations

import pytest

from gateway.sip.events import Acknowledged, Ended, Invited, Settings
from gateway.sip.outcomes import Answered, CallerEvent, Failed, HungUp, Progress, Reanswered
from gateway.sip.uac import RING_S_MAX, Caller
from tests.gateway.sip.bench import ANSWER, OFFER, OUTWARD, counting, request_of
from tests.gateway.sip.network import LOST, PROMPT, Fate, Network, Seen


def losing(start: str, times: int, *, by_caller: bool) -> Network:
    """A network that loses the first `times` datagrams that begin so."""
    left = times

    def fate(seen: Seen) -> Fate:
        nonlocal left
        if seen.by_caller == by_caller and seen.start.startswith(start) and left:
            left -= 1
            return LOST
        return PROMPT

    return Network(fate)


def test_a_call_from_invite_to_bye() -> None:
    network = Network()
    call = network.call()
    network.run(1)
    [answered] = network.heard
    assert isinstance(answered, Answered)
    assert answered.body == ANSWER
    assert network.caller.hang_up(call, network.now)
    assert not network.caller.hang_up(call, network.now)
    network.run(1)
    assert network.heard[1:] == [HungUp(call, "us")]
    assert [s.start for s in network.wire] == [
        "INVITE sip:service@192.0.2.1 SIP/2.0",
        "SIP/2.0 100 Trying",
        "SIP/2.0 200 OK",
        "ACK sip:192.0.2.1:5060 SIP/2.0",
        "BYE sip:192.0.2.1:5060 SIP/2.0",
        "SIP/2.0 200 OK",
    ]


@pytest.mark.parametrize(
    ("start", "by_caller"),
    [("INVITE", True), ("SIP/2.0 100", False), ("SIP/2.0 200", False), ("ACK", True), ("BYE", True)],
)
@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_datagram_costs_no_call(start: str, by_caller: bool, times: int) -> None:
    network = losing(start, times, by_caller=by_caller)
    call = network.call()
    network.run(10)
    network.caller.hang_up(call, network.now)
    network.run(40)
    assert [type(event) for event in network.heard] == [Answered, HungUp]
    assert [event.why for event in network.events if isinstance(event, Ended)] == ["bye"]
    assert network.server.dialogs == 0


def test_a_lost_ack_is_sent_again_for_the_200_that_comes_again() -> None:
    network = losing("ACK", 2, by_caller=True)
    network.call()
    network.run(40)
    assert (network.sent("SIP/2.0 200"), network.sent("ACK")) == (3, 3)
    assert [type(event) for event in network.events] == [Invited, Acknowledged]


def test_the_servers_bye_is_answered() -> None:
    network = Network()
    call = network.call()
    network.run(1)
    [invited] = [event for event in network.events if isinstance(event, Invited)]
    network.server.bye(invited.dialog, network.now)
    network.run(1)
    assert network.heard[-1] == HungUp(call, "peer")
    assert network.server.dialogs == 0


def test_no_answer_at_all_is_a_timeout() -> None:
    network = Network(lambda seen: LOST)
    call = network.call()
    network.run(33)
    assert network.heard == [Failed(call, 408, "no answer")]


def test_hang_up_before_the_answer_cancels() -> None:
    network = Network(answer_after_s=None)
    call = network.call()
    network.run(1)
    assert network.caller.hang_up(call, network.now)
    network.run(1)
    assert network.heard == [Failed(call, 487, "Request Terminated")]
    assert [event.why for event in network.events if isinstance(event, Ended)] == ["cancel"]


def test_hang_up_before_any_response_waits_with_the_cancel() -> None:
    network = losing("INVITE", 1, by_caller=True)
    call = network.call()
    network.caller.hang_up(call, network.now)
    network.run(0.4)
    assert network.sent("CANCEL") == 0
    network.run(40)
    assert network.sent("CANCEL") >= 1
    assert [type(event) for event in network.heard] == [Failed]
    assert network.server.dialogs == 0


def test_call_that_only_rings_is_cancelled() -> None:
    network = Network(answer_after_s=None)
    network.call()
    network.run(1)
    [invited] = [event for event in network.events if isinstance(event, Invited)]
    network.server.ring(invited.dialog, network.now)
    network.run(RING_S_MAX + 40)
    assert [type(event) for event in network.heard] == [Progress, Failed]


def test_answer_that_crosses_our_cancel_is_hung_up() -> None:
    network = losing("CANCEL", 9, by_caller=True)
    call = network.call()
    network.run(0.015)
    assert network.caller.hang_up(call, network.now)
    network.run(40)
    assert network.heard == [Failed(call, 487, "cancelled")]
    assert (network.sent("BYE"), network.server.dialogs) == (1, 0)


def test_reinvite_is_answered_and_a_second_one_must_wait() -> None:
    network = Network()
    call = network.call()
    assert not network.caller.reinvite(call, OFFER, network.now)
    network.run(1)
    assert network.caller.reinvite(call, OFFER, network.now)
    assert not network.caller.reinvite(call, OFFER, network.now)
    network.run(1)
    assert network.heard[1:] == [Reanswered(call, 200, ANSWER)]
    assert network.caller.reinvite(call, OFFER, network.now)
    network.run(40)
    assert network.sent("ACK") == 3
    assert network.sent("SIP/2.0 200") == 3


def test_refused_reinvite_leaves_the_call() -> None:
    network = Network(answer_after_s=None)
    call = network.call()
    network.run(1)
    [invited] = [event for event in network.events if isinstance(event, Invited)]
    network.server.accept(invited.dialog, ANSWER, network.now)
    network.run(1)
    network.caller.reinvite(call, OFFER, network.now)
    network.run(1)
    network.server.reject(invited.dialog, 488, "", network.now)
    network.run(1)
    assert network.heard[1:] == [Reanswered(call, 488, b"")]
    network.caller.hang_up(call, network.now)
    network.run(1)
    assert network.heard[-1] == HungUp(call, "us")


def standing() -> tuple[Caller, int, str, str]:
    """A caller whose call stands, with its Call-ID and tag, against hand-made answers."""
    caller = Caller(Settings(), counting())
    call = caller.invite("sip:service@192.0.2.1", OUTWARD, OFFER, 0.0, caller="sip:alice@192.0.2.9")
    invite = request_of(caller.take_outgoing()[0][0])
    caller.receive(hand_made(invite.via.branch, invite.call_id, invite.from_.tag), OUTWARD, 0.1)
    caller.take_outgoing()
    return caller, call, invite.call_id, invite.from_.tag


def hand_made(branch: str, call_id: str, tag: str) -> bytes:
    """A 200 with two proxies on its way."""
    return (
        f"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 192.0.2.9:5061;branch={branch}\r\nf: <sip:alice@192.0.2.9>;tag={tag}\r\n"
        f"t: <sip:service@192.0.2.1>;tag=far\r\ni: {call_id}\r\nCSeq: 1 INVITE\r\nm: <sip:far@192.0.2.1>\r\n"
        "Record-Route: <sip:198.51.100.2;lr>, <sip:198.51.100.1;lr>\r\n\r\n"
    ).encode()


def far_request(method: str, call_id: str, tag: str, seq: int) -> bytes:
    """A request of the far end."""
    return (
        f"{method} sip:alice@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKfar{seq}{method}\r\n"
        f"From: <sip:service@192.0.2.1>;tag=far\r\nTo: <sip:alice@192.0.2.9>;tag={tag}\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {seq} {method}\r\nContact: <sip:far@192.0.2.1>\r\n\r\n"
    ).encode()


def test_route_set_is_the_reverse_of_the_record() -> None:
    caller, call, _, _ = standing()
    caller.hang_up(call, 1.0)
    [(raw, flow)] = caller.take_outgoing()
    bye = request_of(raw)
    assert bye.headers.all("Route") == ["<sip:198.51.100.1;lr>", "<sip:198.51.100.2;lr>"]
    assert (bye.uri, flow.remote) == ("sip:far@192.0.2.1", ("198.51.100.1", 5060))


@pytest.mark.parametrize(
    ("method", "seq", "status"),
    [("UPDATE", 1, 200), ("OPTIONS", 1, 200), ("BYE", 1, 200), ("INFO", 1, 200), ("FROB", 1, 501), ("PRACK", 1, 400)],
)
def test_requests_of_the_far_end_are_answered(method: str, seq: int, status: int) -> None:
    caller, _, call_id, tag = standing()
    raw = far_request(method, call_id, tag, seq)
    caller.receive(raw, OUTWARD, 1.0)
    [(first, _)] = caller.take_outgoing()
    assert first.startswith(b"SIP/2.0 %d " % status)
    caller.receive(raw, OUTWARD, 1.1)
    assert [data for data, _ in caller.take_outgoing()] == [first]


def test_reinvite_of_the_far_end_while_ours_is_pending_is_491() -> None:
    caller, call, call_id, tag = standing()
    caller.reinvite(call, OFFER, 1.0)
    caller.take_outgoing()
    caller.receive(far_request("INVITE", call_id, tag, 1), OUTWARD, 1.0)
    assert caller.take_outgoing()[0][0].startswith(b"SIP/2.0 491 ")


@pytest.mark.parametrize("raw", [b"", b"\r\n\r\n", b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", bytes(range(256))])
def test_garbage_is_ignored(raw: bytes) -> None:
    caller, _, _, _ = standing()
    events: list[CallerEvent] = caller.take_events()
    caller.receive(raw, OUTWARD, 1.0)
    assert caller.take_outgoing() == []
    assert len(events) == 1
