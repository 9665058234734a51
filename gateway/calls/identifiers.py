"""What a call can be found by, and how each sort is written so that two spellings of one identifier are one.

A number that its owner withholds is an identifier of a sort of its own (`withheld number`), which a search looks at
only for those who may learn of withheld numbers: else asking for a number would be a way to read it. The same holds for
any other identifier of such a call in which the number stands, as a carrier's own header may have it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from gateway.calls.numbers import reader_of
from gateway.policy import Numbering
from storage.records import Identifier

VALUE_CHARACTERS_MAX = 256
"""Of one identifier; no peer of ours sends a Call-ID of half of that. What is longer does not find a call."""

IDENTIFIERS_MAX = 64
"""Of one call: a conference of thirty has a number and an address each. Further ones do not find it."""

_WITHHELD = "withheld "
_DIGITS_TELLING = 6
"""So many of a number's last digits tell whose it is, within a place that the caller is known to be in."""

_SEPARATORS = re.compile(r"[-.()/ ]")
_HEX = re.compile(r"[0-9a-f]+\Z")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}\Z")
_GROUPS = re.compile(r"[ -]")


class Sort(StrEnum):
    """The sorts of identifiers that calls are found by."""

    CALL_ID = "call_id"  # SIP Call-ID (RFC 3261 §8.1.1.4)
    SESSION_ID = "session_id"  # one of the two UUIDs of Session-ID (RFC 7989)
    UCID = "ucid"  # Avaya's universal call id
    GUID = "guid"  # Cisco's, which H.323 calls conference id
    SIPREC = "siprec"  # a recording session's, communication session's or group's id (RFC 7865)
    NUMBER = "number"  # of the caller or the called: E.164 where it could be read, as call detail shows it
    URI = "uri"  # of the same: scheme, user, host
    HEADER = "header"  # the value of the header that the trunk's configuration names


class Identifiers:
    """Those of one call, gathered as they become known; each is handed out once, to be written."""

    def __init__(self) -> None:
        self._known: set[Identifier] = set()
        self._waiting: list[Identifier] = []

    def add(self, sort: Sort, text: str, *, withheld: str = "") -> None:
        """Take note of one, as a peer wrote it; what cannot be one of its sort is passed over.

        `withheld` is the caller's number where it is not to be shown: what it stands in is withheld with it.
        """
        value = written(sort, text)
        hidden = withheld and _tells(value, withheld)
        found = Identifier(f"{_WITHHELD if hidden else ''}{sort.value}", value)
        if value and found not in self._known and len(self._known) < IDENTIFIERS_MAX:
            self._known.add(found)
            self._waiting.append(found)

    def take(self) -> tuple[Identifier, ...]:
        """Those that were added since the last time."""
        waiting, self._waiting = self._waiting, []
        return tuple(waiting)

    def give_back(self, taken: Sequence[Identifier]) -> None:
        """They could not be written, and are taken again the next time."""
        self._waiting[:0] = taken


def wanted(sort: Sort, text: str, *, sees_withheld: bool) -> list[Identifier]:
    """What to search the store for; nothing if `text` cannot be one of this sort."""
    value = written(sort, text)
    sorts = [sort.value, *([_WITHHELD + sort.value] if sees_withheld else [])]
    return [Identifier(name, value) for name in sorts] if value else []


def written(sort: Sort, text: str) -> str:
    """The one way in which an identifier is written; empty if this cannot be one of its sort."""
    text = text.strip()
    possible = 0 < len(text) <= VALUE_CHARACTERS_MAX and text.isprintable()  # else bytes that are no UTF-8, say
    return _WRITTEN[sort](text) if possible else ""


def _as_it_is(text: str) -> str:
    return text


def _uuid(text: str) -> str:
    """32 hexadecimal digits; the nil UUID of RFC 7989 §5 says that there is none."""
    digits = text.replace("-", "").lower()
    return digits if len(digits) == 32 and _HEX.match(digits) and digits.strip("0") else ""


def _ucid(text: str) -> str:
    """16 hexadecimal digits. People write 20 decimal ones: node (5), sequence (5), seconds (10)."""
    digits = text.lower()
    if len(digits) == 20 and digits.isascii() and digits.isdecimal():
        parts = int(digits[:5]), int(digits[5:10]), int(digits[10:])
        return struct.pack(">HHI", *parts).hex() if parts[0] < 1 << 16 > parts[1] and parts[2] < 1 << 32 else ""
    digits = digits.removeprefix("00fa08").removeprefix("04fa08").removeprefix("fa08")
    return digits if len(digits) == 16 and _HEX.match(digits) else ""


def _guid(text: str) -> str:
    """32 hexadecimal digits. SIP headers have four decimal numbers of 32 bits, H.323 four hexadecimal groups."""
    parts = text.split("-")
    if len(parts) == 4 and all(part.isascii() and part.isdecimal() and len(part) <= 10 for part in parts):
        numbers = [int(part) for part in parts]
        return _uuid(struct.pack(">4I", *numbers).hex()) if max(numbers) < 1 << 32 else ""
    groups = _GROUPS.split(text)
    if len(groups) == 4 and all(0 < len(group) <= 8 for group in groups):
        return _uuid("".join(group.zfill(8) for group in groups))
    return _uuid(text)


def _number(text: str) -> str:
    """As call detail shows it: global numbers in E.164, others as they were sent."""
    return text if _E164.match(text) else _PLAIN.read(f"tel:{text}").text


def _uri(text: str) -> str:
    """Scheme, user and host; parameters, port, password and the difference of sip and sips aside."""
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower().replace("sips", "sip")
    user, at, host = rest.rpartition("@")
    if scheme != "sip" or not colon or not at:
        return ""
    user = user.partition(";")[0].partition(":")[0]
    host = host.partition(";")[0].partition("?")[0].lower()
    host = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
    return f"sip:{user}@{host}" if user else ""


_PLAIN = reader_of(Numbering.model_validate({}))

_WRITTEN: Mapping[Sort, Callable[[str], str]] = {
    Sort.CALL_ID: _as_it_is,
    Sort.SESSION_ID: _uuid,
    Sort.UCID: _ucid,
    Sort.GUID: _guid,
    Sort.SIPREC: _as_it_is,
    Sort.NUMBER: _number,
    Sort.URI: _uri,
    Sort.HEADER: _as_it_is,
}


def _tells(value: str, withheld: str) -> bool:
    """Whether a value has the withheld number in it, however it is written."""
    digits = "".join(filter(str.isdigit, withheld))
    ending = digits[-_DIGITS_TELLING:]
    return withheld in value or (len(ending) == _DIGITS_TELLING and ending in _SEPARATORS.sub("", value))
