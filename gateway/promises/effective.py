"""A tenant's policy from its settings: its profile, and its own terms before it."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.policy import Tenant
from storage.errors import Malformed
from storage.policy.library import Unusable, find
from storage.policy.model import Policy
from storage.policy.overrides import Override, overridden, override_problems
from storage.policy.term import Term


def policy_of(tenant: Tenant) -> Policy:
    """The policy that a tenant's settings make; they have been checked by `promise_problems`."""
    own = tuple(Override(one.kind, one.purpose, Term.parse(one.term), one.reason) for one in tenant.retention)
    return overridden(find(tenant.profile), own, tenant.zone)


def promise_problems(tenants: Sequence[Tenant]) -> list[str]:
    """What keeps these tenants from promising what they say: all of it."""
    return [f"tenant {tenant.name!r}: {problem}" for tenant in tenants for problem in _problems(tenant)]


def _problems(tenant: Tenant) -> list[str]:
    problems, own = [], []
    for one in tenant.retention:
        try:
            own.append(Override(one.kind, one.purpose, Term.parse(one.term), one.reason))
        except Malformed as error:
            problems.append(f"retention of {one.kind} for {one.purpose}: {error}")
    try:
        policy = find(tenant.profile)
    except Unusable as error:
        return [*problems, *error.problems]
    problems += override_problems(policy, own)
    if tenant.purpose not in policy.purposes.allowed:
        allowed = ", ".join(policy.purposes.allowed)
        problems.append(f"purpose {tenant.purpose!r} is none that profile {policy.name} allows: {allowed}")
    if policy.storage.chosen and "record" not in tenant.model_fields_set:
        problems.append(f'profile {policy.name} records only what somebody switched on: say record = "all" or "events"')
    if policy.announcement_needed and tenant.record == "all" and tenant.announcement is None:
        problems.append(f"profile {policy.name} promises an announcement before every recording: name one")
    return problems
