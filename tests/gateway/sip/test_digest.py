"""Digest: RFC 7616's own example, and what a challenge is answered with, in time and only once."""

from __future__ import annotations

import base64
import hashlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip import digest
from gateway.sip.digest import NONCE_S, NONCES_MAX, WINDOW, Algorithm, Challenger, Denied, Verified, ha1
from tests.gateway.sip.bench import counting

REALM = "callvault"
USERS = {("carrier", name): ha1(name, "carrier", REALM, "secret") for name in digest.HASHES}


def challenger() -> Challenger:
    return Challenger(REALM, lambda user, name: USERS.get((user, name)), counting())


def nonce_of(headers: tuple[tuple[str, str], ...]) -> str:
    return headers[0][1].partition('nonce="')[2].partition('"')[0]


def answered(
    nonce: str,
    *,
    count: int = 1,
    method: str = "INVITE",
    algorithm: Algorithm = "SHA-256",
    user: str = "carrier",
    password: str = "secret",
    realm: str = REALM,
    qop: str = "auth",
) -> str:
    """What a peer writes into Authorization."""
    hashed = digest.HASHES[algorithm]
    first, second = ha1(algorithm, user, realm, password), hashed(f"{method}:sip:x@y".encode())
    response = hashed(f"{first}:{nonce}:{count:08x}:abc:{qop}:{second}".encode())
    return (
        f'Digest username="{user}", realm="{realm}",nonce="{nonce}", uri="sip:x@y", response="{response}", '
        f'algorithm={algorithm}, cnonce="abc", qop={qop}, nc={count:08x}, opaque="a,b"'
    )


def test_hashes_are_those_of_rfc_7616_section_3_9_1() -> None:
    user, realm, password = "Mufasa", "http-auth@example.org", "Circle of Life"
    nonce, cnonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    expected: dict[Algorithm, str] = {
        "MD5": "8ca523f5e9506fed4657c9700eebdbec",
        "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    }
    for name, hashed in digest.HASHES.items():
        second = hashed(b"GET:/dir/index.html")
        first = ha1(name, user, realm, password)
        assert hashed(f"{first}:{nonce}:00000001:{cnonce}:auth:{second}".encode()) == expected[name]


def test_the_better_algorithm_is_offered_first() -> None:
    headers = challenger().challenge(0.0)
    assert [name for name, _ in headers] == ["WWW-Authenticate", "WWW-Authenticate"]
    assert ["algorithm=SHA-256" in headers[0][1], "algorithm=MD5" in headers[1][1]] == [True, True]
    assert all('qop="auth"' in value and f'realm="{REALM}"' in value for _, value in headers)
    assert not any("stale" in value for _, value in headers)


@pytest.mark.parametrize("algorithm", list(digest.HASHES))
def test_who_knows_the_password_is_let_in(algorithm: Algorithm) -> None:
    door = challenger()
    nonce = nonce_of(door.challenge(10.0))
    assert door.verify([answered(nonce, algorithm=algorithm)], "INVITE", 11.0) == Verified("carrier")


@pytest.mark.parametrize("offered", [0, 1], ids=list(digest.HASHES))
def test_an_independent_client_is_let_in(offered: int) -> None:
    door = challenger()
    header = door.challenge(10.0)[offered]
    request = httpx.Request("INVITE", "http://192.0.2.1/service")
    client = httpx.DigestAuth("carrier", "secret").auth_flow(request)
    next(client)
    signed = client.send(httpx.Response(401, headers=[header], request=request))
    assert door.verify([signed.headers["Authorization"]], "INVITE", 11.0) == Verified("carrier")


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "Secret"},
        {"user": "nobody"},
        {"method": "BYE"},
        {"qop": "auth-int"},
    ],
)
def test_who_does_not_is_denied_and_not_told_that_the_nonce_is_stale(wrong: dict[str, str]) -> None:
    door = challenger()
    nonce = nonce_of(door.challenge(10.0))
    assert door.verify([answered(nonce, **wrong)], "INVITE", 11.0) == Denied(stale=False)  # type: ignore[arg-type]  # by name
    assert door.verify([answered("made up", **wrong)], "INVITE", 11.0) == Denied(stale=False)  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    "text",
    ["", "Basic Zm9v", "Digest", 'Digest realm="other"', "Digest realm", 'Digest realm="callvault", realm="callvault"'],
)
def test_what_is_not_for_this_realm_is_no_answer(text: str) -> None:
    assert challenger().verify([text], "INVITE", 0.0) is None


@pytest.mark.parametrize(
    "text",
    [
        f'Digest realm="{REALM}"',
        f'Digest realm="{REALM}", nc=zzzzzzzz, qop=auth',
        f'Digest realm="{REALM}", nc=00000001, qop=auth, algorithm=SHA-512',
        f'Digest realm="{REALM}", nc=00000001, qop=auth, username="carrier", response="\udcff"',
    ],
)
def test_half_an_answer_is_denied(text: str) -> None:
    assert challenger().verify([text], "INVITE", 0.0) == Denied(stale=False)


def test_the_answer_for_our_realm_is_found_among_others() -> None:
    door = challenger()
    nonce = nonce_of(door.challenge(0.0))
    others = [answered("x", realm="elsewhere"), answered(nonce)]
    assert door.verify(others, "INVITE", 1.0) == Verified("carrier")


def test_a_nonce_gets_stale() -> None:
    door = challenger()
    nonce = nonce_of(door.challenge(0.0))
    assert door.verify([answered(nonce)], "INVITE", NONCE_S) == Verified("carrier")
    assert door.verify([answered(nonce, count=2)], "INVITE", NONCE_S + 1) == Denied(stale=True)
    assert all("stale=true" in value for _, value in door.challenge(NONCE_S + 1, stale=True))


@pytest.mark.parametrize("nonce", ["", "made up", base64.b64encode(hashlib.sha256(b"x").digest()).decode()])
def test_a_nonce_that_is_not_ours_is_stale(nonce: str) -> None:
    assert challenger().verify([answered(nonce)], "INVITE", 0.0) == Denied(stale=True)


def test_a_nonce_of_before_the_restart_is_stale() -> None:
    nonce = nonce_of(Challenger(REALM, lambda user, name: None, lambda size: b"k" * size).challenge(0.0))
    assert challenger().verify([answered(nonce)], "INVITE", 0.0) == Denied(stale=True)


def test_each_count_is_used_once_in_any_order_within_the_window() -> None:
    door = challenger()
    nonce = nonce_of(door.challenge(0.0))
    counts = [2, 1, 2, 1, 100, 100 - WINDOW + 1, 100 - WINDOW, 99, 100]
    results = [door.verify([answered(nonce, count=count)], "INVITE", 1.0) for count in counts]
    assert [result == Verified("carrier") for result in results] == [
        True, True, False, False, True, True, False, True, False
    ]  # fmt: skip
    assert results[2] == Denied(stale=True)


def test_two_peers_challenged_at_once_do_not_meet() -> None:
    door = challenger()
    first, second = nonce_of(door.challenge(0.0)), nonce_of(door.challenge(0.0))
    assert first != second
    for nonce in (first, second):
        assert door.verify([answered(nonce)], "INVITE", 0.0) == Verified("carrier")


def test_used_nonces_are_bounded_and_a_forgotten_one_is_not_good_again() -> None:
    door = challenger()
    nonces = [nonce_of(door.challenge(at / 1000)) for at in range(NONCES_MAX + 1)]
    for nonce in nonces:
        assert door.verify([answered(nonce)], "INVITE", 10.0) == Verified("carrier")
    assert len(door._used) == NONCES_MAX
    assert door.verify([answered(nonces[0])], "INVITE", 10.0) == Denied(stale=True)
    assert door.verify([answered(nonces[1], count=2)], "INVITE", 10.0) == Verified("carrier")


NAMES = ["realm", "nonce", "nc", "qop", "algorithm", "username", "response", "cnonce", "uri", "opaque"]
VALUES = [REALM, "auth", "00000001", "SHA-256", "MD5", "carrier", '"', "\\", "\udcff", "=", "1 1"]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.one_of(st.sampled_from(VALUES), st.text(max_size=20))), max_size=25)
)
def test_no_header_raises_or_lets_anybody_in(pairs: list[tuple[str, str]]) -> None:
    text = "Digest " + ",".join(f'{name}="{value}"' for name, value in pairs)
    text = text.encode("utf-8", "replace").decode("utf-8", "surrogateescape")
    assert not isinstance(challenger().verify([text], "INVITE", 0.0), Verified)
