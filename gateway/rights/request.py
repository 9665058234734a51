"""One request of a person who was recorded: what it asks, where it stands, and which step may follow.

Rules, beside the table:

- Who asks is established before anything is handed out or changed (`identify`), by whom and when; the proof is kept
  elsewhere.
- What is about others as well is weighed before an export (`decide`, Art. 15(4)).
- The time is extended once, before it runs out, and with a reason (Art. 12(3)).
- A refusal names its ground (Art. 12(4)).
- An end is an end: what comes later is a new request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any

from gateway.rights.deadlines import Deadlines
from gateway.rights.parts import Words
from gateway.rights.share import Matched
from storage.errors import Malformed, Refused

FORMAT = "callvault request v1"
MATCHES_MAX = 800
"""Calls of one request: they have to fit into a body of 64 KiB. A person of more has several requests, by time."""
TEXT_CHARACTERS_MAX = 2_000
STEPS_MAX = 18
"""Of a request, ends aside, which are always possible; a usual one has five. So all texts fit into the record."""


class Right(StrEnum):
    """What a person may ask for, each by one article of the GDPR."""

    ACCESS = "access"  # 15
    RECTIFICATION = "rectification"  # 16
    ERASURE = "erasure"  # 17
    RESTRICTION = "restriction"  # 18
    PORTABILITY = "portability"  # 20
    OBJECTION = "objection"  # 21
    WITHDRAWAL = "withdrawal"  # 7(3)


EXPORTING = frozenset({Right.ACCESS, Right.PORTABILITY})


class State(StrEnum):
    """Where a request stands."""

    RECEIVED = "received"
    IDENTIFIED = "identified"
    ANSWERED = "answered"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


OPEN = frozenset({State.RECEIVED, State.IDENTIFIED})


class Step(StrEnum):
    """What is done with a request."""

    MATCH = "match"  # these calls, and this one in them
    IDENTIFY = "identify"
    DECIDE = "decide"  # what of others is in it, and how it goes out
    EXTEND = "extend"
    ANSWER = "answer"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"  # by who asked


TABLE: Mapping[State, Mapping[Step, State]] = {
    State.RECEIVED: {
        Step.MATCH: State.RECEIVED,
        Step.IDENTIFY: State.IDENTIFIED,
        Step.EXTEND: State.RECEIVED,
        Step.REFUSE: State.REFUSED,
        Step.WITHDRAW: State.WITHDRAWN,
    },
    State.IDENTIFIED: {
        Step.MATCH: State.IDENTIFIED,
        Step.DECIDE: State.IDENTIFIED,
        Step.EXTEND: State.IDENTIFIED,
        Step.ANSWER: State.ANSWERED,
        Step.REFUSE: State.REFUSED,
        Step.WITHDRAW: State.WITHDRAWN,
    },
    State.ANSWERED: {},
    State.REFUSED: {},
    State.WITHDRAWN: {},
}


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """A request; all of it is sealed. Times are Unix seconds, `by` are tokens' ids."""

    right: Right
    received: date  # in the tenant's zone
    zone: str
    subject: str  # who asks, and for whom
    deadlines: Deadlines  # as they were promised when it came
    state: State = State.RECEIVED
    matches: tuple[Matched, ...] = ()
    identified: Mapping[str, Any] | None = None  # by, at, how
    decision: Mapping[str, Any] | None = None  # words, reason, by, at
    extended: bool = False
    warned: tuple[float, ...] = ()  # shares of the time that were told
    breached: bool = False  # and its end
    history: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    @property
    def due_s(self) -> float:
        """Until when it has to be answered."""
        return self.deadlines.due_s(self.received, self.zone, extended=self.extended)

    @property
    def last_day(self) -> date:
        """The day to whose end there is time."""
        return self.deadlines.last_day(self.received, extended=self.extended)

    @property
    def words(self) -> Words:
        """Which transcript goes out; the redacted one as long as nothing is decided."""
        return Words(self.decision["words"]) if self.decision else Words.REDACTED

    def overdue(self, now_s: float) -> bool:
        """Whether the time ran out without an end."""
        return self.state in OPEN and now_s >= self.due_s

    def take(self, step: Step, now_s: float, by: str, **facts: Any) -> Request:
        """The request after a step; Refused where it may not follow."""
        after = TABLE[self.state].get(step)
        if after is None:
            raise Refused(f"a request that is {self.state.value} cannot be followed by {step.value}")
        if after in OPEN and len(self.history) >= STEPS_MAX:
            raise Refused(f"a request has at most {STEPS_MAX} steps")
        entry = {"step": step.value, "at": int(now_s), "by": by, **facts}
        moved = replace(self, state=after, history=(*self.history, entry))
        return _CHECKED[step](moved, self, entry, now_s) if step in _CHECKED else moved

    def to_json(self) -> bytes:
        """The inverse of `parse`."""
        body = {name: getattr(self, name) for name in self.__slots__} | {"format": FORMAT}
        body |= {"received": self.received.isoformat(), "deadlines": asdict(self.deadlines)}
        body |= {"matches": [[matched.call, matched.who] for matched in self.matches]}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, text: bytes) -> Request:
        """A sealed record again; Malformed."""
        try:
            body = json.loads(text)
            if body.pop("format") != FORMAT:
                raise Malformed("not a request of a version that is known here")
            promised = body["deadlines"]
            body |= {
                "right": Right(body["right"]),
                "state": State(body["state"]),
                "received": date.fromisoformat(body["received"]),
                "deadlines": Deadlines(**promised | {"warnings": tuple(promised["warnings"])}),
                "matches": tuple(Matched.parse({"call": call, "who": who}) for call, who in body["matches"]),
                "warned": tuple(body["warned"]),
                "history": tuple(body["history"]),
            }
            return cls(**body)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Malformed("not a request") from None


def checked_text(text: str, what: str) -> str:
    """A text of ours to be sealed; Refused if it is empty or too long."""
    if not 0 < len(text.strip()) <= TEXT_CHARACTERS_MAX:
        raise Refused(f"{what} has 1 to {TEXT_CHARACTERS_MAX} characters")
    return text.strip()


def _identify(moved: Request, before: Request, entry: Mapping[str, Any], now_s: float) -> Request:
    checked_text(entry["how"], "how the identity was checked")
    return replace(moved, identified={name: entry[name] for name in ("by", "at", "how")})


def _match(moved: Request, before: Request, entry: Mapping[str, Any], now_s: float) -> Request:
    """What was decided was decided about the earlier calls."""
    matches: Sequence[Matched] = [Matched.parse(found) for found in entry["matches"]]
    if not 0 < len(matches) <= MATCHES_MAX:
        raise Refused(f"a request is about 1 to {MATCHES_MAX} calls")
    if len(set(matches)) != len(matches):
        raise Refused("a call and participant stand twice")
    history = (*moved.history[:-1], {**entry, "matches": len(matches)})  # how many; they themselves stand once
    return replace(moved, matches=tuple(matches), decision=None, history=history)


def _decide(moved: Request, before: Request, entry: Mapping[str, Any], now_s: float) -> Request:
    checked_text(entry["reason"], "the reason of a decision on others' data (Art. 15(4))")
    if not before.matches:
        raise Refused("what is decided about is named first")
    names = ("words", "reason", "to", "key", "destination", "by", "at")
    return replace(moved, decision={name: entry.get(name) for name in names})


def _extend(moved: Request, before: Request, entry: Mapping[str, Any], now_s: float) -> Request:
    checked_text(entry["reason"], "the reason of an extension")
    if before.extended:
        raise Refused("the time was extended before, and is once only (Art. 12(3))")
    if now_s >= before.due_s:
        raise Refused("the time has run out: it is extended before that (Art. 12(3))")
    if replace(moved, extended=True).due_s <= before.due_s:
        raise Refused("this tenant's policy knows no extension")
    return replace(moved, extended=True, warned=())


def _refuse(moved: Request, before: Request, entry: Mapping[str, Any], now_s: float) -> Request:
    checked_text(entry["ground"], "the ground of a refusal")
    return moved


_CHECKED = {
    Step.IDENTIFY: _identify,
    Step.MATCH: _match,
    Step.DECIDE: _decide,
    Step.EXTEND: _extend,
    Step.REFUSE: _refuse,
}
