"""Dataclasses as JSON datagrams, for what our own processes say to each other over SOCK_SEQPACKET sockets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from media.errors import Malformed

M = TypeVar("M")


def fields_of(message: Any) -> dict[str, Any]:
    """A dataclass's fields, by name, as they are."""
    return {entry.name: getattr(message, entry.name) for entry in dataclasses.fields(message)}


def to_bytes(message: object, fields: Mapping[str, Any]) -> bytes:
    """One datagram: the fields as JSON has them, and the name of the message's class."""
    return json.dumps({"type": type(message).__name__, **fields}, separators=(",", ":")).encode()


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
