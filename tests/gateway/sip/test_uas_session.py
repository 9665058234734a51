"""Session timers at the server (RFC 4028): the peer refreshes, we refresh, nobody does."""

from __future__ import annotations

import pytest

from gateway.sip.events import Agreed, Ended
from gateway.sip.invitations import PENDING_S_MAX
from gateway.sip.upkeep import BUSY_S, EXPIRED, glare_s
from tests.gateway.sip.bench import ANSWER, OFFER, Bench, only, packet, reply_to, request_of, response_of

EVERYTHING_S = PENDING_S_MAX + 64.0  # after this no timer of a call that is over is left

PEER_REFRESHES = "Supported: timer\nSession-Expires: 90;refresher=uac"
WE_REFRESH = "Supported: timer\nSession-Expires: 90;refresher=uas"
WE_REFRESH_BY_UPDATE = WE_REFRESH + "\nAllow: INVITE, ACK, BYE, UPDATE"


def test_the_2xx_says_who_refreshes_and_requires_it_of_a_peer_that_can() -> None:
    bench = Bench()
    bench.send(packet("INVITE", extra="Supported: timer"))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    ok = response_of(only(bench.taken()))
    assert ok.headers.first("Session-Expires") == "1800;refresher=uac"
    assert ok.headers.first("Require") == "timer"


def test_a_peer_that_knows_no_timers_is_asked_for_none() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    ok = response_of(only(bench.taken()))
    assert (ok.headers.first("Session-Expires"), ok.headers.first("Require")) == (None, None)


def test_a_call_that_its_peer_does_not_refresh_is_hung_up() -> None:
    bench = Bench()
    number, _ = bench.call(extra=PEER_REFRESHES)
    assert bench.wait(59.9) == []
    bye = request_of(only(bench.next(0.2)))
    assert (bye.method, bye.headers.first("Reason")) == ("BYE", EXPIRED)
    assert bench.events[-1] == Ended(number, "expired")
    bench.wait(EVERYTHING_S)
    assert (bench.agent.dialogs, bench.agent.next_deadline(), bench.ends) == (0, None, ["expired"])


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_the_peers_refresh_keeps_the_call(method: str) -> None:
    bench = Bench()
    number, tag = bench.call(extra=PEER_REFRESHES)
    for seq in range(2, 12):
        bench.wait(45)
        body = OFFER if method == "INVITE" else b""
        raw = packet(method, seq=seq, branch=f"r{seq}", to_tag=tag, body=body, extra=PEER_REFRESHES)
        [answer] = bench.send(raw)
        if method == "INVITE":
            bench.agent.accept(number, ANSWER, bench.now)
            answer = only(bench.taken())
            bench.send(packet("ACK", seq=seq, branch=f"k{seq}", to_tag=tag))
        assert response_of(answer).headers.first("Session-Expires") == "90;refresher=uac"
    bench.wait(59)
    assert bench.ends == []
    bench.wait(2)
    assert bench.ends == ["expired"]


def test_a_refresh_with_too_short_an_interval_changes_nothing() -> None:
    bench = Bench()
    _, tag = bench.call(extra=PEER_REFRESHES)
    bench.wait(45)
    raw = packet("UPDATE", seq=2, branch="u", to_tag=tag, extra="Supported: timer\nSession-Expires: 30")
    [refusal] = bench.responses(raw)
    assert (refusal.status, refusal.headers.first("Min-SE")) == (422, "90")
    bench.wait(16)
    assert bench.ends == ["expired"]


def test_we_refresh_by_update_where_the_peer_takes_it() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE)
    for _ in range(5):
        assert bench.wait(44.9) == []
        raw = only(bench.next(0.2))
        update = request_of(raw)
        assert (update.method, update.body) == ("UPDATE", b"")
        assert update.headers.first("Session-Expires") == "90;refresher=uac"
        assert update.contact is not None
        assert bench.send(reply_to(raw, 200, extra="Session-Expires: 90;refresher=uac")) == []
    assert bench.ends == []


def test_we_refresh_by_reinvite_with_our_last_description_and_tell_the_answer() -> None:
    bench = Bench()
    number, _ = bench.call(extra=WE_REFRESH)
    raw = only(bench.next(45))
    assert (request_of(raw).method, request_of(raw).body) == ("INVITE", ANSWER)
    ok = reply_to(raw, 200, extra="Session-Expires: 90;refresher=uac\nContact: <sip:new@192.0.2.9:7000>", body=OFFER)
    ack = only(bench.send(ok))
    assert (request_of(ack).method, request_of(ack).uri) == ("ACK", "sip:new@192.0.2.9:7000")
    assert request_of(ack).cseq.number == request_of(raw).cseq.number
    assert bench.events[-1] == Agreed(number, OFFER)
    assert bench.send(ok) == [ack]
    assert request_of(only(bench.next(45))).uri == "sip:new@192.0.2.9:7000"


def test_a_peer_that_does_not_know_timers_is_refreshed_by_us() -> None:
    bench = Bench()
    bench.call(extra="Session-Expires: 90")  # put in by a proxy
    assert request_of(only(bench.next(45))).method == "INVITE"


def test_a_2xx_without_a_timer_ends_the_refreshing() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE)
    bench.send(reply_to(only(bench.next(45)), 200))
    assert bench.wait(1000) == []
    assert (bench.ends, bench.agent.next_deadline()) == ([], None)


def test_the_peer_takes_over_the_refreshing() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE)
    bench.send(reply_to(only(bench.next(45)), 200, extra="Session-Expires: 90;refresher=uas"))
    assert bench.wait(59) == []
    assert request_of(only(bench.next(2))).method == "BYE"


@pytest.mark.parametrize("status", [408, 481])
def test_a_peer_that_does_not_know_the_call_ends_it(status: int) -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE)
    bye = only(bench.send(reply_to(only(bench.next(45)), status)))
    assert (request_of(bye).method, bench.ends) == ("BYE", ["lost"])


def test_a_refresh_that_nobody_answers_ends_the_call_when_the_session_ends() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE)
    bench.wait(62)
    assert bench.ends == ["expired"]
    bench.wait(EVERYTHING_S)
    assert (bench.agent.dialogs, bench.agent.next_deadline()) == (0, None)


def test_a_refresh_that_nobody_answers_ends_a_long_session_too() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE.replace("90", "1800"))
    bench.wait(900 + 33)
    assert bench.ends == ["lost"]


def test_a_reinvite_that_is_only_trying_is_not_waited_for_beyond_the_session() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH)
    assert bench.send(reply_to(only(bench.next(45)), 100)) == []
    bench.wait(16)
    assert bench.ends == ["expired"]
    bench.wait(EVERYTHING_S)
    assert (bench.agent.dialogs, bench.agent.next_deadline()) == (0, None)


def test_an_update_that_the_peer_does_not_know_after_all_becomes_a_reinvite() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE)
    assert request_of(only(bench.send(reply_to(only(bench.next(45)), 405)))).method == "INVITE"


def test_422_is_answered_with_the_interval_that_it_wants_once() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE)
    again = only(bench.send(reply_to(only(bench.next(45)), 422, extra="Min-SE: 120")))
    assert request_of(again).headers.first("Session-Expires") == "120;refresher=uac"
    assert request_of(again).headers.first("Min-SE") == "120"
    assert bench.send(reply_to(again, 422, extra="Min-SE: 120")) == []  # the same error is not provoked in a loop


def test_422_for_more_than_a_day_is_not_followed() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE)
    assert bench.send(reply_to(only(bench.next(45)), 422, extra="Min-SE: 4000000000")) == []
    bench.wait(16)
    assert bench.ends == ["expired"]


def test_491_is_tried_again_after_a_while() -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH)
    ack = only(bench.send(reply_to(only(bench.next(45)), 491)))
    assert request_of(ack).method == "ACK"
    assert request_of(only(bench.next(2.01))).method == "INVITE"


@pytest.mark.parametrize("status", [500, 503, 403, 488])
def test_another_refusal_is_tried_again_and_not_forever(status: int) -> None:
    bench = Bench()
    bench.call(extra=WE_REFRESH_BY_UPDATE.replace("90", "1800"))
    tries, raw = 0, only(bench.next(900))
    while request_of(raw).method == "UPDATE":
        tries += 1
        bench.send(reply_to(raw, status))
        raw = only(bench.next(900))
    assert (request_of(raw).method, bench.ends) == ("BYE", ["expired"])
    assert 3 <= tries <= 8


def test_our_reinvite_waits_for_the_peers() -> None:
    bench = Bench()
    number, tag = bench.call(extra=WE_REFRESH)
    bench.wait(44)
    bench.send(packet("INVITE", seq=2, branch="re", to_tag=tag, extra=WE_REFRESH))
    assert bench.wait(1) == []
    bench.agent.reject(number, 488, "", bench.now)
    bench.taken()
    bench.send(packet("ACK", seq=2, branch="re", to_tag=tag))
    assert request_of(only(bench.next(BUSY_S))).method == "INVITE"


def test_the_peers_reinvite_while_ours_is_open_is_491() -> None:
    bench = Bench()
    number, tag = bench.call(extra=WE_REFRESH)
    ours = only(bench.next(45))
    assert bench.status(packet("INVITE", seq=2, branch="r2", to_tag=tag)) == [491]
    bench.send(packet("ACK", seq=2, branch="r2", to_tag=tag))
    assert bench.status(packet("UPDATE", seq=3, branch="u3", to_tag=tag, body=OFFER)) == [491]
    bench.send(reply_to(ours, 200, extra="Session-Expires: 90;refresher=uac", body=OFFER))
    assert bench.status(packet("INVITE", seq=4, branch="r4", to_tag=tag)) == [100]
    assert bench.agent.accept(number, ANSWER, bench.now)


def test_a_hang_up_while_our_refresh_is_open_leaves_nothing() -> None:
    bench = Bench()
    number, _ = bench.call(extra=WE_REFRESH)
    reinvite = only(bench.next(45))
    bench.agent.bye(number, bench.now)
    bye = only(bench.taken())
    ack = only(bench.send(reply_to(reinvite, 200, body=OFFER)))  # it was answered before the BYE came
    assert request_of(ack).method == "ACK"
    bench.send(reply_to(bye, 200))
    bench.wait(EVERYTHING_S)
    assert (bench.agent.dialogs, bench.agent.next_deadline(), bench.ends) == (0, None, ["local"])


def test_timers_of_ended_calls_are_gone() -> None:
    bench = Bench()
    for number in range(500):
        bench.send(packet("INVITE", call=f"c{number}", extra=PEER_REFRESHES))
        bench.agent.accept(bench.invited(), ANSWER, bench.now)
        tag = response_of(bench.taken()[0]).to.tag
        bench.send(packet("ACK", call=f"c{number}", branch="ack", to_tag=tag))
        bench.send(packet("BYE", call=f"c{number}", seq=2, branch="bye", to_tag=tag))
    bench.wait(181)
    assert (bench.agent.dialogs, bench.agent.next_deadline()) == (0, None)
    assert bench.ends == ["bye"] * 500


@pytest.mark.parametrize("owner", [False, True])
def test_back_off_after_491_is_within_its_range_in_steps_of_ten_ms(owner: bool) -> None:
    waits = {glare_s(number.to_bytes(2, "big"), owner=owner) for number in range(2000)}
    low, high = (2.1, 4.0) if owner else (0.0, 2.0)
    assert min(waits) == pytest.approx(low)
    assert max(waits) == pytest.approx(high)
    assert all(round(wait * 100, 6) == round(wait * 100) for wait in waits)
