"""What a tenant's leaving ends, and when."""

from __future__ import annotations

from dataclasses import dataclass

from storage.model import Kind
from storage.policy.model import Policy
from storage.records import Day
from storage.retention import Keep, after, due


@dataclass(frozen=True, slots=True)
class Ending:
    """Unix seconds. `content_root_s`: its key is destroyed, and with it every object, backup and replica; None: things
    go one by one as their terms end, and what has none at `open_s`. `account_s`: who the tenant was is forgotten."""

    content_root_s: int | None
    open_s: int
    account_s: int


def ending(policy: Policy, closed_s: float) -> Ending:
    """What follows a closing at that time."""
    closing = policy.closing
    grace_s = after(closed_s, closing.grace, policy.zone, Keep.AT_MOST)
    account_s = after(closed_s, closing.account, policy.zone, Keep.AT_MOST)
    assert grace_s is not None and account_s is not None  # checked when the policy was read
    return Ending(None if closing.terms_go_on else grace_s, grace_s, account_s)


def due_after_closing(policy: Policy, kind: Kind, purpose: str, day: Day, closed_s: float) -> int | None:
    """When a thing of a tenant that has left ends: never later than it would have otherwise."""
    rule, keep = policy.rule(kind, purpose), Keep.AT_LEAST if policy.holds_least(kind) else Keep.AT_MOST
    own_s = due(day, rule.term, policy.zone, keep)
    if keep is Keep.AT_LEAST:
        return own_s
    left = ending(policy, closed_s)
    latest_s = left.open_s if own_s is None else left.content_root_s
    return min(second for second in (own_s, latest_s) if second is not None)
