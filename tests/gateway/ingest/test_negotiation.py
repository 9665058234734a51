"""One call's descriptions: answers, our own offers, and when the version rises."""

from __future__ import annotations

import os

import pytest

from gateway.ingest.keying import Keying
from gateway.ingest.negotiation import Negotiation
from media.errors import Malformed, Unsupported
from media.sdp import SUITES, Crypto, Direction, MasterKey, SessionDescription, Terms, choose_codec, parse, shares_port

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n"
AUDIO = "m=audio 6000 RTP/AVP 0\r\n"
LABELLED = "m=audio 6002 RTP/AVP 8\r\na=label:2\r\n"
NO_KEYS = Terms()
OURS = "192.0.2.1"
VIDEO = "m=video 6004 RTP/AVP 96\r\n"


def described(*lines: str) -> bytes:
    """A peer's description."""
    return (HEAD + "".join(lines)).encode()


def negotiation(*ports: int | None, receive_only: bool = False, terms: Terms = NO_KEYS) -> Negotiation:
    """Of a call with these RTP ports; None for an m-line without a leg."""
    known = {index: (OURS, port) for index, port in enumerate(ports) if port is not None}
    return Negotiation(known, Keying(terms, os.urandom), origin_id=7, receive_only=receive_only)


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


SIX, SIX_HEAD = "2001:db8::1", HEAD.replace("IP4 192.0.2.9", "IP6 2001:db8::9")
MUX = "m=audio 6000 RTP/AVP 8\r\na=rtcp-mux\r\n"


def negotiation6(*places: tuple[str, int], ipv6: bool = True) -> Negotiation:
    return Negotiation(dict(enumerate(places)), Keying(NO_KEYS, os.urandom), origin_id=7, receive_only=False, ipv6=ipv6)


def test_an_offer_over_ipv6_is_answered_over_it() -> None:
    ours = parse(negotiation6((SIX, 40000)).answer(parse((SIX_HEAD + AUDIO).encode())))
    assert (str(ours.connection), str(ours.origin)) == (f"IN IP6 {SIX}", f"- 7 1 IN IP6 {SIX}")
    assert ours.media[0].connection is None


def test_m_lines_of_two_families_are_answered_each_in_its_own() -> None:
    call = negotiation6((OURS, 40000), (SIX, 40002))
    ours = parse(call.answer(call.read(described(AUDIO, "m=audio 6002 RTP/AVP 8\r\nc=IN IP6 2001:db8::9\r\n"))))
    assert [ours.address(line) for line in ours.media] == [OURS, SIX]
    assert str(ours.media[1].connection) == f"IN IP6 {SIX}"
    again = parse(call.offer())
    assert [again.address(line) for line in again.media] == [OURS, SIX]


def test_a_new_m_line_over_ipv6_is_refused_where_nothing_is_received_over_it() -> None:
    lines = (AUDIO, "m=audio 6002 RTP/AVP 8\r\nc=IN IP6 2001:db8::9\r\n")
    assert [line.port for line in negotiation6((OURS, 40000)).read(described(*lines)).media] == [6000, 6002]
    assert [line.port for line in negotiation6((OURS, 40000), ipv6=False).read(described(*lines)).media] == [6000, 0]


@pytest.mark.parametrize(("place", "body"), [(OURS, SIX_HEAD + AUDIO), (SIX, HEAD + AUDIO)])
def test_a_call_does_not_move_to_the_other_family(place: str, body: str) -> None:
    with pytest.raises(Unsupported, match="IPv4 and IPv6"):
        negotiation6((place, 40000)).read(body.encode())


@pytest.mark.parametrize("nobody", ["IP4 0.0.0.0", "IP6 ::"])
@pytest.mark.parametrize("place", [OURS, SIX])
def test_nobodys_address_is_hold_in_either(place: str, nobody: str) -> None:
    body = HEAD.replace("c=IN IP4 192.0.2.9", f"c=IN {nobody}") + AUDIO
    assert negotiation6((place, 40000)).read(body.encode()).media[0].port


def test_a_shared_port_is_answered_and_offered_again_and_not_before() -> None:
    call = negotiation(40000)
    assert not parse(call.offer()).media[0].rtcp_mux
    assert parse(call.answer(call.read(described(MUX)))).media[0].rtcp_mux
    assert parse(call.offer()).media[0].rtcp_mux
    assert not parse(call.answer(call.read(described(AUDIO)))).media[0].rtcp_mux
    assert not parse(call.offer()).media[0].rtcp_mux


def test_an_answer_shares_only_what_was_offered() -> None:
    call = negotiation(40000)
    call.offer()
    assert not shares_port(call.answered(described(MUX)).media[0])
    assert not shares_port(call.answered(described(MUX, "a=rtcp-mux-only\r\n")).media[0])
    call.answer(call.read(described(MUX)))
    call.offer()
    assert shares_port(call.answered(described(MUX)).media[0])


KEYS, ONLY_KEYS = Terms(keys=True), Terms(keys=True, plain=False)
CM, GCM = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"


def secure(fill: bytes, suite: str = CM, tag: int = 1, protocol: str = "RTP/SAVP") -> bytes:
    """A description with one key."""
    line = Crypto(tag, suite, MasterKey(fill * SUITES[suite])).attribute
    return described(f"m=audio 6000 {protocol} 8\r\na={line}\r\n")


def agreed(call: Negotiation, body: bytes) -> dict[str, str]:
    """What the media worker is told after an offer of the peer; our answer says the same."""
    [line] = parse(call.answer(call.read(body))).media[0].values("crypto") or ("",)
    told = call.keying.told(0)
    assert line.split()[1:2] == ([told["suite"]] if told else [])
    return told


def test_a_repeated_key_is_answered_as_before_another_by_a_new_one() -> None:
    call = negotiation(40000, terms=KEYS)
    first = agreed(call, secure(b"a"))
    assert first["theirs"] == (b"a" * 30).hex()
    assert agreed(call, secure(b"a")) == first
    second = agreed(call, secure(b"b"))
    assert second["theirs"] == (b"b" * 30).hex()
    assert second["ours"] != first["ours"]
    assert agreed(call, secure(b"c", GCM, 2))["suite"] == GCM
    assert agreed(call, described("m=audio 6000 RTP/AVP 8\r\n")) == {}
    assert agreed(call, secure(b"a"))["ours"] != first["ours"]


def test_media_that_must_be_encrypted_is_not_taken_otherwise() -> None:
    call = negotiation(40000, terms=ONLY_KEYS)
    before = agreed(call, secure(b"a"))
    with pytest.raises(Unsupported):
        call.read(described(AUDIO))
    assert call.keying.told(0) == before


def test_a_held_line_keeps_its_keys() -> None:
    call = negotiation(40000, 40002, terms=KEYS)
    both = secure(b"a").decode() + secure(b"b").decode().removeprefix(HEAD)
    agreed(call, both.encode())
    before = call.keying.told(1)
    call.answer(call.read(secure(b"a") + b"m=audio 0 RTP/SAVP 8\r\n"))
    assert call.keying.told(1) == before


@pytest.mark.parametrize(("terms", "protocol"), [(KEYS, "RTP/AVP"), (ONLY_KEYS, "RTP/SAVP")])
def test_our_offer_has_a_key_for_each_suite_and_its_answer_chooses(terms: Terms, protocol: str) -> None:
    call = negotiation(40000, terms=terms)
    media = parse(call.offer()).media[0]
    lines = media.values("crypto")
    assert (media.protocol, [line.split()[1] for line in lines]) == (protocol, list(SUITES))
    assert len({line.split()[2] for line in lines}) == len(SUITES)
    assert call.keying.told(0) == {"suite": ""}
    call.answered(secure(b"p", CM, 3, protocol))
    told = call.keying.told(0)
    assert told["suite"] == CM
    assert lines[2] == str(Crypto(3, CM, MasterKey(bytes.fromhex(told["ours"]))).attribute.value)
    again = parse(call.offer()).media[0]
    assert (again.protocol, again.values("crypto")) == (protocol, lines[2:3])


@pytest.mark.parametrize(("terms", "taken"), [(KEYS, True), (ONLY_KEYS, False)])
def test_an_answer_without_a_key_is_plain_where_that_is_taken(terms: Terms, taken: bool) -> None:
    call = negotiation(40000, terms=terms)
    call.offer()
    answered = described("m=audio 6000 RTP/AVP 8\r\n")
    if taken:
        call.answered(answered)
        assert call.keying.told(0) == {}
    else:
        with pytest.raises(Unsupported):
            call.answered(answered)


def test_an_answer_that_takes_up_no_line_of_ours_is_refused() -> None:
    call = negotiation(40000, terms=ONLY_KEYS)
    call.offer()
    with pytest.raises(Unsupported):
        call.answered(secure(b"p", CM, 4))


def test_no_keys_are_offered_where_others_could_read_them() -> None:
    assert not parse(negotiation(40000).offer()).media[0].values("crypto")


def test_the_answer_to_a_refresh_goes_on_with_the_keys_or_brings_another_of_the_peers() -> None:
    call = negotiation(40000, terms=ONLY_KEYS)
    before = agreed(call, secure(b"a"))
    call.answered(secure(b"a"))
    assert call.keying.told(0) == before
    call.answered(secure(b"b"))
    assert call.keying.told(0) == before | {"theirs": (b"b" * 30).hex()}


def test_keys_are_agreed_on_before_the_answer_and_stand_in_it() -> None:
    call = negotiation(40000, terms=KEYS)
    offer = call.read(secure(b"a"))
    call.keying.settle(offer)
    [told] = call.keying.agreed.values()
    ours = parse(call.answer(offer)).media[0].values("crypto")[0]
    assert ours == Crypto(1, CM, MasterKey(bytes.fromhex(told["ours"]))).attribute.value
    assert call.keying.agreed == {0: told}


WIDE = b"v=0\no=- 1 1 IN IP4 192.0.2.9\nc=IN IP4 192.0.2.9\nm=audio 4000 RTP/AVP 9 %s\na=rtpmap:96 opus/48000/2\n"


@pytest.mark.parametrize(
    ("others", "masked", "taken"),
    [(b"96 8", True, "8"), (b"96 8", False, "9"), (b"96", True, "9"), (b"18 0 96", True, "0")],
)
def test_where_tones_are_silenced_a_codec_is_taken_in_which_they_are_found(
    others: bytes, masked: bool, taken: str
) -> None:
    call = Negotiation({0: (OURS, 5000)}, Keying(Terms(), os.urandom), origin_id=7, receive_only=False, masked=masked)
    (media,) = parse(call.answer(call.read(WIDE % others))).media
    assert media.formats == (taken,)
