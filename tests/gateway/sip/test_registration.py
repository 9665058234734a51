"""Registrations: had, kept, given up, on networks that lose and at registrars of every mind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.sip.message import Request
from gateway.sip.registration import REFUSED_S, REFUSED_S_MAX, RETRY_S, RETRY_S_MAX, TRIES_MAX, Standing
from gateway.sip.registrations import Changed
from tests.gateway.sip.bench import LOCAL
from tests.gateway.sip.registrar import ACCOUNT, REGISTRAR, SECOND, WAY, Line, Registrar

CONTACT = f"<sip:4420@{LOCAL[0]}:{LOCAL[1]}>"
DAY_S = 86_400.0


def registered(registrar: Registrar | None = None) -> Line:
    line = Line(registrar)
    line.want()
    line.run(1)
    assert line.standing() is Standing.REGISTERED
    return line


def test_a_challenge_is_answered_and_the_binding_is_ours() -> None:
    line = registered(Registrar(algorithms=("SHA-256", "MD5")))
    [(_, first), (_, second)] = line.asked
    assert first.headers.first("Authorization") is None
    assert "algorithm=SHA-256" in second.headers.required("Authorization")
    assert (first.uri, str(first.to)) == ("sip:carrier.example", "<sip:4420@carrier.example>")
    assert (first.call_id, first.from_.tag) == (second.call_id, second.from_.tag)
    assert (first.cseq.number, second.cseq.number) == (1, 2)
    assert list(line.registrar.bindings) == [CONTACT]
    assert line.changes == [Changed("carrier", Standing.REGISTERED, 0)]
    assert line.changes == []


@pytest.mark.parametrize(("granted_s", "hours"), [(3600, 24), (600, 6), (60, 1)])
def test_a_binding_never_lapses(granted_s: int, hours: int) -> None:
    """Whether or not the registrar's nonces are stale by the next refresh."""
    line = registered(Registrar(most_s=granted_s))
    for _ in range(12 * hours):
        line.run(300)
        assert all(until > line.now for until in line.registrar.bindings.values())
        assert line.standing() is Standing.REGISTERED
    asked = {request.headers.first("Authorization") for _, request in line.asked} - {None}
    refreshes = hours * 3600 / max(granted_s / 2, granted_s - 90)
    assert refreshes - 1 <= len(asked) <= 2 * refreshes + 2


def test_every_second_datagram_may_be_lost() -> None:
    line = Line()
    count = 0

    def lost(request: Request, to: object) -> bool:
        nonlocal count
        count += 1
        return count % 2 == 1

    line.lost = lost
    line.want()
    line.run(DAY_S / 2)
    assert line.standing() is Standing.REGISTERED
    assert line.changes == [Changed("carrier", Standing.REGISTERED, 0)]
    assert all(until > line.now for until in line.registrar.bindings.values())


def test_a_registrar_that_is_away_is_asked_less_and_less_and_found_again() -> None:
    line = registered()
    line.lost = lambda request, to: True
    line.run(3510 + 60)
    assert line.standing() is Standing.REGISTERED, "the binding outlives a refresh that failed"
    line.run(60)
    assert line.changes == [Changed("carrier", Standing.FAILED, 408)]
    line.run(4 * 3600)
    starts = [at for at, request in line.asked if request.via.branch not in seen(line, before=at)]
    gaps = [later - earlier for earlier, later in pairwise(starts[2:])]
    assert RETRY_S / 2 <= gaps[0] - 32 <= RETRY_S
    assert all(RETRY_S_MAX / 2 <= gap - 32 <= RETRY_S_MAX for gap in gaps[-4:])
    line.lost = lambda request, to: False
    line.run(RETRY_S_MAX + 33)
    assert line.standing() is Standing.REGISTERED


def seen(line: Line, before: float) -> set[str]:
    return {request.via.branch for at, request in line.asked if at < before}


def test_the_next_address_is_asked_when_one_does_not_answer() -> None:
    line = Line()
    line.lost = lambda request, to: to == REGISTRAR
    line.want(ACCOUNT, WAY, WAY.to(SECOND))
    line.run(32 + RETRY_S + 1)
    assert line.standing() is Standing.REGISTERED


def test_a_wrong_password_is_shown_once_and_then_seldom() -> None:
    line = Line()
    line.registrar.password = "another"
    line.want()
    line.run(REFUSED_S / 2 - 1)
    assert len(line.asked) == 2
    assert line.changes == [Changed("carrier", Standing.FAILED, 401)]
    line.run(DAY_S)
    shown = sum("Authorization" in dict(request.headers) for _, request in line.asked)
    assert shown <= DAY_S / (REFUSED_S_MAX / 2) + 5


def test_another_password_is_tried_at_once() -> None:
    line = Line()
    line.registrar.password = "another"
    line.want()
    line.run(5)
    line.want(replace(ACCOUNT, password="another"))
    line.run(1)
    assert line.standing() is Standing.REGISTERED
    before = len(line.asked)
    line.want(replace(ACCOUNT, password="another"))
    line.run(60)
    assert len(line.asked) == before, "what has not changed is left alone"


def test_a_longer_interval_is_asked_for_where_that_is_wanted() -> None:
    line = Line(Registrar(least_s=1800))
    line.want(replace(ACCOUNT, expires_s=120))
    line.run(1)
    assert line.standing() is Standing.REGISTERED
    assert line.expires == [120, 120, 1800]


def test_it_is_given_up_at_the_end_and_others_bindings_stay() -> None:
    line = registered()
    line.registrar.bindings["<sip:4420@198.51.100.9>"] = line.now + 9999
    line.ours.leave(line.now)
    line.run(1)
    assert not line.ours.leaving
    assert list(line.registrar.bindings) == ["<sip:4420@198.51.100.9>"]
    line.want()
    line.run(60)
    assert list(line.registrar.bindings) == ["<sip:4420@198.51.100.9>"], "what is closed stays so"


def test_what_is_only_being_asked_for_is_given_up_when_it_is_had() -> None:
    line = Line()
    line.want()
    line.ours.leave(line.now)
    line.run(1)
    assert not line.ours.leaving
    assert line.registrar.bindings == {}


def test_leaving_ends_though_nobody_answers() -> None:
    line = registered()
    line.lost = lambda request, to: True
    line.ours.leave(line.now)
    line.run(33)
    assert not line.ours.leaving


def test_an_account_that_is_no_longer_wanted_goes_and_another_comes() -> None:
    line = registered()
    line.want(replace(ACCOUNT, user="4421"))
    line.run(1)
    assert [contact.partition("@")[0] for contact in line.registrar.bindings] == ["<sip:4421"]


def test_without_a_way_it_waits_until_there_is_one() -> None:
    line = Line()
    line.ours.want({"carrier": (ACCOUNT, ())}, line.now)
    line.run(60)
    assert (line.asked, line.standing()) == ([], Standing.TRYING)
    line.want()
    line.run(1)
    assert line.standing() is Standing.REGISTERED


HOSTILE: list[tuple[int, Sequence[tuple[str, str]]]] = [
    (401, []),
    (401, [("WWW-Authenticate", "Digest")]),
    (401, [("WWW-Authenticate", 'Digest realm="x", nonce="n", stale=true')]),
    (407, [("Proxy-Authenticate", 'Digest realm="x", nonce="n"')]),
    (423, []),
    (423, [("Min-Expires", "nonsense")]),
    (423, [("Min-Expires", "99999999999")]),
    (423, [("Min-Expires", "1")]),
    (302, [("Contact", "<sip:elsewhere.example>")]),
    (503, [("Retry-After", "99999999999999999")]),
    (200, [("Expires", "0")]),
    (200, [("Contact", f"{CONTACT};expires=0")]),
    (603, []),
]


@pytest.mark.parametrize(("status", "headers"), HOSTILE)
def test_a_registrar_that_answers_nonsense_is_not_asked_without_end(
    status: int, headers: Sequence[tuple[str, str]]
) -> None:
    line = Line()
    line.registrar.verdict = lambda request: (status, headers)
    line.want()
    line.run(RETRY_S / 2 - 0.1)
    assert len(line.asked) <= TRIES_MAX
    assert line.standing() is Standing.FAILED
    line.run(2 * REFUSED_S_MAX)
    line.registrar.verdict = lambda request: None
    line.run(REFUSED_S_MAX + 1)
    assert line.standing() is Standing.REGISTERED, "and what is well again is found"


@pytest.mark.parametrize(
    ("headers", "stands_s"),
    [
        ([], 3600),
        ([("Expires", "120")], 120),
        ([("Contact", CONTACT), ("Expires", "120")], 120),
        ([("Contact", f"{CONTACT};expires=240"), ("Expires", "120")], 240),
        ([("Contact", f"<sip:4420@192.0.2.200>;expires=30, {CONTACT};expires=240")], 240),
        ([("Contact", "<sip:4420@203.0.113.5:61000>;expires=300")], 300),
        ([("Contact", f'"x, y" {CONTACT};expires="240"')], 3600),
        ([("Contact", f"{CONTACT};expires=999999999")], 86_400),
    ],
)
def test_a_binding_stands_as_long_as_its_contact_says(headers: Sequence[tuple[str, str]], stands_s: int) -> None:
    line = Line()
    line.registrar.verdict = lambda request: (200, headers)
    line.want()
    line.run(1)
    line.lost = lambda request, to: True
    line.run(stands_s - 2)
    assert line.standing() is Standing.REGISTERED
    line.run(2)
    assert line.standing() is Standing.FAILED


def test_nothing_of_an_account_shows() -> None:
    line = registered()
    for text in (repr(ACCOUNT), repr(line.ours), repr(line.changes), repr(line.asked[0][1])):
        assert "secret" not in text
        assert "4420" not in text
