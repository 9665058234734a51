"""Messages cut out of a byte stream (RFC 3261 §18.3), and the keep-alives between them (RFC 5626 §3.5.1).

The end of a message is where its Content-Length says, so a stream without a good one cannot be read on: its last
message is handed out for a 400, and the connection is to be closed. Nothing is buffered beyond one message.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.sip.errors import Malformed
from gateway.sip.headers import parse_lines
from gateway.sip.message import END_OF_HEAD, MAX_HEAD_BYTES, MAX_MESSAGE_BYTES, content_length

PONG = b"\r\n"
"""The answer to a ping."""

_PING = b"\r\n\r\n"
_BREAKS = b"\r\n"


@dataclass(frozen=True, slots=True)
class Message:
    """One whole message."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ping:
    """A keep-alive between messages: answer it with PONG."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream cannot be read on: answer `data` as a malformed message, if it is anything, and close."""

    data: bytes = field(repr=False)
    reason: str


Frame = Message | Ping | Broken


class Framer:
    """One direction of one connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._needed = 0
        self._broken = False

    @property
    def waiting(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer.strip(_BREAKS))

    def feed(self, data: bytes) -> list[Frame]:
        """What is complete after these bytes, in order. After a `Broken` nothing more comes."""
        if self._broken:
            return []
        self._buffer += data
        frames: list[Frame] = []
        while (frame := self._next()) is not None:
            frames.append(frame)
            if isinstance(frame, Broken):
                self._broken = True
                self._buffer.clear()
                break
        return frames

    def _next(self) -> Frame | None:
        if not self._needed:
            if ping := self._skip_breaks():
                return ping
            if broken := self._read_head():
                return broken
        if not self._needed or len(self._buffer) < self._needed:
            return None
        data = bytes(self._buffer[: self._needed])
        del self._buffer[: self._needed]
        self._searched = self._needed = 0
        return Message(data)

    def _skip_breaks(self) -> Ping | None:
        """Line ends between messages: two are a ping, one alone is the peer's pong or a sloppy end (§7.5)."""
        if self._buffer.startswith(_PING):
            del self._buffer[: len(_PING)]
            return Ping()
        if len(self._buffer) < len(_PING) and _PING.startswith(self._buffer):
            return None  # perhaps the first half of a ping
        while self._buffer.startswith(_BREAKS):
            del self._buffer[: len(_BREAKS)]
            if self._buffer.startswith(_PING):
                return self._skip_breaks()
        return None

    def _read_head(self) -> Broken | None:
        """Finds out how long the message at the start of the buffer is, once its head is there."""
        found = END_OF_HEAD.search(self._buffer, self._searched)
        self._searched = max(0, len(self._buffer) - 3)
        end = found.start() if found else len(self._buffer)
        if end > MAX_HEAD_BYTES:
            return Broken(bytes(self._buffer[: end + 4]), "headers too long")
        if found is None:
            return None
        _, headers, _ = parse_lines(self._buffer[:end].decode("utf-8", "surrogateescape"))
        try:
            length = content_length(headers)
            if length is None:
                raise Malformed("Content-Length missing")
        except Malformed as error:
            return Broken(bytes(self._buffer[: found.end()]), error.reason)
        if found.end() + length > MAX_MESSAGE_BYTES:
            return Broken(bytes(self._buffer[: found.end()]), "message too long")
        self._needed = found.end() + length
        return None
