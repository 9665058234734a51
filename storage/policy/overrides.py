"""A tenant's own terms on top of its profile: what it may set, what needs a reason, and how two policies differ.

A reason is kept in the signed ledger for ever, so it names no person. Terms set here go before the profile's, also
where the profile is more precise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from storage.errors import Refused
from storage.model import Kind
from storage.policy.library import SHORTEST
from storage.policy.model import ANY, CONTENT, STATUTORY, Policy, Rule
from storage.policy.reading import as_json
from storage.policy.term import Term, Unit
from storage.words import check_words

TENANT = "tenant"
"""The source of a rule that the tenant set itself."""

REASON_CHARS_MIN = 10
"""A reason in words: a shorter one says nothing."""


@dataclass(frozen=True, slots=True)
class Override:
    """A term that a tenant sets for a kind and a purpose, `*` for all."""

    kind: str
    purpose: str
    term: Term
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Another term of one kind and purpose than before."""

    kind: Kind
    purpose: str
    before: Term
    after: Term

    @property
    def shorter(self) -> bool:
        """Whether some of what is stored ends earlier."""
        return self.before.outlasts(self.after)

    @property
    def longer(self) -> bool:
        """Whether some of what is new ends later; both can be: 30 days, and a month."""
        return self.after.outlasts(self.before)

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.purpose}: {self.before} -> {self.after}"


def override_problems(policy: Policy, overrides: Sequence[Override]) -> list[str]:
    """Why a tenant may not set these terms under its profile; all of it."""
    problems: list[str] = []
    places = [(one.kind, one.purpose) for one in overrides]
    for number, one in enumerate(overrides):
        where = f"retention of {one.kind} for {one.purpose}"
        if places.index((one.kind, one.purpose)) != number:
            problems.append(f"{where}: set twice")
        kinds = _kinds(one.kind)
        if not kinds:
            problems.append(f"{where}: there is no kind {one.kind!r}; say {ANY} or {', '.join(Kind)}")
        if one.purpose not in (ANY, *policy.purposes.allowed):
            problems.append(f"{where}: purpose {one.purpose!r} is none of {', '.join(policy.purposes.allowed)}")
        problems += [f"{where}: {problem}" for problem in _term_problems(policy, one, kinds)]
        if one.reason:
            problems += [f"{where}: {problem}" for problem in _reason_problems(one.reason)]
    return problems


def overridden(policy: Policy, overrides: Sequence[Override], zone: str) -> Policy:
    """The policy in effect; the overrides have been checked by `override_problems`."""
    own = tuple(_rule(policy, one) for one in overrides)
    return replace(policy, retention=(*own, *policy.retention), zone=zone)


def differences(before: Policy, after: Policy) -> list[Difference]:
    """Every kind and purpose whose term is another; purposes are those that either policy knows."""
    known = (*before.purposes.allowed, *after.purposes.allowed)
    named = [rule.purpose for policy in (before, after) for rule in policy.retention if rule.purpose != ANY]
    purposes = tuple(dict.fromkeys((*known, *named)))
    found = []
    for kind in Kind:
        terms = [(purpose, before.rule(kind, purpose).term, after.rule(kind, purpose).term) for purpose in purposes]
        changed = [Difference(kind, purpose, old, new) for purpose, old, new in terms if old != new]
        alike = len(changed) == len(purposes) and len({(one.before, one.after) for one in changed}) == 1
        found += [replace(changed[0], purpose=ANY)] if alike else changed
    return found


def changed_lines(before: Policy, after: Policy) -> list[str]:
    """What differs besides the terms of retention: `logs.term: 90 days -> 30 days`."""
    rows = [lines_of(policy) for policy in (before, after)]
    names = [*rows[0], *(name for name in rows[1] if name not in rows[0])]
    return [
        f"{name}: {rows[0].get(name, 'nothing')} -> {rows[1].get(name, 'nothing')}"
        for name in names
        if rows[0].get(name) != rows[1].get(name)
    ]


def lines_of(policy: Policy) -> dict[str, str]:
    """Everything that a policy says besides terms of retention, by its name: `logs.term`, `90 days`."""
    rows: dict[str, str] = {}
    for field in fields(policy):
        value = as_json(getattr(policy, field.name))
        if field.name == "zone":
            rows["zone"] = policy.zone
        elif isinstance(value, dict):
            told = {name: inner for name, inner in value.items() if not name.endswith("source")}
            rows |= {f"{field.name}.{name}": _told(inner) for name, inner in told.items()}
    return rows | {f"processors.{row.what}": str(row.term) for row in policy.processors}


def _told(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _kinds(name: str) -> tuple[Kind, ...]:
    return CONTENT if name == ANY else tuple(kind for kind in Kind if kind.value == name)


def _term_problems(policy: Policy, one: Override, kinds: Sequence[Kind]) -> list[str]:
    if SHORTEST.outlasts(one.term):
        return [f"{one.term} is shorter than {SHORTEST}, the shortest there is"]
    if one.term.open and any(kind in STATUTORY for kind in kinds):
        return ["what a law obliges to keep needs a term that ends"]
    return [] if one.reason else _lacking_reason(policy, one, kinds)


def _lacking_reason(policy: Policy, one: Override, kinds: Sequence[Kind]) -> list[str]:
    """Why a term would need a reason."""
    if one.term.unit is Unit.EVER:
        return ['"for ever" needs a reason in words']
    purposes = policy.purposes.allowed if one.purpose == ANY else (one.purpose,)
    rules = [policy.rule(kind, purpose) for kind in kinds for purpose in purposes]
    if longer := {str(rule.most): None for rule in rules if one.term.outlasts(rule.most)}:
        return [f"{one.term} is longer than the {' and '.join(longer)} of profile {policy.name}: give a reason"]
    if laws := {rule.law: None for rule in rules if rule.law and rule.term.outlasts(one.term)}:
        return [f"{one.term} is shorter than what {' and '.join(laws)} obliges to: give a reason"]
    return []


def _reason_problems(reason: str) -> list[str]:
    if len(reason) < REASON_CHARS_MIN:
        return [f"a reason has at least {REASON_CHARS_MIN} characters"]
    try:
        check_words(reason, "tenant")
    except Refused:
        return [
            "the reason stands in the ledger for ever: up to 200 printable ASCII characters,"
            " and no number, address or person in them"
        ]
    return []


def _rule(policy: Policy, one: Override) -> Rule:
    kinds = _kinds(one.kind)
    under = policy.rule(kinds[0], one.purpose)
    return Rule(TENANT, (one.kind,), one.term, under.most, one.purpose, law=under.law, reason=one.reason)
