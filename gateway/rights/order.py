"""A disclosure order: an authority asks the operator for content, by law. What it covers, and which step may follow.

Rules, beside the table:

- Four eyes: whoever entered an order does not approve it, and nothing leaves before it is approved.
- It names an authority, a ground, a scope and a window of time; what leaves is exactly that. An order on a number is
  about that number alone: its own tracks, its own identity; where it is not established who had it in a call, nothing.
- It is good until a day, and not after.
- Gagged, nothing of it reaches the tenant whose calls they are. The operator's sealed record has everything, always.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from gateway.calls.identifiers import Sort
from gateway.rights.parts import Part
from gateway.rights.request import checked_text
from gateway.rights.share import EVERYONE, Matched
from storage.errors import Malformed, Refused
from storage.model import CallId, TenantId, is_id

FORMAT = "callvault disclosure order v1"
CALLS_MAX = 800
"""Named in one order: as a request's, they come in a body of 64 KiB."""
STEPS_MAX = 100
"""Entries of an order's history: each fetch is one."""


class State(StrEnum):
    """Where an order stands."""

    REQUESTED = "requested"
    APPROVED = "approved"
    EXECUTED = "executed"
    REJECTED = "rejected"
    REVOKED = "revoked"


class Step(StrEnum):
    """What is done with an order."""

    APPROVE = "approve"
    REJECT = "reject"
    EXECUTE = "execute"  # each fetch
    REVOKE = "revoke"


TABLE: Mapping[State, Mapping[Step, State]] = {
    State.REQUESTED: {Step.APPROVE: State.APPROVED, Step.REJECT: State.REJECTED, Step.REVOKE: State.REVOKED},
    State.APPROVED: {Step.EXECUTE: State.EXECUTED, Step.REVOKE: State.REVOKED},
    State.EXECUTED: {Step.EXECUTE: State.EXECUTED, Step.REVOKE: State.REVOKED},
    State.REJECTED: {},
    State.REVOKED: {},
}


@dataclass(frozen=True, slots=True, repr=False)
class Order:
    """An order; all of it is sealed. `calls` or `number` is its scope; times are Unix seconds, `by` are tokens' ids."""

    tenant: TenantId  # whose calls they are
    authority: str
    ground: str
    first_s: float  # calls that began from then on …
    last_s: float  # … and before then
    until: date  # the last day (UTC) on which it is carried out
    by: str
    at: int
    parts: tuple[Part, ...]
    calls: tuple[Matched, ...] = ()
    number: tuple[Sort, str] | None = None
    gagged: bool = False
    key: str | None = None  # what its copies are sealed for
    state: State = State.REQUESTED
    history: tuple[Mapping[str, Any], ...] = field(default=())

    def __post_init__(self) -> None:
        checked_text(self.authority, "an authority")
        checked_text(self.ground, "a legal ground")
        if bool(self.calls) == (self.number is not None):
            raise Refused("an order names calls or a number, and not both")
        if not self.first_s < self.last_s:
            raise Refused("an order's window ends after it begins")
        if not self.parts or len(self.calls) > CALLS_MAX:
            raise Refused(f"an order asks for something, and names at most {CALLS_MAX} calls")

    def take(self, step: Step, now_s: float, by: str, **facts: Any) -> Order:
        """The order after a step; Refused where it may not follow."""
        after = TABLE[self.state].get(step)
        if after is None:
            raise Refused(f"an order that is {self.state.value} cannot be followed by {step.value}")
        if step is Step.APPROVE and by == self.by:
            raise Refused("four eyes: who has entered an order does not approve it")
        if step in (Step.APPROVE, Step.EXECUTE) and datetime.fromtimestamp(now_s, UTC).date() > self.until:
            raise Refused("the order is not good any more")
        if step is Step.EXECUTE and len(self.history) >= STEPS_MAX:
            raise Refused(f"an order is carried out at most {STEPS_MAX} times")
        entry = {"step": step.value, "at": int(now_s), "by": by, **facts}
        return replace(self, state=after, history=(*self.history, entry))

    def to_json(self) -> bytes:
        """The inverse of `parse`."""
        body = {name: getattr(self, name) for name in self.__slots__} | {"format": FORMAT}
        body |= {"until": self.until.isoformat(), "calls": [[one.call, one.who] for one in self.calls]}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, text: bytes) -> Order:
        """A sealed record again; Malformed."""
        try:
            body = json.loads(text)
            if body.pop("format") != FORMAT:
                raise Malformed("not an order of a version that is known here")
            body |= {
                "until": date.fromisoformat(body["until"]),
                "parts": tuple(map(Part, body["parts"])),
                "calls": tuple(Matched(CallId(call), who) for call, who in body["calls"]),
                "number": None if body["number"] is None else (Sort(body["number"][0]), body["number"][1]),
                "state": State(body["state"]),
                "history": tuple(body["history"]),
            }
            return cls(**body)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Malformed("not an order") from None


def named(text: str) -> Matched:
    """A call of an order, as `CALL` or `CALL/WHO`; Refused."""
    call, slash, who = text.partition("/")
    if not is_id(call) or (slash and not (is_id(who) or who in ("caller", "called"))):
        raise Refused("an order names calls as CALL or CALL/WHO")
    return Matched(CallId(call), who or EVERYONE)
