"""INFO in a dialog: read with suspicion, held until the gateway has done what it asks, answered once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.events import Informed
from gateway.sip.flow import Flow
from gateway.sip.gate import Granted, Verdict
from gateway.sip.info import ANSWER_S_MAX, BODY_BYTES_MAX, OPEN_MAX, Info, read
from gateway.sip.message import Request
from gateway.sip.screening import Refusal
from tests.gateway.sip.bench import PEER, Bench, packet, request_of, response_of


def info(seq: int, tag: str, *, kind: str = "", body: bytes = b"", extra: str = "Record: off") -> bytes:
    lines = f"Content-Type: {kind}" if kind else extra
    return packet("INFO", seq=seq, branch=f"info-{seq}", to_tag=tag, body=body, extra=lines)


@pytest.mark.parametrize(
    ("kind", "body", "extra", "expected"),
    [
        ("", b"", "Record: off", Info(record=False)),
        ("", b"", "record:  ON ", Info(record=True)),
        ("message/sipfrag", b"Record: off\r\n", "", Info(record=False)),
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", "", Info(digit="5", duration_ms=160)),
        ("application/dtmf-relay", b"Signal= * \nDuration= 99999999\n", "", Info(digit="*", duration_ms=60_000)),
        ("application/dtmf-relay", b"signal=d", "", Info(digit="D")),
        ("application/dtmf;x=y", b" 11 ", "", Info(digit="#")),
        ("application/dtmf", b"0", "", Info(digit="0")),
        ("application/dtmf-relay", b"Signal=!\nDuration=100", "", Info(duration_ms=100)),  # a flash
        ("", b"", "", Info()),
    ],
)
def test_what_phones_send_is_understood(kind: str, body: bytes, extra: str, expected: Info) -> None:
    assert read(request_of(info(2, "tag", kind=kind, body=body, extra=extra))) == expected


@pytest.mark.parametrize(
    ("kind", "body", "extra", "status"),
    [
        ("", b"", "Record: maybe", 400),
        ("", b"", "Info-Package: dtmf\nRecord: off", 469),
        ("message/sipfrag", b"Subject: x", "", 400),
        ("application/dtmf-relay", b"Duration=160", "", 400),
        ("application/dtmf-relay", b"Signal=12345", "", 400),
        ("application/dtmf-relay", b"\xff\x00" * 100, "", 400),
        ("application/dtmf", b"", "Content-Type: application/dtmf", 200),
        ("application/dtmf", b"99", "", 400),
        ("application/dtmf", "\u0665".encode(), "", 400),
        ("application/media_control+xml", b"<x/>", "", 415),
        ("application/dtmf", b"5" * (BODY_BYTES_MAX + 1), "", 413),
    ],
)
def test_what_is_not_understood_is_refused_by_its_status(kind: str, body: bytes, extra: str, status: int) -> None:
    bench = Bench()
    _, tag = bench.call()
    assert bench.status(info(2, tag, kind=kind, body=body, extra=extra)) == [status]
    assert not [event for event in bench.events if isinstance(event, Informed)]


def test_the_answer_comes_when_the_gateway_gives_it_and_is_the_same_when_asked_again() -> None:
    bench = Bench()
    number, tag = bench.call()
    raw = info(2, tag)
    assert bench.send(raw) == []
    assert bench.send(raw) == []  # a retransmission meanwhile
    [event] = [event for event in bench.events if isinstance(event, Informed)]
    assert (event.dialog, event.seq, event.record, event.digit) == (number, 2, False, "")
    assert bench.agent.inform(number, 2, 200, bench.now)
    [answer] = bench.taken()
    assert response_of(answer).status == 200
    assert bench.send(raw) == [answer]
    assert not bench.agent.inform(number, 2, 504, bench.now)


def test_one_that_the_gateway_forgets_or_that_its_call_outlives_not_is_answered_too() -> None:
    bench = Bench()
    _, tag = bench.call()
    bench.send(info(2, tag))
    assert [response_of(raw).status for raw in bench.wait(ANSWER_S_MAX + 1) if b"INFO" in raw] == [500]
    bench.send(info(3, tag))
    assert sorted(bench.status(packet("BYE", seq=4, branch="bye", to_tag=tag))) == [200, 487]


def test_so_many_wait_in_a_dialog_and_no_more() -> None:
    bench = Bench()
    _, tag = bench.call()
    for seq in range(2, 2 + OPEN_MAX):
        assert bench.status(info(seq, tag)) == []
    assert bench.status(info(2 + OPEN_MAX, tag)) == [503]


class _Strict:
    """Lets in only the address that a dialog began at."""

    def admit(self, request: Request, flow: Flow, now: float, former: Granted | None = None) -> Verdict:
        return former or Granted("carrier", PEER[0]) if flow.remote[0] == PEER[0] else Refusal(403)

    def urgent(self, request: Request, granted: Granted) -> bool:
        return False

    def hears(self, flow: Flow) -> bool:
        return True

    def reaches(self, trunk: str, host: str) -> bool:
        return True


def test_one_from_elsewhere_is_refused_although_it_names_the_dialog() -> None:
    bench = Bench(gate=_Strict())
    _, tag = bench.call()
    assert bench.status(info(2, tag), ("198.51.100.7", 5061)) == [403]
    assert not [event for event in bench.events if isinstance(event, Informed)]
    assert bench.agent.counts["refused_403"] == 1
    assert bench.send(info(2, tag)) == []  # and has used up no number


@given(
    st.sampled_from(["application/dtmf-relay", "application/dtmf", "message/sipfrag", "text/plain", ""]),
    st.one_of(st.binary(max_size=2000), st.from_regex(rb"(Signal|Duration|Record)[=:] ?[0-9A-Fonf*#]{0,9}\r?\n?")),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=40),
)
def test_whatever_a_peer_sends_is_read_or_refused(kind: str, body: bytes, record: str) -> None:
    extra = f"Content-Type: {kind or 'x/y'}" + (f"\nRecord: {record}" if not kind else "")
    found = read(request_of(packet("INFO", to_tag="tag", body=body, extra=extra)))
    if isinstance(found, Refusal):
        assert found.status in {400, 413, 415}
    else:
        assert len(found.digit) <= 1
        assert 0 <= found.duration_ms <= 60_000


def test_a_digit_shows_in_no_repr() -> None:
    assert "#" not in repr(Informed(1, 2, None, "#", 160)) + repr(Info(digit="#"))
