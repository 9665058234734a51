"""Trickled candidates are read and bounded; nothing that they name is looked up."""

from __future__ import annotations

import pytest

from media.errors import Malformed
from media.webrtc.fragment import FRAGMENT_BYTES_MAX, LINES_MAX, Fragment, read_fragment

HOST = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1"
NAME = "a=candidate:1 1 udp 2122260223 0c4ff0e5-3ed9-4b6f-9f3b-7f1f0d6e3a51.local 61764 typ host"
TCP = "a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active"
HEAD = ("a=ice-ufrag:EsAw", "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", "m=audio 9 RTP/AVP 0", "a=mid:0")


def fragment(*lines: str) -> bytes:
    return "\r\n".join([*lines, ""]).encode()


def test_candidates_are_counted_and_the_session_named() -> None:
    assert read_fragment(fragment(*HEAD, HOST, NAME, TCP)) == Fragment("EsAw", 3, ended=False)
    assert read_fragment(fragment("m=audio 9 RTP/AVP 0", "a=end-of-candidates")) == Fragment(None, 0, ended=True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"\xff\xfe",
        b"v",
        b"hello\r\n",
        fragment(*HEAD, "a=ice-ufrag:other"),
        fragment(*HEAD, "a=candidate:"),
        fragment(*HEAD, "a=candidate:1 1 udp 1 192.0.2.1 port typ host"),
        fragment(*HEAD, "a=candidate:1 0 udp 1 192.0.2.1 1 typ host"),
        fragment(*["a=x"] * (LINES_MAX + 1)),
        b"a=" + b"x" * FRAGMENT_BYTES_MAX,
    ],
)
def test_what_is_no_fragment_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_fragment(body)
