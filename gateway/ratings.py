"""Totals of a month's ratings: how many calls, how many seconds; un-itemised, from sealed rows, erased calls' too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from storage.rating import Rating


def totals(month: str, ratings: Iterable[Rating]) -> dict[str, Any]:
    """A month's totals, and those of its days, directions and own numbers. Which calls they were is not in them.

    Calls whose length nobody knows, as they go on or a crash cut them off, are `without_length` and count no seconds.
    """
    whole = _empty()
    days: dict[str, dict[str, int]] = {}
    directions: dict[str, dict[str, int]] = {}
    numbers: dict[str, dict[str, int]] = {}
    for rating in ratings:
        rows = [whole, days.setdefault(rating.day, _empty()), directions.setdefault(rating.direction.value, _empty())]
        if rating.own:
            rows.append(numbers.setdefault(rating.own, _empty()))
        for row in rows:
            row["calls"] += 1
            row["seconds"] += rating.seconds or 0
            row["without_length"] += rating.seconds is None
    parts = {"days": days, "directions": directions, "numbers": numbers}
    return {"month": month, **whole} | {name: dict(sorted(part.items())) for name, part in parts.items()}


def _empty() -> dict[str, int]:
    return {"calls": 0, "seconds": 0, "without_length": 0}
