"""RTCP compounds are read and written as RFC 3550 §6 has them, and nothing else is."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import Malformed
from media.rtcp import Goodbye, ReceiverReport, Report, ReportBlock, SenderReport, SourceDescription, parse, to_bytes

WORD = st.integers(0, 0xFFFFFFFF)
BLOCKS = st.lists(
    st.builds(ReportBlock, WORD, st.integers(0, 255), st.integers(-(1 << 23), (1 << 23) - 1), WORD, WORD, WORD, WORD),
    max_size=31,
).map(tuple)
NAMES = st.text(st.characters(codec="ascii"), max_size=255)
REPORTS = st.one_of(
    st.builds(SenderReport, WORD, st.integers(0, (1 << 64) - 1), WORD, WORD, WORD, BLOCKS),
    st.builds(ReceiverReport, WORD, BLOCKS),
    st.builds(SourceDescription, st.lists(st.tuples(WORD, NAMES), max_size=4).map(tuple)),
    st.builds(Goodbye, st.lists(WORD, max_size=31).map(tuple)),
)


@given(st.lists(REPORTS, min_size=1, max_size=4).map(tuple))
def test_what_is_written_is_read_again(reports: tuple[Report, ...]) -> None:
    assert parse(to_bytes(reports)) == reports


def test_unknown_packets_in_a_compound_are_passed_over() -> None:
    known = to_bytes((Goodbye((7,)),))
    assert parse(b"\x80\xcc\x00\x02" + bytes(8) + known) == (Goodbye((7,)),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\xc8\x00",
        b"\x00\xc8\x00\x00",  # version 0
        b"\x80\xc8\x00\x01" + bytes(4),  # a sender report without its sender
        b"\x81\xc9\x00\x01" + bytes(4),  # a block that is not there
        b"\x80\xc9\x00\x09" + bytes(4),  # longer than its datagram
        b"\x81\xca\x00\x00",  # a description of nobody
        b"\x81\xca\x00\x02" + bytes(4) + b"\x01\xff\x61\x62",  # an item longer than its packet
        b"\xa0\xc9\x00\x01\x00\x00\x00\x09",  # padding longer than the packet
        b"\x80\xcc\x00\x00" * 65,
    ],
)
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)


@given(st.binary(max_size=200))
def test_no_datagram_does_worse_than_malformed(data: bytes) -> None:
    with suppress(Malformed):
        parse(b"\x81\xca" + data)


def test_a_source_has_one_name_whose_octets_are_kept() -> None:
    item = b"\x01\x03\xff\xfea"
    (described,) = parse(b"\x81\xca\x00\x05" + bytes(4) + item + item + b"\x01\x02bc\0\0")
    assert described == SourceDescription(((0, "\udcff\udcfea"),))
    assert parse(to_bytes((described,))) == (described,)
