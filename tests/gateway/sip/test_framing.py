"""A stream cut into messages, however it is cut into segments."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sip.framing import Broken, Frame, Framer, Message, Ping
from gateway.sip.message import MAX_HEAD_BYTES, MAX_MESSAGE_BYTES
from tests.gateway.sip.bench import packet

INVITE = packet("INVITE")
BYE = packet("BYE", to_tag="t")


def segments(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def fed(*parts: bytes) -> list[Frame]:
    """All frames of a new stream."""
    framer = Framer()
    return [frame for part in parts for frame in framer.feed(part)]


@given(st.lists(st.integers(0, 2000), max_size=12))
def test_any_segments_give_the_same_messages(cuts: list[int]) -> None:
    stream = INVITE + BYE + b"\r\n\r\n" + INVITE
    assert fed(*segments(stream, cuts)) == [Message(INVITE), Message(BYE), Ping(), Message(INVITE)]


def test_byte_for_byte() -> None:
    assert fed(*(bytes([byte]) for byte in INVITE + b"\r\n\r\n" + BYE)) == [Message(INVITE), Ping(), Message(BYE)]


def test_bytes_after_the_body_begin_the_next_message() -> None:
    assert fed(BYE + INVITE[:10], INVITE[10:]) == [Message(BYE), Message(INVITE)]


@pytest.mark.parametrize("parts", [[b"\r\n\r\n"], [b"\r", b"\n\r", b"\n"], [b"\r\n", b"\r\n"]])
def test_two_line_ends_are_a_ping(parts: list[bytes]) -> None:
    assert fed(*parts) == [Ping()]


def test_one_line_end_before_a_message_is_skipped() -> None:
    assert fed(b"\r\n" + BYE, b"\r\n", BYE) == [Message(BYE), Message(BYE)]


def test_waiting_says_whether_a_message_has_begun() -> None:
    framer, waiting = Framer(), list[bool]()
    for part in (b"", b"\r\n", INVITE[:20], INVITE[20:]):
        framer.feed(part)
        waiting.append(framer.waiting)
    assert waiting == [False, False, True, False]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packet("BYE", drop="Content-Length"), "Content-Length missing"),
        (packet("BYE", drop="Content-Length", extra="l: x"), "Content-Length is not valid"),
        (packet("BYE", drop="Content-Length", extra="l: -1"), "Content-Length is not valid"),
        (packet("BYE", extra="Content-Length: 7"), "Content-Length given twice"),
        (packet("BYE", drop="Content-Length", extra="l: 65535"), "message too long"),
        (packet("BYE", drop="Content-Length", extra="l: 999999999"), "message too long"),
        (b"x" * (MAX_HEAD_BYTES + 1), "headers too long"),
        (b"\n\n", "Content-Length missing"),
    ],
)
def test_a_stream_that_cannot_be_read_on_is_broken(data: bytes, reason: str) -> None:
    framer = Framer()
    frames = framer.feed(data + BYE)
    assert [frame.reason for frame in frames if isinstance(frame, Broken)] == [reason]
    assert len(frames) == 1
    assert framer.feed(BYE) == []
    assert not framer.waiting


def test_a_long_head_is_given_up_before_it_ends() -> None:
    framer = Framer()
    frames = [frame for _ in range(100) for frame in framer.feed(b"X: " + b"y" * 997)]
    assert [type(frame) for frame in frames] == [Broken]


@given(st.lists(st.one_of(st.binary(max_size=50), st.sampled_from([b"\r\n", b"\r\n\r\n", b"l: 3\r\n", INVITE, BYE]))))
def test_nothing_raises_and_little_is_kept(parts: list[bytes]) -> None:
    framer = Framer()
    taken = 0
    for part in parts:
        for frame in framer.feed(part):
            taken += len(frame.data) if isinstance(frame, Message) else 0
            assert not isinstance(frame, Message) or len(frame.data) <= MAX_MESSAGE_BYTES
    assert taken <= sum(map(len, parts))
