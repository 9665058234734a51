"""Names of objects: short, lower-case, and never able to leave the store."""

from __future__ import annotations

import re
from typing import NamedTuple

from storage.errors import Malformed

_NAME = re.compile(r"[0-9a-z][0-9a-z_-]{0,63}(/[0-9a-z][0-9a-z_-]{0,63}){0,7}\Z")
"""What every backend takes: 8 parts of 64 characters stay below S3's 1,024 bytes and a file system's 255 a part."""
_PREFIX = re.compile(r"([0-9a-z][0-9a-z_-]{0,63}/){0,7}([0-9a-z][0-9a-z_-]{0,63})?\Z")


class ObjectInfo(NamedTuple):
    """One object of a listing."""

    name: str
    size: int


def check_name(name: str) -> str:
    """`name` itself, or `Malformed`."""
    if not _NAME.match(name):
        raise Malformed("not the name of an object")
    return name


def is_name(text: str) -> bool:
    """Whether it is one of ours by its form."""
    return _NAME.match(text) is not None


def check_prefix(prefix: str) -> str:
    """`prefix` itself, or `Malformed`: any beginning of a name, the empty one too."""
    if not _PREFIX.match(prefix):
        raise Malformed("not the beginning of an object's name")
    return prefix
