"""The policies that come with callvault, and those that an operator wrote: read, and checked as a whole.

`PROFILES` are five published privacy policies, and `default`, which is what tenants without one have: content 3
months, at most a year; totals for invoices 7 years; logs 30 days; requests within a month; nobody of the provider's
opens content; everything announced; regions of the EEA; statistics in tens; nothing leaves unasked.
"""

from __future__ import annotations

import re
import tomllib
import zoneinfo
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from storage.errors import Malformed
from storage.model import Kind
from storage.policy.model import ANY, CONTENT, STATUTORY, Policy, Rule
from storage.policy.reading import read
from storage.policy.term import Term, Unit
from storage.signing import parse_json
from storage.words import names_somebody

PROFILES = ("default", "upcall", "speakup", "circleloop", "cloudtalk", "ipcallme")
PROFILE_BYTES_MAX = 1 << 16
"""A profile has some 4 KiB."""

COUNT_MIN = 10
"""No published number may stand for fewer calls: fewer could tell of one."""

SHORTEST = Term(Unit.DAYS, 2)
"""A term is counted from the beginning of its UTC day: within one day a call could end before it is over."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
_PURPOSE = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_REGION = re.compile(r"[A-Z]{2,3}\Z")
_SOURCE = re.compile(r"(?:[A-Z]{2}-\d\d|table|default|tenant)\Z")


class Unusable(Malformed):
    """A policy that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@cache
def profile(name: str) -> Policy:
    """One of `PROFILES`; Unusable if there is none of that name."""
    if name not in PROFILES:
        raise Unusable([f"there is no profile {name[:40]!r}: say {', '.join(PROFILES)}, or the path of a file"])
    text = (resources.files("storage.policy") / "profiles" / f"{name}.toml").read_bytes()
    return parse_profile(text, name)


def find(named: str) -> Policy:
    """A profile by its name, or the one in a file whose path has a slash in it. Unusable."""
    return profile(named) if "/" not in named else read_profile(Path(named))


def read_profile(path: Path) -> Policy:
    """A policy from a TOML file; Unusable with everything that is wrong."""
    try:
        with path.open("rb") as file:
            text = file.read(PROFILE_BYTES_MAX + 1)
    except OSError as error:
        raise Unusable([f"{path}: {error.strerror}"]) from error
    return parse_profile(text, str(path))


def parse_profile(text: bytes, where: str) -> Policy:
    """A policy from TOML; Unusable."""
    if len(text) > PROFILE_BYTES_MAX:
        raise Unusable([f"{where}: more than {PROFILE_BYTES_MAX} bytes"])
    try:
        tree = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of thousands of digits, depth
        raise Unusable([f"{where}: {str(error)[:200]}"]) from error
    return _checked(tree, where)


def parse_policy(body: str) -> Policy:
    """A policy from the JSON that `storage.policy.reading.as_json` made of it; Unusable."""
    return _checked(parse_json(body.encode(), PROFILE_BYTES_MAX * 4), "policy")


def _checked(tree: Mapping[str, Any], where: str) -> Policy:
    problems: list[str] = []
    found = read(Policy, tree, where, problems)
    if found is not None:
        problems += [f"{where}: {problem}" for problem in policy_problems(found)]
    if found is None or problems:
        raise Unusable(problems)
    return found


def policy_problems(policy: Policy) -> list[str]:
    """What keeps a policy that has the right form from being one."""
    problems = [problem for rule in policy.retention for problem in _rule_problems(policy, rule)]
    always = [rule for rule in policy.retention if rule.purpose == ANY]
    bare = [kind.value for kind in Kind if not any(rule.covers(kind, ANY) for rule in always)]
    problems += [f"retention: nothing says how long {kind} is kept" for kind in bare]
    problems += [f"purposes: {name!r} is no word" for name in policy.purposes.allowed if not _PURPOSE.match(name)]
    problems += [f"place: {name!r} is no region" for name in policy.place.regions if not _REGION.match(name)]
    if not policy.purposes.allowed:
        problems.append("purposes: none is allowed")
    percents = policy.requests.warn_percent
    if list(percents) != sorted(set(percents)) or not all(0 < percent < 100 for percent in percents):
        problems.append("requests.warn_percent: percentages from 1 to 99, in order")
    timed = {"closing.grace": policy.closing.grace, "closing.account": policy.closing.account}
    timed |= {"logs.term": policy.logs.term, "requests.term": policy.requests.term}
    timed |= {"requests.extension": policy.requests.extension}
    problems += [f"{name}: {term} has no end" for name, term in timed.items() if term.open]
    if policy.statistics.minimum < COUNT_MIN:
        problems.append(f"statistics.minimum: at least {COUNT_MIN}")
    words = [policy.title, policy.law.authority, *policy.law.texts, *policy.place.sites, *policy.closing.account_holds]
    words += [row.what for row in policy.processors]
    words += [text for rule in policy.retention for text in (rule.law, rule.elsewhere, rule.reason)]
    problems += [f"{text!r}: a policy names no number and no address" for text in words if names_somebody(text)]
    if not _NAME.match(policy.name):
        problems.append("name: lower-case letters, digits and hyphens, 32 at most")
    problems += _zone_problems(policy.zone)
    lines = [policy.closing, policy.logs, policy.requests, policy.breach, policy.place, policy.storage, policy.law]
    lines += [policy.announcement, policy.purposes, policy.access, policy.statistics, policy.egress, policy.numbers]
    sources = [line.source for line in (*lines, *policy.retention, *policy.processors)]
    problems += [
        f"{source!r} is no source" for source in (*sources, policy.closing.account_source) if not _SOURCE.match(source)
    ]
    return problems


def _zone_problems(zone: str) -> list[str]:
    try:
        zoneinfo.ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        return [f"zone: {zone!r} is no time zone known here; correct it or install tzdata"]
    return []


def _rule_problems(policy: Policy, rule: Rule) -> list[str]:
    where = f"retention of {', '.join(rule.kinds)} for {rule.purpose}"
    known = {ANY, *(kind.value for kind in Kind)}
    problems = [f"{where}: there is no kind {kind!r}" for kind in rule.kinds if kind not in known]
    if problems or not rule.kinds:
        return problems or ["retention: a rule without kinds"]
    if rule.purpose not in (ANY, *policy.purposes.allowed):
        problems.append(f"{where}: purpose {rule.purpose!r} is none of {', '.join(policy.purposes.allowed)}")
    lawful = [kind for kind in STATUTORY if rule.covers(kind, rule.purpose)]
    content = [kind for kind in CONTENT if rule.covers(kind, rule.purpose)]
    if lawful and content:
        problems.append(f"{where}: what a law obliges to keep and content cannot have one rule")
    if bool(lawful) != bool(rule.law):
        problems.append(f"{where}: {'the law that obliges has to be named' if lawful else 'no law keeps content'}")
    if lawful and rule.term.open:
        problems.append(f"{where}: what a law obliges to keep needs a term that ends")
    if SHORTEST.outlasts(rule.term):
        problems.append(f"{where}: {rule.term} is shorter than {SHORTEST}")
    if rule.term.outlasts(rule.most) and not rule.reason:
        problems.append(f"{where}: {rule.term} is longer than {rule.most}, without a reason")
    if rule.term.unit is Unit.EVER and not rule.reason:
        problems.append(f'{where}: "for ever" without a reason')
    return problems
