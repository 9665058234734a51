"""Header fields in their order: long names for short ones, any case, folded lines unfolded, bounded.

Values keep the peer's bytes: what is not UTF-8 is carried as surrogates and comes out as the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gateway.sip.errors import Malformed

MAX_HEADERS = 200
"""Header lines in a message: a request through 70 proxies with Via and Record-Route each still fits."""

MAX_VALUE_CHARACTERS = 8192
"""In one unfolded value: eight times what any vendor is known to send."""

_COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}
"""RFC 3261 §7.3.3 and the IANA registry of compact forms."""

_FOLD = re.compile(r"\r?\n[ \t]++")
_LINE_END = re.compile(r"\r?\n")
_CONTROL = re.compile(r"(?<!\\)(?:[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n))")  # escaped, they may stand in quotes
_NAME = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]{1,128}\Z")


@dataclass(frozen=True, slots=True, repr=False)
class Headers:
    """An immutable, ordered list of header fields with an index by name, whatever its case."""

    fields: tuple[tuple[str, str], ...] = ()
    _index: dict[str, list[str]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        index: dict[str, list[str]] = {}
        for name, value in self.fields:
            index.setdefault(name.lower(), []).append(value)
        object.__setattr__(self, "_index", index)

    def __repr__(self) -> str:
        return f"Headers({len(self.fields)} fields)"  # values are the peers' numbers and names

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.fields)

    def first(self, name: str) -> str | None:
        """The first value of `name`, or None."""
        values = self._index.get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """All values of `name`, a line each."""
        return list(self._index.get(name.lower(), ()))

    def single(self, name: str) -> str | None:
        """The one value of `name`, or None. Copies that agree are one; copies that differ are malformed."""
        values = self._index.get(name.lower())
        if not values:
            return None
        if len(values) > 1 and any(value != values[0] for value in values):
            raise Malformed(f"{name} given twice")
        return values[0]

    def required(self, name: str) -> str:
        """The one value of `name`; a missing one is malformed."""
        value = self.single(name)
        if value is None:
            raise Malformed(f"{name} missing")
        return value


def parse_lines(text: str) -> tuple[str, Headers, str | None]:
    """Start line, headers, and what is wrong with them (None if nothing); what can be read is read all the same.

    A fault is told and not raised, so that a 400 can be sent with the headers that were understood.
    """
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    fault = None
    if _CONTROL.search(text):
        text, fault = _CONTROL.sub(" ", text), "control character in head"
    start, *lines = _LINE_END.split(text.replace("\t", " "))
    if len(lines) > MAX_HEADERS:
        lines, fault = lines[:MAX_HEADERS], "too many headers"
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.rstrip(), value.strip()
        if not colon or not _NAME.match(name):
            fault = fault or "header line is not valid"
        elif len(value) > MAX_VALUE_CHARACTERS:
            fault = fault or "header too long"
        else:
            fields.append((_COMPACT.get(name.lower(), name), value))
    return start.rstrip(), Headers(tuple(fields)), fault


def format_lines(fields: Iterable[tuple[str, str]]) -> str:
    """Header lines with their line ends."""
    return "".join([f"{name}: {value}\r\n" for name, value in fields])
