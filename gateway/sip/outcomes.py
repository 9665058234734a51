"""What a caller is told of the calls that it placed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """A provisional response above 100; `body` is its SDP, if it has any."""

    call: int
    status: int
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """The call stands; `body` is the SDP answer, or the offer that was answered. The ACK is sent already."""

    call: int
    body: bytes = field(repr=False)
    call_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The call was not established: the peer's status, or 408 for no answer at all, or 487 for our own CANCEL."""

    call: int
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reanswered:
    """The final answer to our re-INVITE or UPDATE; the call goes on with the old media unless it is a 2xx."""

    call: int
    status: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HungUp:
    """The call is over: by the peer's BYE, by ours (answered, or given up), or lost (no sign of life from the peer)."""

    call: int
    by: Literal["peer", "us", "lost"]


CallerEvent = Progress | Answered | Failed | Reanswered | HungUp
