"""Regions: where a place is, and where a tenant's data may be.

A region is a country of ISO 3166-1, `NL`, with parts as fine as its operator likes, `NL-AMS`. A rule is a region or one
of `GROUPS`; a region is within a rule that is the same, a part of which it is, or a group that its country belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

EEA = frozenset(
    {
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE"),
        *("IS", "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK"),
    }
)
"""The European Economic Area: the European Union, Iceland, Liechtenstein and Norway."""

GROUPS = {"EEA": EEA, "EU": EEA - {"IS", "LI", "NO"}}
"""Names that a rule may give for the countries in them."""

_REGION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,12}){0,2}\Z")
_NO_COUNTRIES = {"UK": "GB", "EL": "GR"}
"""Codes that are widely written and that ISO 3166-1 writes otherwise: one of them would never match."""

RULES_MAX = 40
"""Of one tenant: more than the EEA has countries."""


def region_problem(text: str) -> str:
    """What is wrong with a region; "" if nothing is."""
    country = text[:2]
    if not _REGION.match(text):
        return "a region is a country of ISO 3166, such as NL, with parts such as NL-AMS"
    return f"{country} is no country of ISO 3166: write {_NO_COUNTRIES[country]}" if country in _NO_COUNTRIES else ""


def rule_problem(text: str) -> str:
    """What is wrong with a rule; "" if nothing is."""
    return "" if text in GROUPS else region_problem(text)


def is_within(region: str, rules: Sequence[str]) -> bool:
    """Whether a region is allowed by one of the rules. Without rules each is; one that is unknown ("") by none."""
    if not rules:
        return True
    return any(region[:2] in GROUPS[rule] if rule in GROUPS else f"{region}-".startswith(f"{rule}-") for rule in rules)
