"""What object stores answer beside objects: what a deletion left, and what a look at their configuration found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Kept(NamedTuple):
    """A version that the store's object lock does not let go yet."""

    name: str
    until: float | None  # Unix time; None: a legal hold, which has no end of its own


class Purged(NamedTuple):
    """What became of everything below a prefix."""

    objects: int  # names of which nothing is left
    kept: Sequence[Kept]  # at most one for each name: its last day counts


class Finding(NamedTuple):
    """Something about a store's configuration that its operator should know."""

    code: str  # constant, for logs and alarms
    text: str  # what it means and what mends it; names no key, secret or person
    refuse: bool = False  # the store is not to be used like this
