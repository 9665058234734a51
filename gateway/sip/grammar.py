"""The header values that routing, transactions and dialogs read: tolerant, and linear in the length of the text.

RFC 3261 §25 as the field writes it: an `_` in a Via host, white space wherever RFC 4475 puts it, an unquoted display
name with any characters. Values that are mirrored to the peer keep their own spelling; nothing is unescaped and
escaped again on the way. Every reader is the inverse of `str()` up to white space.

Linear time is a promise, not a detail: a strict grammar of backtracking expressions (sipmessage 0.7) takes 2.6 s for
one `tel:` URI of 8,000 digits, and one datagram may hold seven of those.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote

from gateway.sip.errors import Malformed

Parameters = tuple[tuple[str, str | None], ...]
"""Parameters in their order; names in lower case, values as written (quotes and escapes kept)."""

Address = tuple[str, int]
"""Host and port, as sockets give and take them."""

MAX_IDENTIFIER = 512
"""Characters in a tag, branch or Call-ID. They are keys of tables that live for half a minute; RFC 4475's longest are
near 250."""

MAX_CSEQ = 2**31 - 1
"""RFC 3261 §8.1.1.5: less than 2**31."""

DEFAULT_PORT = 5060
SECURE_PORT = 5061  # over TLS

# An opening quote or bracket that is never closed swallows the rest: that keeps the scan linear.
_QUOTED = r'"(?:[^"\\]|\\.)*+(?:"|\\?$)'
_BRACKETED = r"<[^>]*+(?:>|$)"
_COMMAS = re.compile(f"{_QUOTED}|{_BRACKETED}|,", re.DOTALL)
_SEMICOLONS = re.compile(f"{_QUOTED}|;", re.DOTALL)
_QUOTED_NAME = re.compile(r'"((?:[^"\\]|\\.)*+)"\s*', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

_OUTSIDE_URIS = frozenset(" <>")
"""What ends a URI: with one inside, it could not be written between brackets again."""

_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]++\Z")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+\Z")
_SENT_BY = re.compile(r"(\[[0-9A-Fa-f:.%]++\]|[A-Za-z0-9._\-]++)(?:\s*+:\s*+([0-9]{1,5}))?\Z")
_VIA = re.compile(r"SIP\s*+/\s*+2\.0\s*+/\s*+([A-Za-z0-9\-.]++)\s++(.+)\Z", re.IGNORECASE | re.DOTALL)
_CSEQ = re.compile(r"([0-9]{1,20})\s++(\S+)\Z")


def is_token(text: str) -> bool:
    """Whether `text` is a `token` of RFC 3261 §25.1."""
    return _TOKEN.match(text) is not None


def _split(text: str, separators: re.Pattern[str], separator: str) -> list[str]:
    parts, start = [], 0
    for found in separators.finditer(text):
        if found[0] == separator:
            parts.append(text[start : found.start()].strip())
            start = found.end()
    parts.append(text[start:].strip())
    return parts


def split_list(text: str) -> list[str]:
    """The elements of a comma-separated header; commas in quotes and angle brackets do not count, empty ones go."""
    if "," not in text:
        return [text.strip()]
    return [part for part in _split(text, _COMMAS, ",") if part]


def first_of(text: str) -> str:
    """The first element of a comma-separated header, or nothing."""
    return next(iter(split_list(text)), "")


def parse_parameters(text: str) -> Parameters:
    """`;name=value;flag` as pairs; `text` begins with a semicolon or is blank. Empty parameters are skipped."""
    parts = _split(text, _SEMICOLONS, ";") if '"' in text else text.split(";")
    if parts[0].strip():
        raise Malformed("parameters do not begin with a semicolon")
    parameters: list[tuple[str, str | None]] = []
    for part in parts[1:]:
        name, equals, value = part.partition("=")
        if name := name.strip().lower():
            parameters.append((name, value.strip() if equals else None))
    return tuple(parameters)


def format_parameters(parameters: Parameters) -> str:
    """The inverse of `parse_parameters`."""
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in parameters)


def _value(parameters: Parameters, name: str) -> str | None:
    for key, value in parameters:
        if key == name:
            return value
    return None


def _identifier(text: str, what: str) -> str:
    if len(text) > MAX_IDENTIFIER:
        raise Malformed(f"{what} too long")
    return text


def clean(text: str) -> str:
    """`text` without the stand-ins of undecodable bytes: fit for JSON, logs and databases."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _port(text: str | None) -> int | None:
    if not text:
        return None
    number = int(text)
    if not 0 < number < 65536:
        raise Malformed("port out of range")
    return number


@dataclass(frozen=True, slots=True)
class Via:
    """One Via element (RFC 3261 §20.42)."""

    transport: str
    host: str
    port: int | None
    parameters: Parameters = ()

    @classmethod
    def parse(cls, text: str) -> Via:
        """One element, without its neighbours of the same line."""
        head, semicolon, rest = text.partition(";")
        found = _VIA.match(head.strip())
        sent_by = found and _SENT_BY.match(found[2].strip())
        if not found or not sent_by:
            raise Malformed("Via is not valid")
        via = cls(found[1].upper(), sent_by[1].lower(), _port(sent_by[2]), parse_parameters(semicolon + rest))
        _identifier(via.branch, "branch")
        return via

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {self.host}{port}{format_parameters(self.parameters)}"

    @property
    def branch(self) -> str:
        """The branch, or an empty string."""
        return _value(self.parameters, "branch") or ""

    def stamped(self, source: Address) -> Via:
        """With `received` and `rport` as the packet came (RFC 3261 §18.2.1, RFC 3581 §4); a peer's own are not kept."""
        wants_port = any(name == "rport" for name, _ in self.parameters)
        if not wants_port and self.host.strip("[]") == source[0]:
            return self
        kept = tuple(pair for pair in self.parameters if pair[0] not in ("received", "rport"))
        stamps: Parameters = (("received", source[0]),)
        if wants_port:
            stamps += (("rport", str(source[1])),)
        return replace(self, parameters=kept + stamps)

    def reply_to(self, source: Address) -> Address:
        """Where a response goes over UDP (RFC 3261 §18.2.2, RFC 3581 §4).

        Never to another host than the packet came from: `maddr` and a foreign `received` would make us a reflector.
        """
        if any(name == "rport" for name, _ in self.parameters):
            return source
        return source[0], self.port or DEFAULT_PORT


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI of any scheme; `user`, `host` and `port` are read for sip and sips, `user` also for tel."""

    scheme: str
    user: str
    host: str
    port: int | None
    parameters: Parameters

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Reads what addressing needs; percent escapes in `user` are decoded and the text is clean."""
        scheme, colon, rest = text.partition(":")
        if not colon or not _SCHEME.match(scheme):
            raise Malformed("URI has no scheme")
        scheme = scheme.lower()
        if scheme not in ("sip", "sips"):
            number, semicolon, tail = rest.partition(";")
            user = clean(unquote(number)) if scheme == "tel" else ""
            return cls(scheme, user, "", None, parse_parameters(semicolon + tail))
        # An unescaped `;` or `?` may stand in a user part, never an `@` behind it.
        userinfo, _, hostpart = rest.rpartition("@")
        address, semicolon, tail = hostpart.partition("?")[0].partition(";")
        sent_by = _SENT_BY.match(address.strip())
        if not sent_by:
            raise Malformed("URI has no valid host")
        user = clean(unquote(userinfo.partition(":")[0], errors="surrogateescape"))
        return cls(scheme, user, sent_by[1].lower(), _port(sent_by[2]), parse_parameters(semicolon + tail))

    @property
    def transport(self) -> str:
        """The `transport` parameter in lower case, or an empty string."""
        return (_value(self.parameters, "transport") or "").lower()

    @property
    def loose(self) -> bool:
        """Whether a route's owner is a loose router (`lr`, RFC 3261 §19.1.1)."""
        return any(name == "lr" for name, _ in self.parameters)


@dataclass(frozen=True, slots=True)
class NameAddr:
    """An address with display name and header parameters (From, To, Contact, Route, Record-Route)."""

    display: str
    uri: str
    """As written; `Uri.parse` reads it where its parts are asked for."""
    parameters: Parameters = ()

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """One element. Without angle brackets parameters belong to the header (RFC 3261 §20.10)."""
        text = text.strip()
        if quoted := _QUOTED_NAME.match(text):
            display, text = _ESCAPED.sub(r"\1", quoted[1]), text[quoted.end() :]
            if not text.startswith("<"):
                raise Malformed("quoted name without address")
        elif text.startswith('"'):
            raise Malformed("quoted name without end")
        elif (bracket := text.find("<")) >= 0:
            display, text = text[:bracket].strip(), text[bracket:]
        else:
            uri, semicolon, rest = text.partition(";")
            return cls._checked("", uri, semicolon + rest)
        uri, bracket_end, rest = text[1:].partition(">")
        if not bracket_end:
            raise Malformed("address without closing bracket")
        return cls._checked(display, uri, rest)

    @classmethod
    def _checked(cls, display: str, uri: str, parameters: str) -> NameAddr:
        uri = uri.strip()
        if ":" not in uri or not _OUTSIDE_URIS.isdisjoint(uri):
            raise Malformed("address without URI")
        address = cls(clean(display), uri, parse_parameters(parameters.strip()))
        if not _identifier(address.tag, "tag") and any(name == "tag" for name, _ in address.parameters):
            raise Malformed("tag is empty")
        return address

    def __str__(self) -> str:
        display = self.display.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{display}" ' if display else ""
        return f"{name}<{self.uri}>{format_parameters(self.parameters)}"

    @property
    def tag(self) -> str:
        """The tag, or an empty string (RFC 2543 peers have none)."""
        return _value(self.parameters, "tag") or ""


@dataclass(frozen=True, slots=True)
class CSeq:
    """Number and method of a request (RFC 3261 §20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        found = _CSEQ.match(text)
        if not found or not is_token(found[2]):
            raise Malformed("CSeq is not valid")
        if int(found[1]) > MAX_CSEQ:
            raise Malformed("CSeq out of range")
        return cls(int(found[1]), found[2])

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def parse_call_id(text: str) -> str:
    """A Call-ID: one word, compared byte for byte."""
    if not text or " " in text:
        raise Malformed("Call-ID is not valid")
    return _identifier(text, "Call-ID")
