"""The terms of a session timer: who refreshes, how often, and what is refused (RFC 4028)."""

from __future__ import annotations

import pytest

from gateway.sip.errors import Malformed
from gateway.sip.session_timer import (
    MAX_S,
    MIN_S,
    WANTED_S,
    Refresher,
    Session,
    SessionExpires,
    Terms,
    TooBrief,
    asking,
    min_se,
    settled,
    terms,
)
from tests.gateway.sip.bench import packet, reply_to, request_of, response_of

OURS = Session(600, True, 0.0)
THEIRS = Session(600, False, 0.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1800", SessionExpires(1800)),
        ("4000;refresher=uac", SessionExpires(4000, "uac")),
        (" 90 ; Refresher = UAS ;x=y", SessionExpires(90, "uas")),
        ("4294967295;lr", SessionExpires(4294967295)),
    ],
)
def test_session_expires_is_read_and_written(text: str, value: SessionExpires) -> None:
    assert SessionExpires.parse(text) == value
    assert SessionExpires.parse(str(value)) == value


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "90 s", "99999999999", "90;refresher=both", "90;refresher"])
def test_session_expires_that_cannot_be_read_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        SessionExpires.parse(text)


@pytest.mark.parametrize(
    ("known", "asked", "answered"),
    [  # RFC 4028 §9, table 2
        (False, "", "uas"),
        (False, "uac", "uas"),
        (False, "uas", "uas"),
        (True, "", "uac"),
        (True, "uac", "uac"),
        (True, "uas", "uas"),
    ],
)
def test_who_refreshes(known: bool, asked: Refresher, answered: Refresher) -> None:
    extra = f"Session-Expires: {SessionExpires(1000, asked)}" + ("\nSupported: timer" if known else "")
    found = terms(request_of(packet("INVITE", extra=extra)), None)
    assert isinstance(found, Terms)
    assert (found.interval_s, found.refresher, found.known) == (1000, answered, known)
    assert (("Require", "timer") in found.headers()) == known
    assert found.session(5.0) == Session(1000, answered == "uas", 5.0)


@pytest.mark.parametrize(
    ("extra", "running", "answer"),
    [
        ("", None, None),  # who does not know timers is not asked for one
        ("Supported: timer", None, Terms(WANTED_S, "uac", True)),
        ("Supported: timer\nMin-SE: 2000", None, Terms(2000, "uac", True)),
        ("Require: timer\nSession-Expires: 90", None, Terms(90, "uac", True)),
        ("Supported: timer\nSession-Expires: 89", None, TooBrief(90)),
        ("Session-Expires: 0", None, None),  # a proxy's wish, from a client that cannot be told: no loop of refreshes
        ("Supported: timer\nSession-Expires: 4294967295", None, Terms(MAX_S, "uac", True)),
        ("Supported: timer\nSession-Expires: 200000\nMin-SE: 100000", None, Terms(100_000, "uac", True)),
        ("", OURS, Terms(600, "uas", False)),  # a re-INVITE that does not name it leaves the timer as it was
        ("Supported: timer", OURS, Terms(600, "uas", True)),
        ("Supported: timer", THEIRS, Terms(600, "uac", True)),
        ("", THEIRS, Terms(600, "uas", False)),
        ("Supported: timer\nSession-Expires: 300", OURS, Terms(300, "uas", True)),
        ("Supported: timer\nSession-Expires: 300;refresher=uac", OURS, Terms(300, "uac", True)),
    ],
)
def test_terms(extra: str, running: Session | None, answer: Terms | TooBrief | None) -> None:
    assert terms(request_of(packet("UPDATE", extra=extra)), running) == answer


def test_nothing_is_asked_for_where_nothing_is_wanted() -> None:
    assert terms(request_of(packet("INVITE", extra="Supported: timer")), None, wanted_s=0) is None


def test_the_floor_is_ours_to_raise() -> None:
    request = request_of(packet("INVITE", extra="Supported: timer\nSession-Expires: 100"))
    assert terms(request, None, floor_s=120) == TooBrief(120)


@pytest.mark.parametrize("extra", ["Session-Expires: x", "Supported: timer\nMin-SE: y"])
def test_terms_that_cannot_be_read_are_malformed(extra: str) -> None:
    with pytest.raises(Malformed):
        terms(request_of(packet("INVITE", extra=extra)), None)


@pytest.mark.parametrize(
    ("interval_s", "refresh_s", "over_s"),
    [(90, 45.0, 60.0), (96, 48.0, 64.0), (1800, 900.0, 1768.0)],
)
def test_refresh_at_half_and_hang_up_shortly_before_the_end(interval_s: int, refresh_s: float, over_s: float) -> None:
    assert Session(interval_s, True, 1000.0).wake_at == 1000.0 + refresh_s
    assert Session(interval_s, False, 1000.0).wake_at == 1000.0 + over_s


@pytest.mark.parametrize(
    ("extra", "session"),
    [
        ("", None),
        ("Session-Expires: never", None),
        ("Session-Expires: 600;refresher=uas", Session(600, False, 7.0)),
        ("x: 600;refresher=uac", Session(600, True, 7.0)),
        ("Session-Expires: 600", Session(600, True, 7.0)),
        ("Session-Expires: 1;refresher=uac", Session(MIN_S, True, 7.0)),
        ("Session-Expires: 4000000000;refresher=uas", Session(MAX_S, False, 7.0)),
    ],
)
def test_what_a_2xx_settles(extra: str, session: Session | None) -> None:
    assert settled(response_of(reply_to(packet("UPDATE"), 200, extra=extra)), 7.0) == session


def test_a_refresh_names_the_interval_and_who_refreshes() -> None:
    assert asking(OURS, MIN_S) == (("Session-Expires", "600;refresher=uac"),)
    assert asking(THEIRS, 700) == (("Session-Expires", "700;refresher=uas"), ("Min-SE", "700"))


@pytest.mark.parametrize(("extra", "least_s"), [("", 90), ("Min-SE: 10", 90), ("Min-SE: 120;why=not", 120)])
def test_min_se_is_never_under_ninety(extra: str, least_s: int) -> None:
    assert min_se(request_of(packet("INVITE", extra=extra)).headers) == least_s
