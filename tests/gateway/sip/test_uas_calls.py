"""Calls, re-INVITEs and their ends, as packets on the wire and events at the gateway."""

from __future__ import annotations

import pytest

from gateway.sip.dialog import MAX_UNACKED
from gateway.sip.events import Acknowledged, Cancelled, Ended, Invited, Reinvited
from gateway.sip.flow import Flow
from gateway.sip.gate import Granted, OpenGate, Verdict
from gateway.sip.invitations import PENDING_S_MAX
from gateway.sip.message import Request
from gateway.sip.screening import Refusal
from tests.gateway.sip.bench import ANSWER, FLOW, OFFER, Bench, only, packet, request_of, response_of

EVERYTHING_S = PENDING_S_MAX + 64.0  # after this no timer of a call that is over, or stands, is left


def test_a_call_from_invite_to_bye() -> None:
    bench = Bench()
    assert bench.status(packet("INVITE")) == [100]
    [invited] = bench.events
    assert isinstance(invited, Invited)
    assert (invited.body, invited.flow) == (OFFER, FLOW)
    assert bench.agent.ring(invited.dialog, bench.now)
    ringing = response_of(only(bench.taken()))
    assert bench.agent.accept(invited.dialog, ANSWER, bench.now)
    ok = response_of(only(bench.taken()))
    assert (ringing.status, ok.status, ok.body) == (180, 200, ANSWER)
    assert ringing.to.tag == ok.to.tag
    assert ok.contact is not None
    assert ok.contact.uri == "sip:192.0.2.1:5060"
    assert bench.send(packet("ACK", branch="ack", to_tag=ok.to.tag)) == []
    assert bench.status(packet("BYE", seq=2, branch="bye", to_tag=ok.to.tag)) == [200]
    assert bench.events[1:] == [Acknowledged(invited.dialog), Ended(invited.dialog, "bye")]
    assert bench.agent.dialogs == 0


def test_a_call_that_is_answered_at_once_gets_no_100() -> None:
    bench = Bench()
    bench.agent.receive(packet("INVITE"), FLOW, bench.now)
    [invited] = bench.agent.take_events()
    assert isinstance(invited, Invited)
    assert bench.agent.accept(invited.dialog, ANSWER, bench.now)
    assert response_of(only(bench.taken())).status == 200
    assert bench.taken() == []


def test_duplicates_get_the_same_bytes() -> None:
    bench = Bench()
    invite = packet("INVITE")
    [trying] = bench.send(invite)
    assert bench.send(invite) == [trying]
    bench.agent.ring(bench.invited(), bench.now)
    [ringing] = bench.taken()
    assert bench.send(invite) == [ringing]
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    [ok] = bench.taken()
    assert bench.send(invite) == [ok]
    tag = response_of(ok).to.tag
    bench.send(packet("ACK", branch="ack", to_tag=tag))
    assert bench.send(invite) == [ok]
    bye = packet("BYE", seq=2, branch="bye", to_tag=tag)
    [gone] = bench.send(bye)
    assert bench.send(bye) == [gone]
    assert bench.send(invite) == [ok]
    assert [type(event) for event in bench.events] == [Invited, Acknowledged, Ended]
    assert bench.status(packet("BYE", seq=3, branch="later", to_tag=tag)) == [481]


def test_200_is_sent_again_until_its_ack() -> None:
    bench = Bench()
    _, tag = bench.call(acknowledge=False)
    start = bench.now
    times: list[float] = []
    while len(times) < 6:
        deadline = bench.agent.next_deadline()
        assert deadline is not None
        times += [round(bench.now - start, 1) for _ in bench.wait(deadline - bench.now)]
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5]
    bench.send(packet("ACK", branch="ack", to_tag=tag))
    assert bench.wait(60) == []
    assert bench.ends == []


def test_no_ack_ends_the_call_with_a_bye() -> None:
    bench = Bench()
    number, tag = bench.call(acknowledge=False)
    sent = bench.wait(32.5)
    assert bench.events[-1] == Ended(number, "no_ack")
    bye = request_of(sent[-1])
    assert (bye.method, bye.uri, bye.from_.tag, bye.to.tag) == ("BYE", "sip:alice@192.0.2.9:5061", tag, "alice")
    bench.wait(EVERYTHING_S)
    assert (bench.agent.dialogs, bench.agent.next_deadline(), bench.ends) == (0, None, ["no_ack"])


def test_bye_before_the_ack_arrives_ends_the_call() -> None:
    bench = Bench()
    _, tag = bench.call(acknowledge=False)
    assert bench.status(packet("BYE", seq=2, branch="bye", to_tag=tag)) == [200]
    assert bench.wait(60) == []
    assert bench.ends == ["bye"]


def test_our_bye_waits_for_the_ack() -> None:
    bench = Bench()
    number, tag = bench.call(acknowledge=False)
    assert bench.agent.bye(number, bench.now)
    assert bench.taken() == []
    assert bench.events[-1] == Ended(number, "local")
    [bye] = bench.send(packet("ACK", branch="ack", to_tag=tag))
    assert request_of(bye).method == "BYE"
    assert bench.ends == ["local"]


def test_our_bye_waits_for_every_ack() -> None:
    bench = Bench()
    number, tag = bench.call(acknowledge=False)
    bench.send(packet("INVITE", seq=2, branch="re", to_tag=tag))
    bench.agent.accept(number, ANSWER, bench.now)
    bench.taken()
    bench.agent.bye(number, bench.now)
    assert bench.send(packet("ACK", branch="ack", to_tag=tag)) == []
    [bye] = bench.send(packet("ACK", seq=2, branch="re-ack", to_tag=tag))
    assert request_of(bye).method == "BYE"


def test_our_bye_is_sent_again_until_it_is_answered() -> None:
    bench = Bench()
    number, _ = bench.call()
    bench.agent.bye(number, bench.now)
    [bye] = bench.taken()
    assert bench.wait(1.5) == [bye, bye]
    assert bench.agent.dialogs == 1
    assert bench.send(answer_to(bye, 200)) == []
    assert bench.wait(EVERYTHING_S) == []
    assert (bench.agent.dialogs, bench.agent.next_deadline(), bench.ends) == (0, None, ["local"])
    assert not bench.agent.bye(number, bench.now)


def test_our_bye_that_nobody_answers_is_given_up() -> None:
    bench = Bench()
    number, _ = bench.call()
    bench.agent.bye(number, bench.now)
    assert len(bench.wait(EVERYTHING_S)) == 11
    assert (bench.agent.dialogs, bench.agent.next_deadline(), bench.ends) == (0, None, ["local"])


def test_byes_that_cross_end_the_call_once() -> None:
    bench = Bench()
    number, tag = bench.call()
    bench.agent.bye(number, bench.now)
    [bye] = bench.taken()
    assert bench.status(packet("BYE", seq=2, branch="bye", to_tag=tag)) == [200]
    bench.send(answer_to(bye, 481))
    assert (bench.agent.dialogs, bench.ends) == (0, ["local"])


def test_rejected_call_is_over_and_the_no_is_repeated_until_its_ack() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    assert bench.agent.reject(bench.invited(), 488, "No Codec", bench.now, [("Warning", '305 a "b"')])
    [no] = bench.taken()
    assert no.startswith(b"SIP/2.0 488 No Codec\r\n")
    assert b'Warning: 305 a "b"\r\n' in no
    assert bench.ends == ["rejected"]
    assert bench.wait(1.5) == [no, no]
    assert bench.send(packet("INVITE")) == [no]
    assert bench.send(packet("ACK")) == []
    assert bench.wait(60) == []
    assert not bench.agent.accept(bench.invited(), ANSWER, bench.now)


def test_invite_that_the_gateway_forgets_is_terminated() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    assert response_of(bench.wait(PENDING_S_MAX)[0]).status == 487
    bench.wait(60)
    assert (bench.ends, bench.agent.dialogs, bench.agent.next_deadline()) == (["timeout"], 0, None)


def test_cancel_before_the_answer() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    number = bench.invited()
    ok, terminated = bench.send(packet("CANCEL"))
    assert [response_of(ok).status, response_of(terminated).status] == [200, 487]
    assert response_of(ok).to.tag == response_of(terminated).to.tag
    assert bench.events[1:] == [Cancelled(number), Ended(number, "cancel")]
    assert bench.send(packet("CANCEL")) == [ok]
    assert not bench.agent.accept(number, ANSWER, bench.now)
    assert bench.send(packet("ACK")) == []
    assert bench.wait(60) == []
    assert bench.agent.dialogs == 0


def test_cancel_after_the_answer_changes_nothing() -> None:
    bench = Bench()
    _, tag = bench.call(acknowledge=False)
    assert bench.status(packet("CANCEL")) == [200]
    bench.send(packet("ACK", branch="ack", to_tag=tag))
    assert [type(event) for event in bench.events] == [Invited, Acknowledged]
    assert bench.agent.dialogs == 1


def test_cancel_of_a_reinvite_leaves_the_call() -> None:
    bench = Bench()
    number, tag = bench.call()
    bench.send(packet("INVITE", seq=2, branch="re", to_tag=tag))
    assert bench.status(packet("CANCEL", seq=2, branch="re", to_tag=tag)) == [200, 487]
    assert bench.events[-1] == Cancelled(number)
    assert bench.agent.dialogs == 1


def test_reinvite_is_answered_and_moves_the_target() -> None:
    bench = Bench()
    number, tag = bench.call()
    raw = packet("INVITE", seq=2, branch="re", to_tag=tag, body=b"v=0\r\n")
    raw = raw.replace(b"Contact: <sip:alice@192.0.2.9:5061>", b"Contact: <sip:alice@192.0.2.77:7000>")
    assert bench.status(raw) == [100]
    assert [event.body for event in bench.events if isinstance(event, Reinvited)] == [b"v=0\r\n"]
    assert bench.agent.accept(number, ANSWER, bench.now)
    ok = only(bench.taken())
    assert bench.send(raw) == [ok]
    bench.send(packet("ACK", seq=2, branch="re-ack", to_tag=tag))
    assert bench.events[-1] == Acknowledged(number)
    bench.agent.bye(number, bench.now)
    [(bye, flow)] = bench.agent.take_outgoing()
    assert (request_of(bye).uri, flow.remote) == ("sip:alice@192.0.2.77:7000", ("192.0.2.77", 7000))


def test_rejected_reinvite_leaves_the_call_as_it_was() -> None:
    bench = Bench()
    number, tag = bench.call()
    raw = packet("INVITE", seq=2, branch="re", to_tag=tag).replace(b"192.0.2.9:5061>", b"192.0.2.77:7000>")
    bench.send(raw)
    assert bench.agent.reject(number, 488, "", bench.now)
    assert response_of(only(bench.taken())).status == 488
    assert (bench.ends, bench.agent.dialogs) == ([], 1)
    bench.send(packet("ACK", seq=2, branch="re", to_tag=tag))
    bench.agent.bye(number, bench.now)
    assert request_of(only(bench.taken())).uri == "sip:alice@192.0.2.9:5061"


def test_reinvite_while_one_is_pending_is_told_to_wait() -> None:
    bench = Bench()
    _, tag = bench.call()
    assert bench.status(packet("INVITE", seq=2, branch="r2", to_tag=tag)) == [100]
    raw = packet("INVITE", seq=3, branch="r3", to_tag=tag)
    [early] = bench.responses(raw)
    assert early.status == 500  # RFC 3261 §14.2
    assert 0 <= int(early.headers.first("Retry-After") or "-1") <= 10
    assert bench.send(raw) == [early_bytes(bench, raw)]


def test_reinvite_while_our_offer_waits_for_its_answer_is_491() -> None:
    bench = Bench()
    bench.send(packet("INVITE", body=b""))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    tag = response_of(only(bench.taken())).to.tag
    assert bench.status(packet("INVITE", seq=2, branch="r2", to_tag=tag)) == [491]
    bench.send(packet("ACK", branch="ack", to_tag=tag, body=b"v=0\r\n"))
    assert bench.events[-1] == Acknowledged(bench.invited(), b"v=0\r\n")
    assert bench.status(packet("INVITE", seq=3, branch="r3", to_tag=tag)) == [100]


def test_reinvite_when_the_ack_was_lost_is_taken() -> None:
    bench = Bench()
    number, tag = bench.call(acknowledge=False)
    for seq in range(2, MAX_UNACKED + 1):
        assert bench.status(packet("INVITE", seq=seq, branch=f"r{seq}", to_tag=tag)) == [100]
        assert bench.agent.accept(number, ANSWER, bench.now)
        bench.taken()
    assert bench.status(packet("INVITE", seq=9, branch="r9", to_tag=tag)) == [500]
    for seq in range(1, MAX_UNACKED + 1):
        bench.send(packet("ACK", seq=seq, branch=f"k{seq}", to_tag=tag))
    bench.send(packet("ACK", seq=9, branch="r9", to_tag=tag))
    assert bench.wait(60) == []
    assert bench.ends == []


def test_bye_terminates_a_pending_reinvite() -> None:
    bench = Bench()
    _, tag = bench.call()
    bench.send(packet("INVITE", seq=2, branch="re", to_tag=tag))
    assert bench.status(packet("BYE", seq=3, branch="bye", to_tag=tag)) == [487, 200]
    assert bench.ends == ["bye"]


@pytest.mark.parametrize("seq", [1, 4, 5])
@pytest.mark.parametrize("method", ["BYE", "INVITE", "OPTIONS"])
def test_request_with_an_old_or_used_number_is_out_of_order(method: str, seq: int) -> None:
    bench = Bench()
    _, tag = bench.call()
    assert bench.status(packet("OPTIONS", seq=5, branch="o5", to_tag=tag)) == [200]
    raw = packet(method, seq=seq, branch="old", to_tag=tag)
    assert bench.status(raw) == [500]
    assert bench.status(raw) == [500]
    assert bench.ends == []


def test_record_routes_are_mirrored_and_followed() -> None:
    bench = Bench()
    routes = "Record-Route: <sip:198.51.100.1:5070;lr>\nRecord-Route: <sip:p2.example;lr>, <sip:p3.example;lr>"
    bench.send(packet("INVITE", extra=routes))
    number = bench.invited()
    bench.agent.ring(number, bench.now)
    bench.agent.accept(number, ANSWER, bench.now)
    mirrored = ["<sip:198.51.100.1:5070;lr>", "<sip:p2.example;lr>, <sip:p3.example;lr>"]
    answers = [response_of(raw) for raw in bench.taken()]
    assert [answer.headers.all("Record-Route") for answer in answers] == [mirrored, mirrored]
    bench.send(packet("ACK", branch="ack", to_tag=answers[-1].to.tag))
    bench.agent.bye(number, bench.now)
    [(raw, flow)] = bench.agent.take_outgoing()
    bye = request_of(raw)
    assert bye.uri == "sip:alice@192.0.2.9:5061"
    assert bye.headers.all("Route") == ["<sip:198.51.100.1:5070;lr>", "<sip:p2.example;lr>", "<sip:p3.example;lr>"]
    assert flow == FLOW.to(("198.51.100.1", 5070))


def test_a_strict_router_gets_its_own_address_in_the_request_line() -> None:
    bench = Bench()
    number, _ = bench.call(extra="Record-Route: <sip:198.51.100.1>, <sip:p2.example;lr>")
    bench.agent.bye(number, bench.now)
    bye = request_of(only(bench.taken()))
    assert bye.uri == "sip:198.51.100.1"
    assert bye.headers.all("Route") == ["<sip:p2.example;lr>", "<sip:alice@192.0.2.9:5061>"]


def test_request_rewritten_by_a_strict_router_finds_its_dialog() -> None:
    bench = Bench()
    _, tag = bench.call()
    raw = packet("BYE", seq=2, branch="b", to_tag=tag, uri="sip:p1.example;lr", extra="Route: <sip:192.0.2.1:5060>")
    assert bench.status(raw) == [200]


def test_contact_that_is_a_name_is_reached_where_its_requests_come_from() -> None:
    bench = Bench()
    bench.send(packet("INVITE").replace(b"<sip:alice@192.0.2.9:5061>", b"<sip:alice@sbc_1.example>"))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    tag = response_of(only(bench.taken())).to.tag
    bench.send(packet("ACK", branch="ack", to_tag=tag))
    bench.agent.bye(bench.invited(), bench.now)
    [(raw, flow)] = bench.agent.take_outgoing()
    assert (request_of(raw).uri, flow) == ("sip:alice@sbc_1.example", FLOW)


def test_peer_that_moves_is_followed_where_its_contact_is_a_name() -> None:
    bench = Bench()
    bench.send(packet("INVITE").replace(b"<sip:alice@192.0.2.9:5061>", b"<sip:alice@sbc.example>"))
    number = bench.invited()
    bench.agent.accept(number, ANSWER, bench.now)
    tag = response_of(only(bench.taken())).to.tag
    bench.send(packet("ACK", branch="ack", to_tag=tag))
    bench.send(packet("OPTIONS", seq=2, branch="o", to_tag=tag), ("192.0.2.10", 5099))
    bench.agent.bye(number, bench.now)
    assert bench.agent.take_outgoing()[0][1].remote == ("192.0.2.10", 5099)


def test_peer_without_tags_has_a_dialog_too() -> None:
    bench = Bench()
    bench.send(packet("INVITE").replace(b";tag=alice", b""))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    tag = response_of(only(bench.taken())).to.tag
    bench.send(packet("ACK", branch="ack", to_tag=tag).replace(b";tag=alice", b""))
    assert bench.status(packet("BYE", seq=2, branch="b", to_tag=tag).replace(b";tag=alice", b"")) == [200]
    assert bench.ends == ["bye"]


class OneTrunk(OpenGate):
    """Knows a single trunk, and the network that it may call from."""

    def admit(self, request: Request, flow: Flow, now: float, former: Granted | None = None) -> Verdict:
        return Granted("carrier", flow.remote[0]) if self.reaches("carrier", flow.remote[0]) else Refusal(403)

    def reaches(self, trunk: str, host: str) -> bool:
        return trunk == "carrier" and host.startswith("192.0.2.")


def test_requests_inside_a_dialog_come_from_its_trunk() -> None:
    bench = Bench(gate=OneTrunk())
    _, tag = bench.call()
    bye = packet("BYE", seq=2, branch="b", to_tag=tag)
    assert bench.status(bye, ("203.0.113.66", 5060)) == [403]
    assert bench.ends == []
    assert bench.status(bye, ("192.0.2.200", 5060)) == [200]


def test_hang_up_before_the_answer_is_a_no() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    assert bench.agent.bye(bench.invited(), bench.now)
    assert response_of(only(bench.taken())).status == 480
    assert bench.ends == ["local"]


def test_held_calls_cost_nothing_while_time_passes() -> None:
    bench = Bench()
    for number in range(1000):
        bench.send(packet("INVITE", call=f"call-{number}"))
        bench.agent.accept(bench.invited(), ANSWER, bench.now)
        tag = response_of(bench.taken()[0]).to.tag
        bench.send(packet("ACK", call=f"call-{number}", branch="ack", to_tag=tag))
    bench.wait(EVERYTHING_S)
    assert (bench.agent.dialogs, bench.agent.next_deadline()) == (1000, None)


def answer_to(request: bytes, status: int) -> bytes:
    """What a peer answers to a request of ours."""
    headers = request.partition(b"\r\n")[2]
    kept = [
        line for line in headers.split(b"\r\n") if line.split(b":")[0] in (b"Via", b"From", b"To", b"Call-ID", b"CSeq")
    ]
    return b"SIP/2.0 %d Any\r\n" % status + b"\r\n".join(kept) + b"\r\n\r\n"


def early_bytes(bench: Bench, raw: bytes) -> bytes:
    """The kept answer, asked for once more."""
    return only(bench.send(raw))
