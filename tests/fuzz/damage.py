"""Inputs that are nearly good: one that is kept, with some octets cut, doubled, changed or put in."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

TELLING = (
    b"\r\n",
    b"\n ",
    b";",
    b'"',
    b"<",
    b">",
    b":",
    b",",
    b"=",
    b"/",
    b"%00",
    b"\0",
    b"\xff\xff",
    b"\x80",
    b"-1",
    b"9" * 20,
)

TIMES = (1, 1, 1, 1000)  # what is put in, now and then as often as a datagram holds


@st.composite
def damaged(draw: st.DrawFn, kept: Sequence[bytes]) -> bytes:
    """One of `kept`, damaged up to six times."""
    raw = bytearray(draw(st.sampled_from(list(kept))))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(raw)))
        cut = draw(st.integers(0, 12))
        put = draw(st.one_of(st.binary(max_size=8), st.sampled_from(TELLING)))
        raw[at : at + cut] = put * draw(st.sampled_from(TIMES))
    return bytes(raw)
