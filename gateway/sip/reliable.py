"""Reliable provisional responses (RFC 3262): the numbers that name them, and how long one is sent again.

One at a time is on its way: the next one waits for the PRACK of the last (§3 allows no second before the first is
acknowledged, and advises it for all). The interval doubles without the upper bound T2 that finals have (§3).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gateway.sip.errors import Malformed
from gateway.sip.grammar import is_token
from gateway.sip.machines import GIVE_UP_S, T1
from gateway.sip.message import Response

TAG = "100rel"
"""The option tag."""

NUMBER_BYTES = 4
"""Of chance in a first RSeq."""

MAX_NUMBER = 2**32 - 1
"""RSeq never wraps (§3)."""

_RACK = re.compile(r"([0-9]{1,10})\s+([0-9]{1,10})\s+(\S+)\Z")
_RSEQ = re.compile(r"[0-9]{1,10}\Z")


@dataclass(frozen=True, slots=True)
class RAck:
    """What a PRACK acknowledges: the response's RSeq, and its CSeq (§7.2)."""

    rseq: int
    cseq: int
    method: str

    @classmethod
    def parse(cls, text: str) -> RAck:
        found = _RACK.match(text.strip())
        if not found or not is_token(found[3]) or not 0 < int(found[1]) <= MAX_NUMBER:
            raise Malformed("RAck is not valid")
        return cls(int(found[1]), int(found[2]), found[3])

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq} {self.method}"


def first_number(chance: bytes) -> int:
    """The RSeq of an INVITE's first reliable response: 1 to 2**31 - 1, by chance (§3)."""
    return 1 + int.from_bytes(chance, "big") % (2**31 - 1)


def number_of(response: Response) -> int | None:
    """The RSeq of a reliable provisional response; None if it is not one, or not one that can be acknowledged."""
    words = [word.strip().lower() for value in response.headers.all("Require") for word in value.split(",")]
    value = response.headers.first("RSeq") or ""
    if not 100 < response.status < 200 or TAG not in words or not _RSEQ.match(value):
        return None
    return int(value) if 0 < int(value) <= MAX_NUMBER else None


@dataclass(slots=True)
class Unacknowledged:
    """A reliable provisional response that waits for its PRACK."""

    rack: RAck
    data: bytes = field(repr=False)
    sent_at: float
    has_sdp: bool
    is_offer: bool
    """Whether its SDP is an offer, so that the PRACK must bring the answer (§5)."""
    interval_s: float = T1

    @property
    def give_up_at(self) -> float:
        """When the INVITE is answered 504 (§3 wants a 5xx)."""
        return self.sent_at + GIVE_UP_S

    def next_at(self, now: float) -> float:
        """When it is sent again, or given up; the interval doubles."""
        at = min(now + self.interval_s, self.give_up_at)
        self.interval_s *= 2
        return at
