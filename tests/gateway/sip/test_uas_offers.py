"""Offers and answers inside a call: UPDATE (RFC 3311), calls that come without an offer (RFC 3261 §13.3.1), glare."""

from __future__ import annotations

import pytest

from gateway.sip.events import Acknowledged, Ended, Reinvited, Updated
from gateway.sip.exchanges import UPDATE_S_MAX
from gateway.sip.invitations import NO_ANSWER
from tests.gateway.sip.bench import ANSWER, FLOW, OFFER, Bench, only, packet, request_of, response_of


def offerless() -> tuple[Bench, int, str]:
    """A call without an offer, accepted with ours."""
    bench = Bench()
    bench.send(packet("INVITE", body=b""))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    ok = response_of(only(bench.taken()))
    assert ok.body == ANSWER
    return bench, bench.invited(), ok.to.tag


def test_the_ack_answers_our_offer() -> None:
    bench, number, tag = offerless()
    bench.send(packet("ACK", branch="ack", to_tag=tag, body=OFFER, extra="Content-Type: application/sdp"))
    assert bench.events[-1] == Acknowledged(number, OFFER)


@pytest.mark.parametrize(
    ("body", "extra"), [(b"", ""), (b"hello", "Content-Type: text/plain"), (OFFER, "Content-Type: application/isup")]
)
def test_an_ack_without_an_answer_ends_the_call(body: bytes, extra: str) -> None:
    bench, number, tag = offerless()
    bye = request_of(only(bench.send(packet("ACK", branch="ack", to_tag=tag, body=body, extra=extra))))
    assert (bye.method, bye.headers.first("Reason")) == ("BYE", NO_ANSWER)
    assert bench.events[-1] == Ended(number, "no_answer")


def test_a_bad_answer_is_the_gateways_to_hang_up_with_a_reason() -> None:
    bench, number, tag = offerless()
    bench.send(packet("ACK", branch="ack", to_tag=tag, body=b"v=nonsense"))
    bench.agent.bye(number, bench.now, reason=NO_ANSWER)
    assert request_of(only(bench.taken())).headers.first("Reason") == NO_ANSWER


def test_an_offerless_reinvite_is_answered_with_our_offer() -> None:
    bench = Bench()
    number, tag = bench.call()
    bench.send(packet("INVITE", seq=2, branch="re", to_tag=tag, body=b""))
    assert [event.body for event in bench.events if isinstance(event, Reinvited)] == [b""]
    bench.agent.accept(number, ANSWER, bench.now)
    assert response_of(only(bench.taken())).body == ANSWER
    bench.send(packet("ACK", seq=2, branch="re-ack", to_tag=tag, body=OFFER))
    assert bench.events[-1] == Acknowledged(number, OFFER)


def test_an_offerless_reinvite_whose_ack_has_no_answer_ends_the_call() -> None:
    bench = Bench()
    number, tag = bench.call()
    bench.send(packet("INVITE", seq=2, branch="re", to_tag=tag, body=b""))
    bench.agent.accept(number, ANSWER, bench.now)
    bench.taken()
    bench.send(packet("ACK", seq=2, branch="re-ack", to_tag=tag))
    assert bench.ends == ["no_answer"]


def test_an_update_without_an_offer_is_answered_at_once_and_moves_the_target() -> None:
    bench = Bench()
    number, tag = bench.call()
    raw = packet("UPDATE", seq=2, branch="u", to_tag=tag).replace(b"192.0.2.9:5061>", b"192.0.2.77:7000>")
    [ok] = bench.responses(raw)
    assert (ok.status, ok.body) == (200, b"")
    assert ok.contact is not None
    bench.agent.bye(number, bench.now)
    assert request_of(only(bench.taken())).uri == "sip:alice@192.0.2.77:7000"


def test_an_update_with_an_offer_is_the_gateways_to_answer() -> None:
    bench = Bench()
    number, tag = bench.call()
    raw = packet("UPDATE", seq=2, branch="u", to_tag=tag, body=OFFER)
    assert bench.send(raw) == []
    event = bench.events[-1]
    assert isinstance(event, Updated)
    assert (event.dialog, event.body, event.flow) == (number, OFFER, FLOW)
    assert bench.agent.update(number, ANSWER, bench.now)
    ok = only(bench.taken())
    assert (response_of(ok).status, response_of(ok).body) == (200, ANSWER)
    assert bench.send(raw) == [ok]
    assert not bench.agent.update(number, ANSWER, bench.now)
    assert bench.wait(60) == []  # an UPDATE has no ACK


def test_a_refused_update_leaves_the_call_as_it_was() -> None:
    bench = Bench()
    number, tag = bench.call()
    raw = packet("UPDATE", seq=2, branch="u", to_tag=tag, body=OFFER).replace(b"192.0.2.9:5061>", b"192.0.2.77:70>")
    bench.send(raw)
    assert bench.agent.update(number, None, bench.now)
    assert response_of(only(bench.taken())).status == 488
    bench.agent.bye(number, bench.now)
    assert request_of(only(bench.taken())).uri == "sip:alice@192.0.2.9:5061"


def test_an_update_that_the_gateway_forgets_is_answered() -> None:
    bench = Bench()
    number, tag = bench.call()
    bench.send(packet("UPDATE", seq=2, branch="u", to_tag=tag, body=OFFER))
    assert response_of(only(bench.wait(UPDATE_S_MAX))).status == 500
    assert not bench.agent.update(number, ANSWER, bench.now)


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_an_offer_while_an_update_is_open_must_come_later(method: str) -> None:
    bench = Bench()
    _, tag = bench.call()
    bench.send(packet("UPDATE", seq=2, branch="u2", to_tag=tag, body=OFFER))
    [early] = bench.responses(packet(method, seq=3, branch="x3", to_tag=tag, body=OFFER))
    assert early.status == 500
    assert 0 <= int(early.headers.first("Retry-After") or "-1") <= 10


def test_an_update_while_our_offer_waits_for_its_answer_is_491() -> None:
    bench, _, tag = offerless()
    assert bench.status(packet("UPDATE", seq=2, branch="u", to_tag=tag, body=OFFER)) == [491]
    assert bench.status(packet("UPDATE", seq=3, branch="u3", to_tag=tag)) == [200]


def test_an_update_before_the_first_answer_must_come_later() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    bench.agent.ring(bench.invited(), bench.now)
    tag = response_of(only(bench.taken())).to.tag
    assert bench.status(packet("UPDATE", seq=2, branch="u", to_tag=tag, body=OFFER)) == [500]
    assert bench.status(packet("UPDATE", seq=3, branch="u3", to_tag=tag)) == [200]


def test_bye_ends_an_open_update() -> None:
    bench = Bench()
    _, tag = bench.call()
    bench.send(packet("UPDATE", seq=2, branch="u", to_tag=tag, body=OFFER))
    assert bench.status(packet("BYE", seq=3, branch="b", to_tag=tag)) == [487, 200]
    assert bench.ends == ["bye"]


def test_an_update_with_another_kind_of_body_is_415() -> None:
    bench = Bench()
    _, tag = bench.call()
    raw = packet("UPDATE", seq=2, branch="u", to_tag=tag, body=b"x", extra="Content-Type: text/plain")
    assert bench.status(raw) == [415]


# CANCEL, whatever it races with


def test_cancel_that_comes_before_its_invite_does_not_stop_it() -> None:
    bench = Bench()
    assert bench.status(packet("CANCEL")) == [481]
    assert bench.status(packet("INVITE")) == [100]


def test_cancel_that_crosses_the_200_is_answered_and_the_call_stands_until_bye() -> None:
    bench = Bench()
    _, tag = bench.call(acknowledge=False)
    assert bench.status(packet("CANCEL")) == [200]
    assert bench.status(packet("CANCEL")) == [200]
    bench.send(packet("ACK", branch="ack", to_tag=tag))
    assert bench.ends == []
    assert bench.status(packet("BYE", seq=2, branch="b", to_tag=tag)) == [200]
    assert bench.ends == ["bye"]


def test_cancel_after_our_no_is_answered_and_the_no_goes_on() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    bench.agent.reject(bench.invited(), 486, "", bench.now)
    [no] = bench.taken()
    assert bench.status(packet("CANCEL")) == [200]
    assert bench.wait(0.6) == [no]
    assert bench.ends == ["rejected"]


def test_cancel_with_another_branch_cancels_nothing() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    assert bench.status(packet("CANCEL", branch="other")) == [481]
    assert bench.ends == []
