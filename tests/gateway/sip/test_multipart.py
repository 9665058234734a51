"""Bodies of several parts: what recording clients write is read, what is hostile is refused, and neither takes long."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.errors import Malformed
from gateway.sip.multipart import BOUNDARY_CHARACTERS_MAX, PARTS_MAX, Part, parse

SDP = "application/sdp"
TWO = b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b\r\nContent-Type: a/x\r\n\r\n<x/>\r\n--b--\r\n"


def read(body: bytes, content_type: str = "multipart/mixed;boundary=b") -> list[tuple[str, bytes]]:
    return [(part.media_type, part.body) for part in parse(content_type, body)]


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/mixed; boundary=b",
        "multipart/mixed;boundary=b",
        'multipart/mixed ; charset=utf-8; Boundary="b"',
        'multipart/mixed;boundary="\\b"',
    ],
)
def test_a_boundary_is_read_however_it_is_written(content_type: str) -> None:
    assert read(TWO, content_type) == [(SDP, b"v=0\r\n"), ("a/x", b"<x/>")]


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (TWO.replace(b"\r\n", b"\n"), [(SDP, b"v=0\n"), ("a/x", b"<x/>")]),
        (b"a preamble\r\n" + TWO, [(SDP, b"v=0\r\n"), ("a/x", b"<x/>")]),
        (b"  \n" + TWO, [(SDP, b"v=0\r\n"), ("a/x", b"<x/>")]),
        (TWO.replace(b"--b--\r\n", b"--b-- "), [(SDP, b"v=0\r\n"), ("a/x", b"<x/>")]),
        (
            TWO.replace(b"--b--\r\n", b"--b--\r\nan epilogue\r\n--b\r\n\r\nno part"),
            [(SDP, b"v=0\r\n"), ("a/x", b"<x/>")],
        ),
        (TWO.replace(b"--b--\r\n", b""), [(SDP, b"v=0\r\n"), ("a/x", b"<x/>\r\n")]),  # cut off
        (b"--b\nContent-Type:a/x\nContent-Length:2012\n\n<x/>\n--b--", [("a/x", b"<x/>")]),  # a length that is none
        (b"--b\nc: a/x\n\n1\n--b--", [("a/x", b"1")]),
        (b"--b\n\nno headers\n--b--", [("text/plain", b"no headers")]),
        (b"--b\nContent-Type: a/x\n\n--bb\n--b --\n x\n--b--", [("a/x", b"--bb\n--b --\n x")]),  # no delimiters
        (b"--b\nContent-Type: a/x\n\n\n--b\n--b--", [("a/x", b""), ("text/plain", b"")]),
    ],
)
def test_what_the_field_writes_is_borne(body: bytes, parts: list[tuple[str, bytes]]) -> None:
    assert read(body) == parts


def test_disposition_and_what_the_sender_insists_on_are_told() -> None:
    first = b"--b\nContent-Disposition: Session;handling=required\n\n1\n"
    body = first + b"--b\nContent-Disposition: signal;handling=optional\n\n2\n--b--"
    assert parse("multipart/mixed;boundary=b", body) == (
        Part("text/plain", "session", True, b"1"),
        Part("text/plain", "signal", False, b"2"),
    )


def test_parts_within_a_part_stand_in_its_place() -> None:
    inner = b"--i\nContent-Type: application/sdp\n\nv=0\n--i--"
    body = b"--b\nContent-Type: multipart/alternative; boundary=i\n\n" + inner + b"\n--b\nContent-Type: a/x\n\n1\n--b--"
    assert read(body) == [(SDP, b"v=0"), ("a/x", b"1")]


@pytest.mark.parametrize(
    ("content_type", "body", "rule"),
    [
        ("multipart/mixed", TWO, "boundary"),
        ('multipart/mixed;boundary=""', TWO, "boundary"),
        ("multipart/mixed;boundary=" + "b" * (BOUNDARY_CHARACTERS_MAX + 1), TWO, "boundary"),
        ("multipart/mixed;boundary=other", TWO, "without its boundary"),
        ("multipart/mixed;boundary=b", b"", "without its boundary"),
        ("multipart/mixed;boundary=b", b"--b\n\nx\n" * (PARTS_MAX + 1), "too many parts"),
        ("multipart/mixed;boundary=b", b"--b\nContent-Type: multipart/mixed\n\nx\n--b--", "boundary"),
    ],
)
def test_what_is_none_or_beyond_the_limits_is_malformed(content_type: str, body: bytes, rule: str) -> None:
    with pytest.raises(Malformed, match=rule):
        parse(content_type, body)


def test_nesting_ends_at_the_limit() -> None:
    inner = b"--i\nContent-Type: multipart/mixed;boundary=j\n\n--j\n\nx\n--j--\n--i--"
    body = b"--b\nContent-Type: multipart/mixed;boundary=i\n\n" + inner + b"\n--b--"
    with pytest.raises(Malformed, match="too deep"):
        parse("multipart/mixed;boundary=b", body)


PIECES = st.sampled_from(
    [b"--b", b"--b--", b"\r\n", b"\n", b" ", b"Content-Type: ", b"multipart/mixed;boundary=b", b"x"]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.lists(PIECES, max_size=40).map(b"".join)))
def test_any_bytes_are_parts_or_malformed(body: bytes) -> None:
    try:
        parts = parse("multipart/mixed;boundary=b", body)
    except Malformed:
        return
    assert len(parts) <= PARTS_MAX
    assert sum(len(part.body) for part in parts) <= len(body)


def test_a_hostile_body_takes_no_longer_than_it_is_long() -> None:
    for body in (b"--b" + b" " * 60_000 + b"x", b"\n--b\t" * 12_000, b"\r\n" * 30_000 + b"--b"):
        with pytest.raises(Malformed):
            parse("multipart/mixed;boundary=b", body + b"\n--b\n\n" * 20)
