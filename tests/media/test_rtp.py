"""RTP packets are read and written as RFC 3550 §5.1 has them, and nothing else is."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.errors import Malformed
from media.rtp import Packet

WORD = st.integers(0, 0xFFFFFFFF)
PACKETS = st.builds(
    Packet,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=WORD,
    ssrc=WORD,
    payload=st.binary(max_size=300),
    marker=st.booleans(),
    csrc=st.lists(WORD, max_size=15).map(tuple),
    extension=st.none()
    | st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=64).map(lambda data: data[: len(data) // 4 * 4])),
)


@given(PACKETS)
def test_what_is_written_is_read_again(packet: Packet) -> None:
    assert Packet.parse(packet.to_bytes()) == packet


def test_padding_is_taken_off() -> None:
    data = bytearray(Packet(8, 1, 2, 3, b"audio" + b"\0\0\3").to_bytes())
    data[0] |= 0x20
    assert Packet.parse(bytes(data)).payload == b"audio"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        bytes(12),  # version 0
        b"\x40" + bytes(40),  # version 1
        b"\x81" + bytes(11),  # a contributing source that is not there
        b"\x90" + bytes(11),  # an extension that is not there
        b"\x90" + bytes(13) + b"\x00\x09",  # an extension longer than the packet
        b"\xa0" + bytes(12),  # padding of zero octets
        b"\xa0" + bytes(11) + b"\x09",  # padding longer than the packet
        b"\x80" + bytes(70_000),
    ],
)
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Packet.parse(data)


@given(st.binary(max_size=100))
def test_no_datagram_does_worse_than_malformed(data: bytes) -> None:
    with suppress(Malformed):
        Packet.parse(b"\x80" + data)
