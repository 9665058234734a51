"""One call's descriptions: answers, our own offers, and when the version rises."""

from __future__ import annotations

import pytest

from gateway.ingest.negotiation import Negotiation
from media.errors import Malformed, Unsupported
from media.sdp import Direction, SessionDescription, choose_codec, parse

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
AUDIO = "m=audio 6000 RTP/AVP 0\r\n"
LABELLED = "m=audio 6002 RTP/AVP 8\r\na=label:2\r\n"
VIDEO = "m=video 6004 RTP/AVP 96\r\n"


def described(*lines: str) -> bytes:
    """A peer's description."""
    return (HEAD + "".join(lines)).encode()


def negotiation(*ports: int | None, receive_only: bool = False) -> Negotiation:
    """Of a call with these RTP ports; None for an m-line without a leg."""
    known = {index: port for index, port in enumerate(ports) if port is not None}
    return Negotiation(known, origin_id=7, address="192.0.2.1", receive_only=receive_only)


def version(raw: bytes) -> int:
    """Of a description."""
    return int(parse(raw).origin.version)


def test_our_first_offer_is_one_audio_line_with_all_that_we_take() -> None:
    ours = parse(negotiation(40000).offer())
    [line] = ours.media
    assert (line.kind, line.port, line.formats) == ("audio", 40000, ("8", "0", "101", "13"))
    assert ours.direction(line) is Direction.SENDRECV
    assert ours.address(line) == "192.0.2.1"


def test_a_trunk_that_we_only_receive_from_is_offered_that() -> None:
    ours = parse(negotiation(40000, receive_only=True).offer())
    assert ours.direction(ours.media[0]) is Direction.RECVONLY


def test_an_offer_in_a_running_call_keeps_every_line_in_its_place() -> None:
    call = negotiation(40000, 40002, None)
    call.answer(parse(described(AUDIO, LABELLED, VIDEO)))
    first, second, third = parse(call.offer()).media
    assert (first.port, second.port, second.value("label")) == (40000, 40002, "2")
    assert (third.kind, third.port, third.formats) == ("video", 0, ("96",))


def test_the_answer_to_our_offer_is_taken() -> None:
    call = negotiation(40000)
    call.offer()
    theirs = call.answered(described(AUDIO))
    assert isinstance(theirs, SessionDescription)
    assert choose_codec(theirs.media[0]) is not None


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"nonsense", Malformed),
        (described(), Unsupported),
        (described("m=audio 0 RTP/AVP 0\r\n"), Unsupported),
        (described("m=audio 6000 RTP/AVP 18\r\n"), Unsupported),
        (described(VIDEO), Unsupported),
    ],
)
def test_a_description_that_the_call_cannot_go_on_with(body: bytes, error: type[Exception]) -> None:
    call = negotiation(40000)
    call.offer()
    with pytest.raises(error):
        call.answered(body)


def test_m_lines_never_go() -> None:
    call = negotiation(40000, 40002)
    call.answer(parse(described(AUDIO, LABELLED)))
    with pytest.raises(Unsupported):
        call.read(described(AUDIO))


def test_the_version_rises_exactly_when_our_description_changes() -> None:
    call = negotiation(40000)
    offer = parse(described(AUDIO))
    held = parse(described(AUDIO, "a=sendonly\r\n"))
    first = call.answer(offer)
    assert call.answer(offer) == first
    assert [version(raw) for raw in (first, call.answer(held), call.answer(held), call.answer(offer))] == [1, 2, 2, 3]
    assert version(call.offer()) == 4


WIDE = b"v=0\no=- 1 1 IN IP4 192.0.2.9\nc=IN IP4 192.0.2.9\nm=audio 4000 RTP/AVP 9 %s\na=rtpmap:96 opus/48000/2\n"


@pytest.mark.parametrize(
    ("others", "masked", "taken"),
    [(b"96 8", True, "8"), (b"96 8", False, "9"), (b"96", True, "9"), (b"18 0 96", True, "0")],
)
def test_where_tones_are_silenced_a_codec_is_taken_in_which_they_are_found(
    others: bytes, masked: bool, taken: str
) -> None:
    negotiation = Negotiation({0: 5000}, origin_id=7, address="192.0.2.1", receive_only=False, masked=masked)
    (media,) = parse(negotiation.answer(negotiation.read(WIDE % others))).media
    assert media.formats == (taken,)
