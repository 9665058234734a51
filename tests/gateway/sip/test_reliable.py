"""Numbers of reliable provisional responses, and how long one is sent again (RFC 3262)."""

from __future__ import annotations

import pytest

from gateway.sip.errors import Malformed
from gateway.sip.reliable import MAX_NUMBER, RAck, Unacknowledged, first_number, number_of
from tests.gateway.sip.bench import packet, reply_to, response_of


@pytest.mark.parametrize("text", ["776656 1 INVITE", "1 0 X-Y", f"{MAX_NUMBER} 2147483647 INVITE"])
def test_rack_is_read_and_written(text: str) -> None:
    assert str(RAck.parse(text)) == text


@pytest.mark.parametrize("text", ["", "1 INVITE", "0 1 INVITE", "4294967296 1 INVITE", "1 1 IN VITE", "a 1 INVITE"])
def test_rack_that_cannot_be_read_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        RAck.parse(text)


@pytest.mark.parametrize("chance", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0"])
def test_the_first_number_leaves_room_to_count(chance: bytes) -> None:
    assert 1 <= first_number(chance) <= 2**31 - 1


@pytest.mark.parametrize(
    ("status", "extra", "number"),
    [
        (183, "Require: 100rel\nRSeq: 5", 5),
        (180, "Require: precondition, 100REL\nRSeq: 4294967295", MAX_NUMBER),
        (180, "RSeq: 5", None),
        (180, "Require: 100rel", None),
        (180, "Require: 100rel\nRSeq: 0", None),
        (180, "Require: 100rel\nRSeq: -3", None),
        (100, "Require: 100rel\nRSeq: 5", None),
        (200, "Require: 100rel\nRSeq: 5", None),
    ],
)
def test_which_responses_are_acknowledged(status: int, extra: str, number: int | None) -> None:
    assert number_of(response_of(reply_to(packet("INVITE"), status, extra=extra))) == number


def test_the_interval_doubles_without_limit_until_it_is_given_up() -> None:
    waiting = Unacknowledged(RAck(1, 1, "INVITE"), b"", 100.0, has_sdp=False, is_offer=False)
    now, times = 100.0, []
    while now < waiting.give_up_at:
        now = waiting.next_at(now)
        times.append(now - 100.0)
    assert times == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 32.0]
