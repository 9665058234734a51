"""The syntax of session descriptions (RFC 8866): bytes to values and back, tolerant of what real peers leave out.

Required of a description: `v=0` first, an origin, and well-formed m-lines. A missing `s=` or `t=`, bare line feeds,
unknown line types and unknown attributes are borne; attributes are all kept, in order. Unknown lines are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from media.errors import Malformed

DESCRIPTION_BYTES_MAX = 64 * 1024  # a UDP datagram; the largest real offer seen has 6 KiB
LINES_MAX = 1000  # ten times the longest real offer
MEDIA_MAX = 64  # streams of one call; a conference recorder's offer has a dozen
FORMATS_MAX = 128  # there are no more payload types
DIGITS_MAX = 10  # of a number: ports, payload types and packet times have five; beyond, it is none
PTIME_MS_MAX = 1000  # beyond this a packet would not fit its datagram


class Direction(StrEnum):
    """Which way a stream flows, as seen by whoever wrote it (RFC 8866 §6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An `a=` line; `value` is None for a bare property."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value}"

    def __repr__(self) -> str:
        """A key does not show (RFC 4568)."""
        return f"Attribute({self.name!r}, {'hidden' if self.name == 'crypto' else repr(self.value)})"


@dataclass(frozen=True, slots=True)
class Connection:
    """A `c=` line."""

    address: str
    kind: str = "IP4"

    @classmethod
    def to(cls, address: str) -> Connection:
        """For a literal address of either family."""
        return cls(address, "IP6" if ":" in address else "IP4")

    def __str__(self) -> str:
        return f"IN {self.kind} {self.address}"


@dataclass(frozen=True, slots=True)
class Origin:
    """The `o=` line. Id and version are kept as text: real peers write numbers beyond 64 bits."""

    username: str
    session_id: str
    version: str
    kind: str
    address: str

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} IN {self.kind} {self.address}"


RTPMAPS_KEPT = 512
"""Texts of which the meaning is remembered: a peer says the same dozen in every call, and each is asked for often."""


@dataclass(frozen=True, slots=True)
class RtpMap:
    """What a payload type means."""

    payload_type: int
    name: str
    clock_hz: int
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Media:
    """One m-line with what belongs to it."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    connection: Connection | None = None
    attributes: tuple[Attribute, ...] = ()
    port_count: int = 1

    def values(self, name: str) -> tuple[str, ...]:
        """The values of every attribute of this name, in order; a bare property counts as empty text."""
        return tuple(a.value or "" for a in self.attributes if a.name == name)

    def value(self, name: str) -> str | None:
        """The first value of this attribute, or None where it is absent."""
        return next(iter(self.values(name)), None)

    @property
    def payload_types(self) -> tuple[int, ...]:
        """The formats that are RTP payload types, in the order offered."""
        numbers = map(_count, self.formats)
        return tuple(number for number in numbers if number is not None and number < 128)

    @property
    def rtpmaps(self) -> dict[int, RtpMap]:
        """Every readable `rtpmap`, by payload type."""
        found = (_read_rtpmap(value) for value in self.values("rtpmap"))
        return {entry.payload_type: entry for entry in found if entry is not None}

    @property
    def fmtp(self) -> dict[int, str]:
        """The parameters of each format, by payload type."""
        pairs = (value.partition(" ") for value in self.values("fmtp"))
        return {number: text for word, _, text in pairs if (number := _count(word)) is not None}

    @property
    def own_direction(self) -> Direction | None:
        """The direction written at this m-line, None where it leaves that to the session."""
        return _read_direction(self.attributes)

    @property
    def ptime_ms(self) -> int | None:
        """Milliseconds of audio a packet, where told and sane."""
        ptime_ms = _count(self.value("ptime") or "")
        return ptime_ms if ptime_ms is not None and 0 < ptime_ms <= PTIME_MS_MAX else None

    @property
    def label(self) -> str | None:
        """RFC 4574's label: any text, for us a name to echo."""
        return self.value("label")

    @property
    def mid(self) -> str | None:
        """RFC 5888's identification tag."""
        return self.value("mid")

    @property
    def rtcp_mux(self) -> bool:
        """Whether RTP and RTCP may share a port (RFC 5761)."""
        return self.value("rtcp-mux") is not None

    @property
    def rtcp_mux_only(self) -> bool:
        """Whether an offer takes nothing else (RFC 8858)."""
        return self.value("rtcp-mux-only") is not None

    @property
    def rtcp(self) -> tuple[int, str | None] | None:
        """RFC 3605's (port, address) for RTCP; None where absent or unreadable."""
        words = (self.value("rtcp") or "").split()
        port = _count(words[0]) if words else None
        if port is None or port > 65_535:
            return None
        return port, words[3] if len(words) >= 4 else None


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A whole description."""

    origin: Origin
    media: tuple[Media, ...] = ()
    connection: Connection | None = None
    attributes: tuple[Attribute, ...] = ()
    name: str = "-"
    timing: str = "0 0"

    def direction(self, media: Media) -> Direction:
        """The direction that holds for `media`: its own, the session's, else sendrecv."""
        return media.own_direction or _read_direction(self.attributes) or Direction.SENDRECV

    def connection_of(self, media: Media) -> Connection | None:
        """The `c=` line that holds for `media`."""
        return media.connection or self.connection

    def address(self, media: Media) -> str | None:
        """The address where `media`'s owner wants to receive, and sends from; None where none is given."""
        connection = self.connection_of(media)
        return connection.address if connection is not None else None

    def to_bytes(self) -> bytes:
        """The description as it goes on the wire; `parse` is its inverse."""
        lines = ["v=0", f"o={self.origin}", f"s={self.name}"]
        if self.connection is not None:
            lines.append(f"c={self.connection}")
        lines.append(f"t={self.timing}")
        lines += [f"a={attribute}" for attribute in self.attributes]
        for media in self.media:
            count = f"/{media.port_count}" if media.port_count != 1 else ""
            lines.append(f"m={media.kind} {media.port}{count} {media.protocol} {' '.join(media.formats)}")
            if media.connection is not None:
                lines.append(f"c={media.connection}")
            lines += [f"a={attribute}" for attribute in media.attributes]
        return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")


def parse(data: bytes) -> SessionDescription:
    """Read a description; raises Malformed, naming what is wrong, where it is none or beyond our limits."""
    if len(data) > DESCRIPTION_BYTES_MAX:
        raise Malformed("session description is too long")
    # Text is UTF-8 by RFC 8866 §5, Latin-1 in old switches: other octets are carried through unchanged.
    text = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace("\0", " ")  # in no text (§9, byte-string); some end what they send with it
    lines = [line.rstrip() for line in text.split("\n")]
    lines = [line for line in lines if line]
    if len(lines) > LINES_MAX:
        raise Malformed("session description has too many lines")
    if not lines or lines[0] != "v=0":
        raise Malformed("session description does not begin with v=0")
    starts = [i for i, line in enumerate(lines) if line.startswith("m=")]
    if len(starts) > MEDIA_MAX:
        raise Malformed("session description has too many m-lines")
    head = _section(lines[1 : starts[0] if starts else len(lines)])
    if head.origin is None:
        raise Malformed("session description has no origin line")
    media = tuple(_read_media(lines[start], lines[start + 1 : end]) for start, end in pairwise([*starts, len(lines)]))
    return SessionDescription(head.origin, media, head.connection, head.attributes, head.name, head.timing)


@dataclass(frozen=True, slots=True)
class _Section:
    """The lines between two m-lines, sorted by type."""

    origin: Origin | None
    connection: Connection | None
    attributes: tuple[Attribute, ...]
    name: str
    timing: str


def _section(lines: list[str]) -> _Section:
    origin, connection, name, timing = None, None, "-", "0 0"
    attributes = []
    for line in lines:
        if len(line) < 2 or line[1] != "=":
            raise Malformed("session description has a line that is not type=value")
        kind, value = line[0], line[2:]
        if kind == "a":
            attribute, colon, text = value.partition(":")
            attributes.append(Attribute(attribute.strip(), text.strip() if colon else None))
        elif kind == "c":
            # A second address at one m-line (RFC 8866 §5.7, layered multicast) is of no use to us.
            connection = connection or _read_connection(value)
        elif kind == "o":
            origin = _read_origin(value)
        elif kind == "s":
            name = value or "-"
        elif kind == "t":
            timing = value
    return _Section(origin, connection, tuple(attributes), name, timing)


def _read_media(line: str, rest: list[str]) -> Media:
    words = line[2:].split()
    if len(words) < 4:
        raise Malformed("m-line has too few fields")
    kind, ports, protocol = words[:3]
    formats = tuple(words[3:])
    if len(formats) > FORMATS_MAX:
        raise Malformed("m-line has too many formats")
    port, _, count = ports.partition("/")
    section = _section(rest)
    return Media(
        kind,
        _number(port, 65_535, "port of an m-line"),
        protocol,
        formats,
        section.connection,
        section.attributes,
        _number(count, 65_535, "port count of an m-line") if count else 1,
    )


def _read_origin(value: str) -> Origin:
    words = value.split()
    if len(words) != 6 or words[3] != "IN":
        raise Malformed("origin line is not six fields")
    return Origin(words[0], words[1], words[2], words[4], words[5])


def _read_connection(value: str) -> Connection:
    words = value.split()
    address = words[2].partition("/")[0] if len(words) == 3 else ""
    if not address or words[0] != "IN" or words[1] not in {"IP4", "IP6"}:
        raise Malformed("connection line is not IN, IP4 or IP6, address")
    return Connection(address, words[1])


@lru_cache(maxsize=RTPMAPS_KEPT)
def _read_rtpmap(value: str) -> RtpMap | None:
    number, _, text = value.partition(" ")
    name, _, rates = text.strip().partition("/")
    clock, _, channels = rates.partition("/")
    digits = (number, clock, channels or "1")
    if not name or not all(d.isascii() and d.isdigit() and len(d) < 7 for d in digits):
        return None
    return RtpMap(int(number), name, int(clock), int(channels or 1)) if int(number) < 128 else None


def _read_direction(attributes: tuple[Attribute, ...]) -> Direction | None:
    # The last one wins: peers that rewrite a direction append theirs.
    names = [a.name for a in attributes if a.value is None and a.name in set(Direction)]
    return Direction(names[-1]) if names else None


def _number(text: str, largest: int, what: str) -> int:
    number = _count(text)
    if number is None or number > largest:
        raise Malformed(f"{what} is no number in range")
    return number


def _count(text: str) -> int | None:
    """The number that `text` is in at most DIGITS_MAX digits, else None."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None
