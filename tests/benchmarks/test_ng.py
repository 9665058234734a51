"""rtpengine's control protocol: bencoding both ways, and commands against a server of the test's own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from benchmarks.ng import DEPTH_MAX, Client, Refused, decode, encode

BOTH_WAYS = [
    (0, b"i0e"),
    (-17, b"i-17e"),
    (b"", b"0:"),
    (b"spam", b"4:spam"),
    ([], b"le"),
    ([b"a", [1, {}]], b"l1:ali1edeee"),
    ({"a": 1, "b c": [b"x"]}, b"d1:ai1e3:b cl1:xee"),
]


@pytest.mark.parametrize(("value", "octets"), BOTH_WAYS)
def test_values_and_octets_are_inverse(value: object, octets: bytes) -> None:
    assert encode(value) == octets
    assert decode(octets) == value


def test_text_is_octets_and_names_are_in_order() -> None:
    assert encode({"sdp": "v=0 é", "command": "offer"}) == b"d7:command5:offer3:sdp6:v=0 \xc3\xa9e"


@pytest.mark.parametrize("value", [1.5, None, True, {"a": 2.0}])
def test_what_bencoding_has_not_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)


@pytest.mark.parametrize(
    "octets",
    [
        *(b"", b"x", b"i1", b"ie", b"i-e", b"i1.5e", b"i" + b"1" * 30 + b"e", b"5:spam", b"-1:", b"9999999999999:x"),
        *(b"l", b"l1:a", b"d1:a", b"d1:ai1e", b"di1ei1ee", b"i1ei1e", b"l" * (DEPTH_MAX + 2) + b"e" * (DEPTH_MAX + 2)),
    ],
)
def test_anything_else_cannot_be_read(octets: bytes) -> None:
    with pytest.raises(ValueError):
        decode(octets)


@contextlib.contextmanager
def server(answer: Callable[[bytes, bytes], list[bytes]]) -> Iterator[tuple[str, int]]:
    """One that answers the first datagram, given as cookie and body."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)

        def serve() -> None:
            data, source = sock.recvfrom(2048)
            for reply in answer(*data.split(b" ", 1)):
                sock.sendto(reply, source)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()
        thread.join()


def test_the_reply_is_the_one_with_the_commands_cookie() -> None:
    asked: list[object] = []

    def answer(cookie: bytes, body: bytes) -> list[bytes]:
        asked.append(decode(body))
        return [
            b"other " + encode({"result": "ok", "sdp": "late"}),
            cookie + b" " + encode({"result": "ok", "sdp": "x"}),
        ]

    with server(answer) as address, contextlib.closing(Client(address)) as client:
        assert client.ask("offer", {"call-id": "1"})["sdp"] == b"x"
    assert asked == [{"command": b"offer", "call-id": b"1"}]


@pytest.mark.parametrize("reply", [encode({"result": "error", "error-reason": "no"}), b"nonsense", encode([1])])
def test_a_no_is_an_error_and_so_is_nonsense(reply: bytes) -> None:
    with (
        server(lambda cookie, body: [cookie + b" " + reply]) as address,
        contextlib.closing(Client(address)) as client,
        pytest.raises(Refused, match="offer"),
    ):
        client.ask("offer")
