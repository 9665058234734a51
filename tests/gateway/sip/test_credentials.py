"""What we answer to a challenge: RFC 7616's own example, our own challenger's verdict, and what cannot be answered."""

from __future__ import annotations

import pytest

from gateway.sip.credentials import Challenge
from gateway.sip.digest import Challenger, Denied, Verified, ha1
from tests.gateway.sip.bench import counting

RFC_7616 = (
    'realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_answers_are_those_of_rfc_7616_section_3_9_1(algorithm: str, response: str) -> None:
    challenge = Challenge.best([f"Digest {RFC_7616.format(algorithm)}"])
    assert challenge is not None
    told = challenge.answer("GET", "/dir/index.html", "Mufasa", "Circle of Life", 1, CNONCE)
    assert f'response="{response}"' in told
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in told


def test_a_server_without_qop_is_answered_as_rfc_2069_says() -> None:
    """§2.4's example, with the response that its erratum 749 gives."""
    challenge = Challenge.best(['Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'])
    assert challenge is not None
    told = challenge.answer("GET", "/dir/index.html", "Mufasa", "CircleOfLife", 1, "unused")
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in told
    assert "qop" not in told


def test_our_own_challenger_takes_each_count_once() -> None:
    server = Challenger("callvault", lambda user, name: ha1(name, user, "callvault", 'se"cret\\'), counting())
    challenge = Challenge.best(value for _, value in server.challenge(10.0))
    assert challenge is not None
    assert challenge.algorithm == "SHA-256"
    first, second = (challenge.answer("REGISTER", "sip:x", "me", 'se"cret\\', n, "c") for n in (1, 2))
    assert [server.verify([told], "REGISTER", 11.0) for told in (first, second)] == [Verified("me")] * 2
    assert server.verify([first], "REGISTER", 12.0) == Denied(stale=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Basic realm=x",
        "Digest",
        'Digest realm="x"',
        'Digest nonce="x"',
        'Digest realm="x", nonce=""',
        'Digest realm="x", nonce="n", algorithm=SHA-512-256',
        'Digest realm="x", nonce="n", algorithm=MD5-sess',
        'Digest realm="x", nonce="n", qop="auth-int"',
        'Digest realm="x", nonce="n", nonce="m"',
        "Digest realm, nonce",
    ],
)
def test_what_cannot_be_answered_is_no_challenge(text: str) -> None:
    assert Challenge.best([text]) is None
    assert Challenge.best([text, 'Digest realm="x", nonce="n"']) is not None


def test_quotes_in_a_realm_stay_quoted() -> None:
    challenge = Challenge.best([r'Digest realm="a\"b\\c", nonce="n"'])
    assert challenge is not None
    assert r'realm="a\"b\\c"' in challenge.answer("REGISTER", "sip:x", "u", "p", 1, "c")
