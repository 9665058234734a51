"""Why something is kept, until when, and by which rule: a profile's line, the tenant's own, a law, or a hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from storage.model import Kind
from storage.policy.closing import due_after_closing
from storage.policy.model import Policy
from storage.policy.overrides import TENANT
from storage.policy.term import Term
from storage.records import Day
from storage.retention import Keep, due


class Because(StrEnum):
    """What decides."""

    PROFILE = "profile"
    OVERRIDE = "override"
    STATUTORY = "statutory"
    EARLIER = "earlier promise"  # it was stored under a shorter term than is in effect
    CLOSING = "closing"  # its tenant leaves, and its grace ends earlier
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class HeldBy:
    """A hold on it: its id and ground; `until_s` where it ends by itself."""

    id: str
    ground: str
    until_s: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """`until_s` is when it ends; None: not by itself. `rule_until_s` is when it would without holds.

    `source` is the row of the provider's promises, `tenant` or `default`; `words` the tenant's reason, the law, or the
    holds' grounds.
    """

    until_s: int | None
    rule_until_s: int | None
    because: Because
    term: Term
    source: str
    profile: str
    words: str = ""

    @property
    def no_time_limit(self) -> bool:
        """Whether its rule has no end: to be accounted for (Art. 5(1)(e) GDPR)."""
        return self.term.open


def explain(
    policy: Policy,
    kind: Kind,
    purpose: str,
    day: Day,
    holds: Sequence[HeldBy] = (),
    stored_due_s: int | None = None,
    closed_s: int | None = None,
) -> Explanation:
    """What is to be said of a thing of a kind and purpose that was made on a UTC day.

    `stored_due_s` is what its bucket was promised when it was made or later: a longer term that came since does not
    move it. `closed_s` is when its tenant left, if it has.
    """
    rule, statutory = policy.rule(kind, purpose), policy.holds_least(kind)
    now_s = due(day, rule.term, policy.zone, Keep.AT_LEAST if statutory else Keep.AT_MOST)
    because, words = Because.OVERRIDE if rule.source == TENANT else Because.PROFILE, rule.reason
    if statutory:
        because, words = Because.STATUTORY, rule.law
    until_s = now_s
    if stored_due_s is not None and (now_s is None or stored_due_s < now_s):
        until_s, because = stored_due_s, Because.EARLIER
    if closed_s is not None:
        left_s = due_after_closing(policy, kind, purpose, day, closed_s)
        if left_s is not None and (until_s is None or left_s < until_s):
            until_s, because = left_s, Because.CLOSING
    rule_until_s = until_s
    holding = [hold for hold in holds if hold.until_s is None or (until_s is not None and hold.until_s > until_s)]
    if holding and until_s is not None:
        because, words = Because.HOLD, "; ".join(hold.ground for hold in holding)
        ends = [hold.until_s for hold in holding]
        until_s = None if None in ends else max(end for end in ends if end is not None)
    return Explanation(until_s, rule_until_s, because, rule.term, rule.source, policy.name, words)
