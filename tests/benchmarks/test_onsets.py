"""Which starts of speech are explained by what was said, which are not, and what was not heard."""

from __future__ import annotations

import pytest

from benchmarks.onsets import LATE_NS, Matched, Spoken, match

MS = 1_000_000
FIRST = Spoken((1000 * MS, 5000 * MS), 8000 * MS)
SECOND = Spoken((1050 * MS, 7800 * MS), 8000 * MS)  # the last one may come too late to be heard


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("b", "a")])
def test_participants_are_paired_with_the_tracks_that_explain_them(one: str, other: str) -> None:
    heard = {one: [1070 * MS, 5060 * MS], other: [1110 * MS]}
    assert match([FIRST, SECOND], heard) == Matched((70 * MS, 60 * MS, 60 * MS), false=0, missed=0)


def test_a_start_without_a_label_is_false_and_a_label_without_a_start_is_missed() -> None:
    heard = {"a": [1070 * MS, 3000 * MS], "b": [1110 * MS]}
    found = match([FIRST, SECOND], heard)
    assert (len(found.delays_ns), found.false, found.missed) == (2, 1, 1)


def test_nobody_heard_is_all_missed() -> None:
    assert match([FIRST, SECOND], {}) == Matched((), 0, missed=3)


def test_two_starts_are_not_explained_by_one_label() -> None:
    assert match([FIRST], {"a": [1050 * MS, 1100 * MS]}) == Matched((50 * MS,), false=1, missed=1)


@pytest.mark.parametrize(("after", "explained"), [(-50 * MS, 1), (-150 * MS, 0), (LATE_NS - MS, 1), (LATE_NS, 0)])
def test_a_start_answers_a_label_for_half_a_second(after: int, explained: int) -> None:
    assert len(match([FIRST], {"a": [1000 * MS + after]}).delays_ns) == explained
