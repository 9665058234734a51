"""A SIP message as a value: `parse` reads one, `to_bytes` writes it, both within limits (RFC 3261 §7, §18.3).

The headers that every message must have (Via, From, To, Call-ID, CSeq) are read at once and are typed fields; the
rest is read when asked for. `Answerable` says what is wrong with a request that a response can still be sent to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gateway.sip import multipart
from gateway.sip.errors import Malformed
from gateway.sip.grammar import CSeq, NameAddr, Via, first_of, is_token, parse_call_id, split_list
from gateway.sip.headers import Headers, format_lines, parse_lines
from gateway.sip.multipart import Part

MAX_MESSAGE_BYTES = 65_535
"""No datagram is longer."""

MAX_HEAD_BYTES = 32_768
"""Start line and headers: half of the largest datagram; a stream's messages have the same bound."""

MAX_URI_CHARACTERS = 2048
"""Of a Request-URI; RFC 4475's longest has about 400."""

MAX_ROUTES = 64
"""Record-Route entries: a dialog keeps them for its life; Max-Forwards is 70 at most hops, few of them record."""

MAX_FORWARDS = 255
"""RFC 3261 §20.22."""

SDP = "application/sdp"
METADATA = ("application/rs-metadata", "application/rs-metadata+xml")
"""RFC 7866 §9 has the first; older drafts, and many clients still, the second."""
RECORDING_SESSION = "recording-session"
"""The disposition that says metadata whatever the type says (RFC 7866 §9.1)."""

END_OF_HEAD = re.compile(rb"\r\n\r\n|\n\r?\n")
_VERSION = re.compile(r"\ASIP\s*+/\s*+[0-9]++\.[0-9]++", re.IGNORECASE)
_SIP_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+:[^\s<>\"]++\Z")
_NUMBER = re.compile(r"[0-9]{1,9}\Z")


class Answerable(Malformed):
    """A malformed request with enough of a top Via that a response can be routed back."""

    def __init__(self, reason: str, *, status: int, method: str, headers: Headers, via: Via) -> None:
        super().__init__(reason)
        self.status = status
        self.method = method
        self.headers = headers
        self.via = via


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A request. `headers` are as they came, with long names; the typed fields are read from them."""

    method: str
    uri: str
    headers: Headers
    body: bytes
    via: Via
    from_: NameAddr
    to: NameAddr
    call_id: str
    cseq: CSeq
    _read: list[tuple[Part, ...]] = field(default_factory=list, init=False, compare=False)  # the parts, once read

    def __repr__(self) -> str:
        return f"Request({self.method})"

    @classmethod
    def make(cls, method: str, uri: str, headers: Headers, body: bytes = b"") -> Request:
        """Checks the headers that every request must have."""
        via, from_, to, call_id, cseq = _common(headers)
        if cseq.method != method:
            raise Malformed("CSeq names another method")
        return cls(method, uri, headers, body, via, from_, to, call_id, cseq)

    def to_bytes(self) -> bytes:
        return _encode(f"{self.method} {self.uri} SIP/2.0", self.headers, self.body)

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact; None without one or for `*`."""
        return _contact(self.headers)

    @property
    def record_routes(self) -> tuple[str, ...]:
        """The Record-Route elements as written, in the order they came."""
        return _routes(self.headers)

    def tokens(self, name: str) -> list[str]:
        """The words of a list header such as Require, in lower case."""
        return [word.lower() for value in self.headers.all(name) for word in split_list(value) if word]

    @property
    def media_type(self) -> str:
        """Content-Type without parameters, in lower case; empty without one."""
        return multipart.word(self.headers.first("Content-Type") or "")

    @property
    def parts(self) -> tuple[Part, ...]:
        """The body's parts, one for a body that is no multipart, none without a body. Raises `Malformed`."""
        if not self._read:
            self._read.append(self._parse_parts())
        return self._read[0]

    @property
    def sdp(self) -> bytes:
        """The session description: the body, or the first part that is one; empty without one."""
        if self.media_type == SDP:
            return self.body
        try:
            return next((part.body for part in self.parts if part.media_type == SDP), b"")
        except Malformed:
            return b""

    @property
    def metadata(self) -> tuple[bytes, ...]:
        """What the body says of a recording session (RFC 7865), unread; usually one document or none."""
        try:
            parts = self.parts
        except Malformed:
            return ()
        return tuple(p.body for p in parts if p.media_type in METADATA or p.disposition == RECORDING_SESSION)

    def _parse_parts(self) -> tuple[Part, ...]:
        if not self.body:
            return ()
        if multipart.is_multipart(self.media_type):
            return multipart.parse(self.headers.first("Content-Type") or "", self.body)
        disposition = multipart.word(self.headers.first("Content-Disposition") or "")
        return (Part(self.media_type, disposition, required=True, body=self.body),)


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """A response; fields as in `Request`."""

    status: int
    reason: str
    headers: Headers
    body: bytes
    via: Via
    from_: NameAddr
    to: NameAddr
    call_id: str
    cseq: CSeq

    def __repr__(self) -> str:
        return f"Response({self.status} {self.cseq.method})"

    @classmethod
    def make(cls, status: int, reason: str, headers: Headers, body: bytes = b"") -> Response:
        """Checks the headers that every response must have."""
        return cls(status, reason, headers, body, *_common(headers))

    def to_bytes(self) -> bytes:
        return _encode(f"SIP/2.0 {self.status} {self.reason}", self.headers, self.body)

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact, or None."""
        return _contact(self.headers)

    @property
    def record_routes(self) -> tuple[str, ...]:
        """The Record-Route elements as written, in the order they came."""
        return _routes(self.headers)


def _common(headers: Headers) -> tuple[Via, NameAddr, NameAddr, str, CSeq]:
    return (
        _top_via(headers),
        NameAddr.parse(headers.required("From")),
        NameAddr.parse(headers.required("To")),
        parse_call_id(headers.required("Call-ID")),
        CSeq.parse(headers.required("CSeq")),
    )


def _top_via(headers: Headers, *, any_version: bool = False) -> Via:
    value = headers.first("Via")
    if value is None:
        raise Malformed("Via missing")
    return Via.parse(_VERSION.sub("SIP/2.0", first_of(value), 1) if any_version else first_of(value))


def _contact(headers: Headers) -> NameAddr | None:
    value = headers.first("Contact")
    if not value or value == "*":
        return None
    return NameAddr.parse(first_of(value))


def _routes(headers: Headers) -> tuple[str, ...]:
    routes = tuple(route for value in headers.all("Record-Route") for route in split_list(value) if route)
    if len(routes) > MAX_ROUTES:
        raise Malformed("too many Record-Routes")
    return routes


def _encode(start: str, headers: Headers, body: bytes) -> bytes:
    fields = [pair for pair in headers if pair[0].lower() != "content-length"]
    fields.append(("Content-Length", str(len(body))))
    return f"{start}\r\n{format_lines(fields)}\r\n".encode("utf-8", "surrogateescape") + body


def parse(data: bytes, *, stream: bool = False) -> Request | Response:
    """One datagram, or one message cut out of a `stream`, where Content-Length is obligatory (§20.14).

    Raises `Answerable` for a request that must be answered with its `status`, `Malformed` for what can only be dropped.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise Malformed("message too long")
    data = data.lstrip(b"\r\n")  # RFC 3261 §7.5
    if not data:
        raise Malformed("keep-alive")
    found = END_OF_HEAD.search(data)
    head, body = (data[: found.start()], data[found.end() :]) if found else (data, b"")
    if len(head) > MAX_HEAD_BYTES:
        start, headers, _ = parse_lines(head[:MAX_HEAD_BYTES].decode("utf-8", "surrogateescape"))
        raise _complaint(start, headers, Malformed("headers too long"), 513)
    start, headers, fault = parse_lines(head.decode("utf-8", "surrogateescape"))
    if start.startswith("SIP/"):
        return _response(start, headers, fault, body, stream)
    try:
        if fault or not found:
            raise Malformed(fault or "headers without end")
        return _request(start, headers, body, stream)
    except Malformed as error:
        raise _complaint(start, headers, error, 400) from error


def _request(start: str, headers: Headers, body: bytes, stream: bool) -> Request:
    words = start.split()
    if len(words) != 3 or not is_token(words[0]):
        raise Malformed("request line is not valid")
    method, uri, version = words
    if version.upper() != "SIP/2.0":
        raise Malformed("version is not supported")
    if len(uri) > MAX_URI_CHARACTERS or not _SIP_URI.match(uri):
        raise Malformed("Request-URI is not valid")
    hops = headers.single("Max-Forwards")
    if hops is not None and (not _NUMBER.match(hops) or int(hops) > MAX_FORWARDS):
        raise Malformed("Max-Forwards is not valid")
    request = Request.make(method, uri, headers, _body(headers, body, stream))
    _contact(headers)
    _routes(headers)
    return request


def _response(start: str, headers: Headers, fault: str | None, body: bytes, stream: bool) -> Response:
    version, _, rest = start.partition(" ")
    status, _, reason = rest.strip().partition(" ")
    if fault or version != "SIP/2.0" or not _NUMBER.match(status) or not 100 <= int(status) < 700:
        raise Malformed(fault or "status line is not valid")
    response = Response.make(int(status), reason.strip(), headers, _body(headers, body, stream))
    _contact(headers)
    _routes(headers)
    return response


def _body(headers: Headers, body: bytes, stream: bool) -> bytes:
    """The body that Content-Length names; what follows it in the datagram is not part of the message (§18.3)."""
    length = content_length(headers)
    if length is None and stream:
        raise Malformed("Content-Length missing")
    if length is None:
        return body
    if length > len(body):
        raise Malformed("Content-Length exceeds the message")
    return body[:length]


def content_length(headers: Headers) -> int | None:
    """What Content-Length says, or None without one. Raises `Malformed` if that is no number, or two."""
    length = headers.single("Content-Length")
    if length is None:
        return None
    if not _NUMBER.match(length):
        raise Malformed("Content-Length is not valid")
    return int(length)


def _complaint(start: str, headers: Headers, error: Malformed, status: int) -> Malformed:
    """The same fault, with what a response needs if there is enough: a method, and a Via to send it to."""
    words = start.split()
    if len(words) < 2 or not is_token(words[0]) or words[0] == "ACK" or not words[-1].upper().startswith("SIP/"):
        return error
    if words[-1].upper() != "SIP/2.0":
        status = 505
    try:
        via = _top_via(headers, any_version=True)
    except Malformed:
        return error
    return Answerable(error.reason, status=status, method=words[0], headers=headers, via=via)
