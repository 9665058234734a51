"""Reliable provisional responses at the server (RFC 3262), and early media."""

from __future__ import annotations

import pytest

from gateway.sip.events import Agreed, Cancelled, Ended, Invited, Updated
from tests.gateway.sip.bench import ANSWER, OFFER, Bench, only, packet, response_of

DEMANDED = "Require: 100rel"
KNOWN = "Supported: 100rel"


def invited(extra: str, *, body: bytes = OFFER) -> tuple[Bench, int]:
    """A pending INVITE."""
    bench = Bench()
    assert bench.status(packet("INVITE", extra=extra, body=body)) == [100]
    return bench, bench.invited()


def ring(bench: Bench, sdp: bytes | None = None) -> tuple[bytes, str, str]:
    """Rings reliably: the response, the value of RAck for it, and our tag."""
    assert bench.agent.ring(bench.invited(), bench.now, sdp)
    raw = only(bench.taken())
    response = response_of(raw)
    assert "100rel" in (response.headers.first("Require") or "")
    return raw, f"{response.headers.first('RSeq')} 1 INVITE", response.to.tag


def prack(rack: str, tag: str, *, seq: int = 2, branch: str = "p", body: bytes = b"") -> bytes:
    """The peer's PRACK."""
    return packet("PRACK", seq=seq, branch=branch, to_tag=tag, extra=f"RAck: {rack}", body=body)


@pytest.mark.parametrize(
    ("extra", "sdp", "status", "reliable"),
    [
        ("", None, 180, False),
        (KNOWN, None, 180, False),
        (DEMANDED, None, 180, True),
        ("", ANSWER, 183, False),
        (KNOWN, ANSWER, 183, True),
        (DEMANDED, ANSWER, 183, True),
    ],
)
def test_reliable_where_it_is_demanded_or_sdp_must_get_across(
    extra: str, sdp: bytes | None, status: int, reliable: bool
) -> None:
    bench, number = invited(extra)
    assert bench.agent.ring(number, bench.now, sdp)
    response = response_of(only(bench.taken()))
    assert (response.status, response.body) == (status, sdp or b"")
    assert (response.headers.first("RSeq") is not None) == reliable
    assert response.contact is not None
    assert response.headers.first("Allow") == "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO"


def test_it_is_sent_again_until_its_prack() -> None:
    bench, _ = invited(DEMANDED)
    raw, rack, tag = ring(bench)
    assert bench.wait(4) == [raw, raw, raw]  # after 0.5, 1.5 and 3.5 s
    assert bench.status(prack(rack, tag)) == [200]
    assert bench.wait(60) == []


def test_a_prack_that_comes_again_gets_the_same_answer() -> None:
    bench, _ = invited(DEMANDED)
    _, rack, tag = ring(bench)
    first = only(bench.send(prack(rack, tag)))
    assert bench.send(prack(rack, tag)) == [first]


@pytest.mark.parametrize(
    ("rack", "status"),
    [("1 1 INVITE", 481), ("999999999 1 INVITE", 481), ("nonsense", 400), ("1 INVITE", 400)],
)
def test_a_prack_of_nothing_is_refused_and_the_response_goes_on(rack: str, status: int) -> None:
    bench, _ = invited(DEMANDED)
    raw, _, tag = ring(bench)
    assert bench.status(prack(rack, tag)) == [status]
    assert bench.wait(0.6) == [raw]


def test_the_number_in_a_prack_must_be_its_invites() -> None:
    bench, _ = invited(DEMANDED)
    _, rack, tag = ring(bench)
    assert bench.status(prack(rack.replace(" 1 ", " 2 "), tag)) == [481]


def test_without_prack_the_invite_is_given_up() -> None:
    bench, number = invited(DEMANDED)
    raw, _, _ = ring(bench)
    sent = bench.wait(32)
    assert sent[:-1] == [raw] * 6
    assert response_of(sent[-1]).status == 504
    assert bench.events[-1] == Ended(number, "no_prack")
    bench.send(packet("ACK"))
    bench.wait(181)
    assert (bench.agent.dialogs, bench.agent.next_deadline()) == (0, None)


def test_a_second_one_waits_for_the_first_and_counts_on() -> None:
    bench, number = invited(DEMANDED)
    _, rack, tag = ring(bench)
    assert not bench.agent.ring(number, bench.now)
    bench.send(prack(rack, tag))
    _, again, _ = ring(bench)
    assert int(again.split()[0]) == int(rack.split()[0]) + 1


def test_200_may_overtake_a_response_without_sdp_and_its_late_prack_is_welcome() -> None:
    bench, number = invited(DEMANDED)
    _, rack, tag = ring(bench)
    assert bench.agent.accept(number, ANSWER, bench.now)
    ok = response_of(only(bench.taken()))
    assert (ok.status, ok.body) == (200, ANSWER)
    bench.send(packet("ACK", branch="ack", to_tag=tag))
    assert bench.wait(20) == []  # the 180 is not sent any more
    assert bench.status(prack(rack, tag)) == [200]
    assert bench.status(prack(rack, tag, seq=3, branch="p3")) == [481]


def test_200_waits_for_the_prack_of_early_media_and_then_has_no_sdp() -> None:
    bench, number = invited(KNOWN)
    raw, rack, tag = ring(bench, ANSWER)
    assert bench.agent.accept(number, ANSWER, bench.now)
    assert not bench.agent.accept(number, ANSWER, bench.now)
    assert bench.taken() == []
    assert bench.wait(0.5) == [raw]
    acknowledged, ok = bench.responses(prack(rack, tag))
    assert (acknowledged.status, ok.status, ok.body) == (200, 200, b"")
    assert bench.status(packet("BYE", seq=3, branch="b", to_tag=tag)) == [200]


def test_200_that_waits_in_vain_becomes_504() -> None:
    bench, number = invited(KNOWN)
    ring(bench, ANSWER)
    bench.agent.accept(number, ANSWER, bench.now)
    assert response_of(bench.wait(32)[-1]).status == 504
    assert bench.ends == ["no_prack"]


def test_a_no_does_not_wait() -> None:
    bench, number = invited(KNOWN)
    ring(bench, ANSWER)
    assert bench.agent.reject(number, 486, "", bench.now)
    assert response_of(only(bench.taken())).status == 486
    bench.send(packet("ACK"))
    assert bench.wait(60) == []


def test_a_cancel_ends_the_ringing() -> None:
    bench, number = invited(KNOWN)
    ring(bench, ANSWER)
    bench.agent.accept(number, ANSWER, bench.now)
    assert bench.status(packet("CANCEL")) == [200, 487]
    assert bench.events[-2:] == [Cancelled(number), Ended(number, "cancel")]
    bench.send(packet("ACK"))
    assert bench.wait(60) == []


def test_an_offerless_call_gets_our_offer_early_and_its_answer_in_the_prack() -> None:
    bench, number = invited(KNOWN, body=b"")
    _, rack, tag = ring(bench, ANSWER)
    assert bench.status(prack(rack, tag, body=OFFER)) == [200]
    assert bench.events[-1] == Agreed(number, OFFER)
    assert bench.agent.accept(number, ANSWER, bench.now)
    assert response_of(only(bench.taken())).body == b""
    bench.send(packet("ACK", branch="ack", to_tag=tag))
    assert bench.ends == []


def test_an_early_offer_that_the_prack_does_not_answer_ends_the_call() -> None:
    bench, number = invited(KNOWN, body=b"")
    _, rack, tag = ring(bench, ANSWER)
    assert bench.status(prack(rack, tag)) == [400, 400]
    assert bench.events[-1] == Ended(number, "no_answer")


def test_an_offer_never_goes_where_it_could_get_lost() -> None:
    bench, number = invited("", body=b"")
    assert bench.agent.ring(number, bench.now, ANSWER)
    ringing = response_of(only(bench.taken()))
    assert (ringing.status, ringing.body) == (180, b"")


def test_the_first_reliable_answer_to_an_offerless_call_must_have_the_offer() -> None:
    bench, number = invited(DEMANDED, body=b"")
    assert not bench.agent.ring(number, bench.now)
    assert bench.taken() == []
    ring(bench, ANSWER)


def test_a_new_offer_in_the_prack_is_answered_in_its_200_before_the_call_is() -> None:
    bench, number = invited(KNOWN)
    _, rack, tag = ring(bench, ANSWER)
    bench.agent.accept(number, ANSWER, bench.now)
    assert bench.send(prack(rack, tag, body=OFFER)) == []
    assert isinstance(bench.events[-1], Updated)
    assert bench.agent.update(number, ANSWER, bench.now)
    acknowledged, ok = (response_of(raw) for raw in bench.taken())
    assert (acknowledged.cseq.method, acknowledged.body, ok.cseq.method, ok.body) == ("PRACK", ANSWER, "INVITE", b"")


def test_over_a_stream_it_is_sent_again_too() -> None:
    bench = Bench(transport="tcp")
    bench.send(packet("INVITE", extra=DEMANDED).replace(b"/UDP", b"/TCP"))
    raw, _, _ = ring(bench)
    assert bench.wait(1.5) == [raw, raw]  # a proxy on the way may have lost it
    assert [type(event) for event in bench.events] == [Invited]
