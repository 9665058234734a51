"""Policies side by side, matter by matter, in the shortest words: where they collide. `-`: it says nothing of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from storage.model import Kind
from storage.policy.model import Answers, Choice, Form, NoStorage, Policy, Rule, Support
from storage.policy.term import Term, Unit

NOTHING = "-"


def short(term: Term) -> str:
    """`7 y`, `90 d`, `4 months`, `while in use`."""
    if term.open:
        return term.unit.value.replace("-", " ")
    count, word = term.spelled
    if not count:
        return "0"
    return f"{count} {word[0]}" if word != "month" else str(term)


def _period(policy: Policy, rule: Rule) -> str:
    if not rule.stated:
        return "not stated"
    if rule.term.unit is Unit.ACCOUNT:
        return f"{short(rule.term)}, then {short(policy.closing.grace)}"
    if rule.setting and len({one.term for one in policy.retention if not one.law}) == 1:  # one term for all: a ceiling
        return f"<= {short(rule.most).replace('months', 'mo')}"
    return short(rule.term)


def _recordings(policy: Policy) -> str:
    rule = policy.rule(Kind.AUDIO, policy.purposes.allowed[0])
    period = _period(policy, rule)
    if period.startswith("<="):
        return f"setting, {period}"
    return f"{period}; delete any time" if rule.term.unit is Unit.ACCOUNT and policy.access.erased_any_time else period


def _call_detail(policy: Policy) -> str:
    return _period(policy, policy.rule(Kind.CALL_DETAIL, policy.purposes.allowed[0]))


def _after_closing(policy: Policy) -> str:
    closing = policy.closing
    if closing.stated and not closing.terms_go_on:
        return short(closing.grace)
    if closing.account_source == "default":
        return NOTHING
    if not closing.account.count:
        return "contract term"
    return short(closing.account) + " account data" * (closing.account_holds == ("account",))


def _invoices(policy: Policy) -> str:
    rule = policy.rule(Kind.RATING, policy.purposes.allowed[0])
    if rule.elsewhere:
        return rule.elsewhere
    if not rule.stated:
        return NOTHING
    return rule.law if rule.by_law else short(rule.term)


def _logs(policy: Policy) -> str:
    return short(policy.logs.term) if policy.logs.stated else NOTHING


_SUPPORT = {
    Support.DENY: "nobody (bar lawful tap)",
    Support.CONSENT: "nobody without recorded consent",
    Support.STANDING: "support, at will",
}


def _listening(policy: Policy) -> str:
    if not policy.access.stated:
        return NOTHING
    return "RBAC+MFA" if policy.access.second_factor else _SUPPORT[policy.access.support]


def _announcement(policy: Policy) -> str:
    return "always before" if policy.announcement.always and policy.announcement.stated else NOTHING


def _deadline(policy: Policy) -> str:
    asked = policy.requests
    if asked.answered_by is Answers.CUSTOMER:
        return "help"
    if asked.by_law:
        return "(law)"
    longer = f" (+{asked.extension.count})" if asked.term.unit is asked.extension.unit else ""
    return short(asked.term) + longer


def _breach(policy: Policy) -> str:
    return "law" if policy.breach.by_law else f"{policy.breach.hours} h"


def _place(policy: Policy) -> str:
    place = policy.place
    if not place.stated:
        return NOTHING
    if place.choice is Choice.NEAREST:
        return "nearest"
    if place.choice is Choice.CUSTOMER:
        return " / ".join((*place.sites, *place.regions))
    return " + ".join(place.sites or place.regions)


def _without_storage(policy: Policy) -> str:
    words = {NoStorage.OPTION: "yes", NoStorage.TRANSPORT: "transport only", NoStorage.NONE: NOTHING}
    return words[policy.storage.without] if policy.storage.stated else NOTHING


_FORMS = {
    Form.USAGE: "usage analysis",
    Form.ANONYMISED: "anonymised",
    Form.AT_CLOSING: "anonymised at closing",
    Form.IRREVERSIBLE: "irreversible",
    Form.KEPT: "kept",
}


def _statistics(policy: Policy) -> str:
    return _FORMS[policy.statistics.form] if policy.statistics.stated else NOTHING


def _numbers(policy: Policy) -> str:
    return "yes" if policy.numbers.presentation and policy.numbers.stated else NOTHING


MATTERS: Mapping[str, Callable[[Policy], str]] = {
    "recordings": _recordings,
    "call detail": _call_detail,
    "after closing": _after_closing,
    "invoices": _invoices,
    "logs": _logs,
    "who may listen": _listening,
    "announcement": _announcement,
    "deadline": _deadline,
    "breach": _breach,
    "place": _place,
    "no-storage": _without_storage,
    "statistics": _statistics,
    "112 / number presentation": _numbers,
}
"""Each matter, and what of a policy is told of it."""
