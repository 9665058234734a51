"""Recording clients at the user agent: what it answers them, what is an offer, and what the gateway is told."""

from __future__ import annotations

import pytest

from gateway.sip.events import Acknowledged, Invited, Reinvited, Told, Updated
from tests.gateway.sip.bench import ANSWER, OFFER, Bench, only, packet, response_of

XML = b"<recording xmlns='urn:ietf:params:xml:ns:recording:1'/>"
MIXED = "Content-Type: multipart/mixed;boundary=b"
METADATA = "Content-Type: application/rs-metadata+xml"
SRC = "Require: siprec"


def body(*parts: tuple[str, bytes]) -> bytes:
    return (
        b"".join(b"\r\n--b\r\nContent-Type:%s\r\n\r\n%s" % (kind.encode(), data) for kind, data in parts) + b"\r\n--b--"
    )


BOTH = body(("application/rs-metadata+xml", XML), ("application/sdp", OFFER))
ALONE = body(("application/rs-metadata", XML))


def standing(bench: Bench, content: bytes = BOTH, extra: str = f"{SRC}\n{MIXED}") -> tuple[int, str]:
    """A recording session that stands."""
    bench.send(packet("INVITE", body=content, extra=extra))
    number = bench.invited()
    bench.agent.accept(number, ANSWER, bench.now)
    answer = response_of(bench.taken()[-1])
    bench.send(packet("ACK", branch="ack", to_tag=answer.to.tag))
    return number, answer.to.tag


def test_an_offer_of_several_parts_is_the_description_among_them_and_the_answer_is_plain() -> None:
    bench = Bench()
    bench.send(packet("INVITE", body=BOTH, extra=f"{SRC}\n{MIXED}"))
    (invited,) = (event for event in bench.events if isinstance(event, Invited))
    assert (invited.body, invited.request.metadata) == (OFFER, (XML,))
    bench.agent.accept(invited.dialog, ANSWER, bench.now)
    answer = response_of(only(bench.taken()))
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.headers.first("Content-Type") == "application/sdp"
    assert (answer.headers.first("Contact") or "").endswith(">;+sip.srs")
    assert "siprec" in (answer.headers.first("Supported") or "")


def test_a_plain_caller_is_not_told_of_a_recording_server() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    assert "sip.srs" not in (response_of(only(bench.taken())).headers.first("Contact") or "")


@pytest.mark.parametrize(
    ("content", "extra", "status"),
    [
        (BOTH, "Require: siprec, vendor.option", 420),
        (BOTH.replace(b"--b", b"--c"), SRC, 400),
        (BOTH.replace(b"--b", b"--c"), "", 400),
        (body(("application/sdp", OFFER), ("text/plain\r\nContent-Disposition: x;handling=required", b"x")), SRC, 415),
    ],
)
def test_what_is_not_supported_and_what_is_broken_is_refused(content: bytes, extra: str, status: int) -> None:
    bench = Bench()
    (answer,) = bench.responses(packet("INVITE", body=content, extra=f"{extra}\n{MIXED}".strip()))
    assert answer.status == status
    if status == 420:
        assert answer.headers.first("Unsupported") == "vendor.option"
    assert bench.agent.dialogs == 0


def test_metadata_in_an_update_are_no_offer_and_the_gateway_is_told() -> None:
    bench = Bench()
    number, tag = standing(bench)
    for seq, (extra, content) in enumerate(((METADATA, XML), (MIXED, ALONE)), 2):
        (answer,) = bench.responses(packet("UPDATE", seq=seq, branch=f"u{seq}", to_tag=tag, body=content, extra=extra))
        assert (answer.status, answer.body) == (200, b"")
    told = [event for event in bench.events if isinstance(event, Told)]
    assert [(event.dialog, event.request.metadata) for event in told] == [(number, (XML,))] * 2


def test_metadata_beside_a_description_in_an_update_come_with_the_offer() -> None:
    bench = Bench()
    number, tag = standing(bench)
    bench.send(packet("UPDATE", seq=2, branch="u", to_tag=tag, body=BOTH, extra=MIXED))
    (updated,) = (event for event in bench.events if isinstance(event, Updated))
    assert (updated.dialog, updated.body, updated.request.metadata) == (number, OFFER, (XML,))
    assert not [event for event in bench.events if isinstance(event, Told)]


def test_a_reinvite_with_metadata_alone_leaves_the_offer_to_us() -> None:
    bench = Bench()
    number, tag = standing(bench)
    bench.send(packet("INVITE", seq=2, branch="r", to_tag=tag, body=ALONE, extra=MIXED))
    (reinvited,) = (event for event in bench.events if isinstance(event, Reinvited))
    assert (reinvited.body, reinvited.request.metadata) == (b"", (XML,))
    bench.agent.accept(number, OFFER, bench.now)
    assert response_of(bench.taken()[-1]).body == OFFER
    answered = body(("application/sdp", ANSWER), ("application/rs-metadata+xml", XML))
    bench.send(packet("ACK", seq=2, branch="ra", to_tag=tag, body=answered, extra=MIXED))
    assert bench.events[-1] == Acknowledged(number, ANSWER)
