"""Dataclasses as JSON datagrams, for what our own processes say to each other over SOCK_SEQPACKET sockets.

A datagram may hold several messages, a line each: to wake the other process costs more than what most of them say.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from media.errors import Malformed

M = TypeVar("M")


def fields_of(message: Any) -> dict[str, Any]:
    """A dataclass's fields, by name, as they are."""
    return {entry.name: getattr(message, entry.name) for entry in dataclasses.fields(message)}


def to_bytes(message: object, fields: Mapping[str, Any]) -> bytes:
    """One datagram: the fields as JSON has them, and the name of the message's class."""
    return json.dumps({"type": type(message).__name__, **fields}, separators=(",", ":")).encode()


def fitting(messages: Iterable[bytes], bytes_max: int) -> int:
    """How many of these messages, the first at least, one datagram of so many octets holds together."""
    count = size = 0
    for message in messages:
        size += len(message) + 1
        if count and size > bytes_max:
            break
        count += 1
    return count


def together(messages: Iterable[bytes]) -> bytes:
    """Several messages in one datagram; JSON as it is written here has no line breaks."""
    return b"\n".join(messages)


def apart(datagram: bytes) -> list[bytes]:
    """The messages of a datagram."""
    return datagram.split(b"\n")


def from_bytes(
    data: bytes, kinds: Mapping[str, type[M]], restored: Callable[[dict[str, Any]], dict[str, Any]], bytes_max: int
) -> M:
    """The message that one datagram of `bytes_max` at most is; raises Malformed where it is of none of these kinds.

    `restored` makes of fields what JSON cannot say.
    """
    if len(data) > bytes_max:
        raise Malformed("control message is too long")
    try:
        fields = json.loads(data)
        kind = kinds[fields.pop("type")]
        return kind(**restored(fields))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise Malformed("not a control message") from None
