"""One personal data breach (Art. 33, 34 GDPR): what it is about, by when it has to be told, and what was done.

Rules, beside the table:

- The clock starts when it became known (Art. 33(1)), which is no later than the case is entered.
- It is stopped by telling the authority, or by closing the case with the reason why no risk is likely; a notification
  that comes late says why.
- What was told in part may be added to (Art. 33(4)): facts and scope may change until the case is closed.
- What the officer writes is sealed. The ledger learns which step was taken, and no word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any

from gateway.rights.request import checked_text
from storage.errors import Malformed, Refused
from storage.exposure import CALLS_MAX, Reach, Scope
from storage.model import CallId, TenantId, is_id
from storage.regions import region_problem

FORMAT = "callvault breach v1"
HOURS_MAX = 72
"""Art. 33(1): a tenant's policy may promise less, never more."""
WARNINGS = (0.5, 0.8)
"""Shares of the time after which a warning is due, as of requests."""
ALL = 1.0
OLDEST_S = 366 * 86_400
STEPS_MAX = 60
"""Of a case, its end aside: with all its texts the record has to fit into 256 KiB."""
TENANTS_MAX = 500


class State(StrEnum):
    """Where a case stands."""

    OPEN = "open"
    NOTIFIED = "notified"  # the authority has been told
    CLOSED = "closed"


class Step(StrEnum):
    """What is done with a case."""

    DESCRIBE = "describe"  # what happened, why, with which effects, and what was done about it
    SCOPE = "scope"  # what was within reach, as it is known by now
    NOTIFY = "notify"  # the authority was told (Art. 33(1))
    TELL = "tell"  # a tenant was told, by whom we are its processor (Art. 33(2))
    PEOPLE = "people"  # the people concerned were told (Art. 34)
    CLOSE = "close"


TABLE: Mapping[State, Mapping[Step, State]] = {
    State.OPEN: {
        Step.DESCRIBE: State.OPEN,
        Step.SCOPE: State.OPEN,
        Step.TELL: State.OPEN,
        Step.PEOPLE: State.OPEN,
        Step.NOTIFY: State.NOTIFIED,
        Step.CLOSE: State.CLOSED,
    },
    State.NOTIFIED: {
        Step.DESCRIBE: State.NOTIFIED,
        Step.SCOPE: State.NOTIFIED,
        Step.TELL: State.NOTIFIED,
        Step.PEOPLE: State.NOTIFIED,
        Step.NOTIFY: State.NOTIFIED,  # in phases, Art. 33(4)
        Step.CLOSE: State.CLOSED,
    },
    State.CLOSED: {},
}

TEXTS = ("what", "causes", "effects", "taken", "contact")
"""What an officer writes: what happened, its causes, its likely effects, what was done about it, who can be asked."""


@dataclass(frozen=True, slots=True, repr=False)
class Breach:
    """A case; all of it is sealed. Times are Unix seconds, `by` are tokens' ids."""

    scope: Scope
    aware_s: float
    by: str
    hours: int = HOURS_MAX
    state: State = State.OPEN
    texts: Mapping[str, str] = field(default_factory=dict)
    notified_s: float | None = None  # the first time
    warned: tuple[float, ...] = ()  # shares of the time that were told
    broken: bool = False  # and its end
    history: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.hours <= HOURS_MAX:
            raise Refused(f"a breach is told within {HOURS_MAX} hours (Art. 33(1))")

    @property
    def due_s(self) -> float:
        """By when the authority has to be told."""
        return self.aware_s + 3600 * self.hours

    def overdue(self, now_s: float) -> bool:
        """Whether the time ran out and nobody was told."""
        return self.state is State.OPEN and now_s >= self.due_s

    def due(self, now_s: float) -> list[float]:
        """Which shares of the time are over and were not told yet."""
        if self.state is not State.OPEN:
            return []
        shares = [share for share in WARNINGS if now_s >= self.aware_s + share * 3600 * self.hours]
        found = [share for share in shares if share not in self.warned]
        return found + [ALL] * (self.overdue(now_s) and not self.broken)

    def told(self, shares: list[float]) -> Breach:
        """The same once these were told."""
        warned = tuple(sorted({*self.warned, *(share for share in shares if share < ALL)}))
        return replace(self, warned=warned, broken=self.broken or ALL in shares)

    def take(self, step: Step, now_s: float, by: str, **facts: Any) -> Breach:
        """The case after a step; Refused where it may not follow."""
        after = TABLE[self.state].get(step)
        if after is None:
            raise Refused(f"a breach that is {self.state.value} cannot be followed by {step.value}")
        if after is not State.CLOSED and len(self.history) >= STEPS_MAX:
            raise Refused(f"a breach has at most {STEPS_MAX} steps")
        moved = _ACTS[step](self, facts, now_s)
        entry = {"step": step.value, "at": int(now_s), "by": by, **_short(facts)}
        return replace(moved, state=after, history=(*self.history, entry))

    def to_json(self) -> bytes:
        """The inverse of `parse`."""
        body = {name: getattr(self, name) for name in self.__slots__} | {"format": FORMAT}
        body |= {"scope": asdict(self.scope), "texts": dict(self.texts)}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, text: bytes) -> Breach:
        """A sealed record again; Malformed."""
        try:
            body = json.loads(text)
            if body.pop("format") != FORMAT:
                raise Malformed("not a breach of a version that is known here")
            body |= {"scope": checked_scope(body["scope"]), "state": State(body["state"])}
            body |= {"warned": tuple(body["warned"]), "history": tuple(body["history"])}
            return cls(**body)
        except (ValueError, TypeError, KeyError, AttributeError, Refused):
            raise Malformed("not a breach") from None


def checked_scope(given: Mapping[str, Any]) -> Scope:
    """A scope from its JSON; Refused, saying what is wrong with it."""
    reached = tuple(dict.fromkeys(Reach(name) for name in given["reached"]))
    named = tuple(CallId(call) for call in dict.fromkeys(given.get("calls", ())))
    days = [given.get(name, "") for name in ("first", "last")]
    region = given.get("region", "")
    if not reached:
        raise Refused(f"a breach names what was within reach: {', '.join(Reach)}")
    if len(named) > CALLS_MAX or not all(map(is_id, named)):
        raise Refused(f"a breach names up to {CALLS_MAX} calls by their ids, or none")
    for day in filter(None, days):
        try:
            date.fromisoformat(day)
        except ValueError:
            raise Refused("a day is YYYY-MM-DD") from None
    if all(days) and days[0] > days[1]:
        raise Refused("the days of a breach end after they begin")
    if region and (problem := region_problem(region)):
        raise Refused(problem)
    tenants = tuple(TenantId(one) for one in dict.fromkeys(given.get("tenants", ())))
    if len(tenants) > TENANTS_MAX:
        raise Refused(f"a breach names up to {TENANTS_MAX} tenants; more are all")
    return Scope(reached, tenants, named, days[0], days[1], region, float(given.get("since_s", 0.0)))


def _describe(case: Breach, facts: Mapping[str, Any], now_s: float) -> Breach:
    texts = {name: checked_text(text, f"the text `{name}`") for name, text in facts.items() if name in TEXTS}
    if not texts:
        raise Refused(f"a description has one of {', '.join(TEXTS)}")
    return replace(case, texts={**case.texts, **texts})


def _scope(case: Breach, facts: Mapping[str, Any], now_s: float) -> Breach:
    return replace(case, scope=checked_scope(facts["scope"]))


def _notify(case: Breach, facts: Mapping[str, Any], now_s: float) -> Breach:
    checked_text(facts.get("to", ""), "which authority was told")
    if case.notified_s is None and now_s >= case.due_s:
        checked_text(facts.get("reason", ""), "the reason why it is told late (Art. 33(1))")
    return replace(case, notified_s=case.notified_s or now_s)


def _tell(case: Breach, facts: Mapping[str, Any], now_s: float) -> Breach:
    checked_text(facts.get("to", ""), "which tenant was told (Art. 33(2))")
    return case


def _people(case: Breach, facts: Mapping[str, Any], now_s: float) -> Breach:
    checked_text(facts.get("to", ""), "who was told (Art. 34)")
    return case


def _close(case: Breach, facts: Mapping[str, Any], now_s: float) -> Breach:
    what = "why no risk is likely, as nobody was told (Art. 33(1))" if case.state is State.OPEN else "how it ended"
    checked_text(facts.get("reason", ""), what)
    return case


_ACTS = {
    Step.DESCRIBE: _describe,
    Step.SCOPE: _scope,
    Step.NOTIFY: _notify,
    Step.TELL: _tell,
    Step.PEOPLE: _people,
    Step.CLOSE: _close,
}


def _short(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of a step its history keeps what stands nowhere else in the case: texts and scope do."""
    return {name: value for name, value in facts.items() if name not in (*TEXTS, "scope") and value}
