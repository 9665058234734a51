"""By when people who ask get an answer: due date, warnings, and the one extension that Art. 12(3) GDPR knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from storage.errors import Refused
from storage.policy.model import Policy
from storage.policy.overrides import REASON_CHARS_MIN
from storage.policy.term import Term
from storage.retention import end_of_day
from storage.words import check_words


class Standing(StrEnum):
    """How a request stands. `breached` is what the breach-of-deadline metric counts."""

    OPEN = "open"
    WARNED = "warned"
    BREACHED = "breached"
    IN_TIME = "answered in time"
    LATE = "answered late"


@dataclass(frozen=True, slots=True)
class RequestClock:
    """One request: when it came, by when it has to be answered, and when somebody has to be told that time runs."""

    received_s: int
    due_s: int
    warn_at_s: tuple[int, ...]
    extension: Term
    zone: str
    extended: str = ""  # why
    answered_s: int | None = None

    def standing(self, now_s: float) -> Standing:
        """How it stands at a time."""
        if self.answered_s is not None:
            return Standing.IN_TIME if self.answered_s < self.due_s else Standing.LATE
        if now_s >= self.due_s:
            return Standing.BREACHED
        return Standing.WARNED if self.warnings(now_s) else Standing.OPEN

    def warnings(self, now_s: float) -> int:
        """How many of its warnings are due."""
        return sum(now_s >= at_s for at_s in self.warn_at_s)

    def answer(self, now_s: float) -> RequestClock:
        """The same, answered now; once answered it stays so."""
        return self if self.answered_s is not None else replace(self, answered_s=int(now_s))

    def extend(self, now_s: float, reason: str) -> RequestClock:
        """The same with its time extended: once, before the end, with a reason that is told to the person. Refused."""
        if self.answered_s is not None:
            raise Refused("an answered request is not extended")
        if self.extended:
            raise Refused("a request is extended once")
        if not self.extension.count:
            raise Refused("this policy knows no extension")
        if now_s >= self.due_s:
            raise Refused("the time is over: it can be extended only before its end; the deadline is breached")
        if len(reason) < REASON_CHARS_MIN:
            raise Refused("an extension needs a reason in words: how complex, how many requests (Art. 12(3) GDPR)")
        check_words(reason, "tenant")
        due_s = end_of_day(self.due_s - 1, self.extension, self.zone)
        passed = sum(self.warn_at_s[number] <= now_s for number in range(len(self.warn_at_s)))
        again = tuple(
            max(
                at_s,
                self.received_s
                + (at_s - self.received_s) * (due_s - self.received_s) // (self.due_s - self.received_s),
            )
            for at_s in self.warn_at_s[passed:]
        )
        return replace(self, due_s=due_s, warn_at_s=self.warn_at_s[:passed] + again, extended=reason)


def begin(policy: Policy, received_s: float) -> RequestClock:
    """The clock of a request that came now."""
    asked, began_s = policy.requests, int(received_s)
    due_s = end_of_day(began_s, asked.term, policy.zone)
    warn = tuple(began_s + (due_s - began_s) * percent // 100 for percent in asked.warn_percent)
    return RequestClock(began_s, due_s, warn, asked.extension, policy.zone)


def strictest(policies: Iterable[Policy], received_s: float) -> RequestClock:
    """Of several that one request falls under (a reseller's and its customer's), the clock that ends first."""
    return min((begin(policy, received_s) for policy in policies), key=lambda clock: clock.due_s)
