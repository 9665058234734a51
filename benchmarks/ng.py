"""rtpengine's control protocol, as much of it as a benchmark needs: a cookie, a blank, a bencoded dictionary, by UDP.

rtpengine, docs/ng_control_protocol.md; bencoding is BEP 3's.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Mapping

REPLY_BYTES_MAX = 65_535
REPLY_S = 5.0
DEPTH_MAX = 32  # of containers in one another; rtpengine's replies have six
_DIGITS_MAX = 20

Value = int | bytes | list["Value"] | dict[str, "Value"]


class Refused(Exception):
    """rtpengine said no, nothing, or what cannot be read; the text says which."""


def encode(value: object) -> bytes:
    """Text (as UTF-8), octets, whole numbers, lists, mappings. Raises TypeError."""
    match value:
        case bool():
            raise TypeError("bencoding has no truth values")
        case int():
            return b"i%de" % value
        case str():
            return encode(value.encode())
        case bytes():
            return b"%d:%s" % (len(value), value)
        case list() | tuple():
            return b"l" + b"".join(map(encode, value)) + b"e"
        case Mapping():
            items = sorted((str(name).encode(), item) for name, item in value.items())
            return b"d" + b"".join(encode(name) + encode(item) for name, item in items) + b"e"
    raise TypeError(f"bencoding has no {type(value).__name__}")


def decode(data: bytes) -> Value:
    """The one value that these octets are. Raises ValueError."""
    value, end = _value(data, 0, 0)
    if end != len(data):
        raise ValueError("octets behind the value")
    return value


def _value(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if depth > DEPTH_MAX:
        raise ValueError("nested too deep")
    match data[at : at + 1]:
        case b"i":
            number, end = _number(data, at + 1, b"e")
            return number, end
        case b"l":
            items: list[Value] = []
            at += 1
            while data[at : at + 1] != b"e":
                item, at = _value(data, at, depth + 1)
                items.append(item)
            return items, at + 1
        case b"d":
            found: dict[str, Value] = {}
            at += 1
            while data[at : at + 1] != b"e":
                name, at = _octets(data, at)
                found[name.decode("utf-8", "replace")], at = _value(data, at, depth + 1)
            return found, at + 1
    return _octets(data, at)


def _octets(data: bytes, at: int) -> tuple[bytes, int]:
    length, start = _number(data, at, b":")
    if not 0 <= length <= len(data) - start:
        raise ValueError("a string that does not end")
    return data[start : start + length], start + length


def _number(data: bytes, at: int, end: bytes) -> tuple[int, int]:
    stop = data.find(end, at, at + _DIGITS_MAX + 1)
    digits = data[at:stop]
    if stop < 0 or not digits.removeprefix(b"-").isdigit():
        raise ValueError("no number where one belongs")
    return int(digits), stop + 1


class Client:
    """Commands to one rtpengine, one after the other."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(target)
        self._socket.settimeout(REPLY_S)
        self._cookies = itertools.count(1)

    def close(self) -> None:
        self._socket.close()

    def ask(self, command: str, fields: Mapping[str, object] | None = None) -> dict[str, Value]:
        """Its reply. Raises Refused."""
        cookie = b"%d" % next(self._cookies)
        try:
            self._socket.send(cookie + b" " + encode({"command": command, **(fields or {})}))
            while True:
                told, _, body = self._socket.recv(REPLY_BYTES_MAX).partition(b" ")
                if told == cookie:
                    break
            reply = decode(body)
        except (OSError, ValueError) as error:
            raise Refused(f"{command}: {error}") from error
        if not isinstance(reply, dict) or reply.get("result") not in (b"ok", b"pong"):
            raise Refused(f"{command}: {reply!r}")
        return reply
