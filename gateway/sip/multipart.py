"""Bodies of several parts (RFC 2046 §5.1, RFC 5621) as recording clients write them: bytes to parts, within limits.

Borne: bare line feeds, a preamble, white space after a delimiter, a body that ends without its last delimiter, parts
without headers. A part's Content-Length is never believed: the delimiters say where it ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.sip.errors import Malformed
from gateway.sip.grammar import parse_parameters
from gateway.sip.headers import Headers, parse_lines

PARTS_MAX = 16
"""Of one body, nested ones included: recording clients send two or three. More is malformed."""

NESTING_MAX = 2
"""Multipart in multipart, as RFC 5621 §3.1 wants it borne, and no deeper: deeper is malformed."""

BOUNDARY_CHARACTERS_MAX = 128
"""RFC 2046 allows 70; some clients put a Call-ID into it."""

_END_OF_HEAD = re.compile(rb"\r\n\r\n|\n\r?\n|\A\r?\n")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """One leaf of the body. Types and dispositions are in lower case, without parameters and white space."""

    media_type: str
    disposition: str
    required: bool  # the sender says that the message must not be taken without it (RFC 3204 `handling`)
    body: bytes

    def __repr__(self) -> str:
        return f"Part({len(self.body)} bytes)"  # types are the peer's text too


def is_multipart(media_type: str) -> bool:
    """Whether a media type, in lower case and without parameters, is one of several parts."""
    return media_type.startswith("multipart/")


def parse(content_type: str, body: bytes) -> tuple[Part, ...]:
    """The parts in their order, nested ones in place of what holds them. Raises `Malformed`."""
    parts: list[Part] = []
    for part in _leaves(content_type, body, NESTING_MAX):
        if len(parts) == PARTS_MAX:
            raise Malformed("body has too many parts")
        parts.append(part)
    return tuple(parts)


def word(value: str) -> str:
    """What stands before a header value's parameters: in lower case, without white space."""
    return "".join(value.partition(";")[0].split()).lower()


def _leaves(content_type: str, body: bytes, levels: int) -> Iterator[Part]:
    if not levels:
        raise Malformed("body is nested too deep")
    for raw in _split(body, _boundary(content_type)):
        found = _END_OF_HEAD.search(raw)
        head, content = (raw[: found.start()], raw[found.end() :]) if found else (raw, b"")
        headers = parse_lines("\r\n" + head.decode("utf-8", "surrogateescape"))[1]  # what cannot be read is left out
        inner = headers.first("Content-Type") or "text/plain"
        if is_multipart(word(inner)):
            yield from _leaves(inner, content, levels - 1)
        else:
            yield _part(word(inner), headers, content)


def _part(media_type: str, headers: Headers, content: bytes) -> Part:
    disposition = headers.first("Content-Disposition") or ""
    handling = _parameter(disposition, "handling")
    return Part(media_type, word(disposition), handling.lower() == "required", content)


def _boundary(content_type: str) -> bytes:
    boundary = _parameter(content_type, "boundary")
    if not 0 < len(boundary) <= BOUNDARY_CHARACTERS_MAX:
        raise Malformed("multipart body without a boundary of a usable length")
    return boundary.encode("utf-8", "surrogateescape")


def _split(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What stands between delimiters; the line end before a delimiter belongs to it (RFC 2046 §5.1.1)."""
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*+(?=\r?\n|\Z)")
    start = None
    for found in delimiter.finditer(body):
        if start is not None:
            yield _without_line_end(body[start : found.start()])
        if found[1]:
            return
        start = found.end()
    if start is None:
        raise Malformed("multipart body without its boundary")
    yield _without_line_end(body[start:])


def _without_line_end(raw: bytes) -> bytes:
    """The part without the end of the delimiter's line."""
    return raw[2:] if raw.startswith(b"\r\n") else raw[1:]


def _parameter(value: str, name: str) -> str:
    _, semicolon, rest = value.partition(";")
    for key, text in parse_parameters(semicolon + rest):
        if key == name and text:
            quoted = len(text) > 1 and text[0] == text[-1] == '"'
            return _QUOTED_PAIR.sub(r"\1", text[1:-1]) if quoted else text
    return ""
