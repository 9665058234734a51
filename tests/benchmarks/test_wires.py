"""SIP over a stream, cut into messages."""

from __future__ import annotations

import pytest

from benchmarks.wires import HEAD_BYTES_MAX, Framer

ONE = b"SIP/2.0 200 OK\r\nCall-ID: 1\r\nContent-Length: 4\r\n\r\nbody"
TWO = b"BYE sip:a SIP/2.0\r\nl : 0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 30, 1000])
def test_messages_are_found_however_they_are_cut(size: int) -> None:
    framer, stream = Framer(), ONE + TWO + ONE
    found = [message for at in range(0, len(stream), size) for message in framer.feed(stream[at : at + size])]
    assert found == [ONE, TWO, ONE]


@pytest.mark.parametrize("stream", [b"SIP/2.0 200 OK\r\nCall-ID: 1\r\n\r\n", b"x" * (HEAD_BYTES_MAX + 1)])
def test_a_stream_that_cannot_be_cut_is_an_error(stream: bytes) -> None:
    with pytest.raises(ConnectionError):
        Framer().feed(stream)
