"""a=crypto lines: which are taken, which are passed over, and what is left of an offer that must be encrypted."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.sdp import (
    SECURE_RTP,
    SUITES,
    Crypto,
    LocalMedia,
    MasterKey,
    OfferedMedia,
    SessionDescription,
    Terms,
    answer,
    answering,
    choose_codec,
    crypto_of,
    narrowed,
    offer,
    parse,
)
from media.sdp.crypto import read

PLAIN, KEYS = Terms(), Terms(keys=True)
ONLY_KEYS = Terms(keys=True, plain=False)
CM80, CM32, GCM256 = "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_256_GCM"


def inline(suite: str = CM80, fill: bytes = b"k") -> str:
    return "inline:" + base64.b64encode(fill * SUITES[suite]).decode()


def offered(protocol: str, *lines: str) -> SessionDescription:
    head = ["v=0", "o=- 1 1 IN IP4 h", "s=-", "c=IN IP4 192.0.2.1", "t=0 0", f"m=audio 4000 {protocol} 8"]
    return parse("\r\n".join([*head, *(f"a=crypto:{line}" for line in lines)]).encode())


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_is_read_and_written(suite: str) -> None:
    line = Crypto(7, suite, MasterKey(bytes(range(SUITES[suite]))))
    assert read(line.attribute.value or "") == line


@pytest.mark.parametrize(
    "line",
    [
        f"1 {CM80} {inline()}",
        f"1 {CM80.lower()} {inline()}",
        f"999999999 {CM80} {inline()}|2^31",
        f"1 {CM80} {inline()}|2^48",
        f"1 {CM80} {inline()}|1048576",
        f"1 {CM80} {inline()} -UNKNOWN_BUT_MAY_BE_IGNORED",
        f"1 {GCM256} {inline(GCM256).rstrip('=')}",  # written without its padding
    ],
)
def test_lines_that_are_taken(line: str) -> None:
    assert read(line) is not None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "1",
        f"1 {CM80}",
        f"x {CM80} {inline()}",
        f"1234567890 {CM80} {inline()}",
        f"-1 {CM80} {inline()}",
        f"1 F8_128_HMAC_SHA1_80 {inline()}",
        f"1 {CM80} inline:",
        f"1 {CM80} inline:!!!!",
        f"1 {CM80} {inline(GCM256)}",  # another suite's length
        f"1 {GCM256} {inline(CM80)}",
        f"1 {CM80} uri:https://example.com/key",
        f"1 {CM80} {inline()}|1:4",  # an MKI
        f"1 {CM80} {inline()}|2^20|1:4",
        f"1 {CM80} {inline()}|2^20|1:4;{inline()}|2^20|2:4",
        f"1 {CM80} {inline()};{inline()}",
        f"1 {CM80} {inline()}|2^49",
        f"1 {CM80} {inline()}|0",
        f"1 {CM80} {inline()}|2^",
        f"1 {CM80} {inline()}|" + "9" * 50,
        f"1 {CM80} {inline()} KDR=1",
        f"1 {CM80} {inline()} UNENCRYPTED_SRTP",
        f"1 {CM80} {inline()} UNENCRYPTED_SRTCP",
        f"1 {CM80} {inline()} UNAUTHENTICATED_SRTP",
        f"1 {CM80} {inline()} WSH=64",
        f"1 {CM80} {inline()} FEC_ORDER=FEC_SRTP -X",
    ],
)
def test_lines_that_are_passed_over(line: str) -> None:
    assert read(line) is None
    found = crypto_of(offered(SECURE_RTP, line, f"2 {CM32} {inline(CM32)}").media[0])
    assert found is not None
    assert (found.tag, found.suite) == (2, CM32)


@pytest.mark.parametrize(
    ("protocol", "lines", "terms", "taken"),
    [
        (SECURE_RTP, 1, KEYS, "encrypted"),
        (SECURE_RTP, 1, ONLY_KEYS, "encrypted"),
        ("RTP/SAVPF", 1, KEYS, "encrypted"),
        (SECURE_RTP, 1, PLAIN, "refused"),  # keys that came in the clear
        (SECURE_RTP, 0, KEYS, "refused"),
        ("RTP/AVP", 0, KEYS, "plain"),
        ("RTP/AVP", 0, ONLY_KEYS, "refused"),
        ("RTP/AVP", 1, KEYS, "encrypted"),  # RFC 8643
        ("RTP/AVP", 1, ONLY_KEYS, "encrypted"),
        ("RTP/AVP", 1, PLAIN, "plain"),
        ("RTP/AVP", 1, Terms(plain=False), "refused"),
        ("UDP/TLS/RTP/SAVPF", 1, KEYS, "refused"),
    ],
)
def test_what_is_taken_on_which_terms(protocol: str, lines: int, terms: Terms, taken: str) -> None:
    theirs = narrowed(offered(protocol, *[f"1 {CM80} {inline()}"][:lines]), terms)
    media = theirs.media[0]
    line = crypto_of(media)
    assert ("refused" if choose_codec(media) is None else "encrypted" if line else "plain") == taken
    mine = Crypto(line.tag, line.suite, MasterKey(b"o" * 30)) if line else None
    local = [LocalMedia(5000, mine)]
    ours = answer(theirs, local, origin_id=1, origin_version=1, address="192.0.2.9", receive_only=False).media[0]
    assert (ours.port == 0, ours.protocol) == (taken == "refused", protocol)
    assert ours.values("crypto") == ((f"1 {CM80} {inline(fill=b'o')}",) if taken == "encrypted" else ())


def test_an_m_line_that_must_be_encrypted_is_refused_without_a_key_of_ours() -> None:
    theirs = offered(SECURE_RTP, f"1 {CM80} {inline()}")
    ours = answer(theirs, [LocalMedia(5000)], origin_id=1, origin_version=1, address="h", receive_only=False)
    assert ours.media[0].port == 0


def test_an_answer_takes_up_a_line_of_our_offer() -> None:
    mine = tuple(Crypto(tag, suite, MasterKey(b"o" * SUITES[suite])) for tag, suite in enumerate(SUITES, 1))
    ours = offer(
        [OfferedMedia(5000, protocol=SECURE_RTP, cryptos=mine)], origin_id=1, origin_version=1, address="192.0.2.9"
    )
    assert ours.media[0].values("crypto") == tuple(line.attribute.value for line in mine)
    for tag, suite, fits in ((3, CM80, True), (3, CM32, False), (5, CM80, False)):
        theirs = answering(offered(SECURE_RTP, f"{tag} {suite} {inline(suite)}"), [mine])
        assert (crypto_of(theirs.media[0]) is not None) == fits
    assert crypto_of(answering(offered("RTP/AVP", f"1 {CM80} {inline()}"), []).media[0]) is None


def test_keys_do_not_show() -> None:
    theirs = offered(SECURE_RTP, f"1 {CM80} {inline()}")
    shown = repr((theirs, crypto_of(theirs.media[0]), MasterKey(b"secret")))
    assert inline()[7:20] not in shown
    assert "secret" not in shown


WORDS = st.sampled_from(
    ["1", "999", CM80, CM32, GCM256, inline(), inline(GCM256), "|", "2^20", "1:4", "KDR=1", " ", ":"]
)


@given(
    st.one_of(
        st.text(max_size=200), st.lists(WORDS, max_size=8).map(" ".join), st.lists(WORDS, max_size=8).map("".join)
    )
)
def test_any_line_is_read_or_passed_over(text: str) -> None:
    line = read(text)
    if line is not None:
        assert len(line.key.reveal()) == SUITES[line.suite]
        assert read(line.attribute.value or "") == line
