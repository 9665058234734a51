"""Terms are one line of text; which of two is the longer is asked of every day that they could begin on."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import Malformed
from storage.policy.term import Term, add_months

ANY_TERM = st.one_of(
    st.integers(0, 1200).map(lambda n: Term.parse(f"{n} months")),
    st.integers(0, 36_525).map(lambda n: Term.parse(f"{n} days")),
    st.sampled_from(["while-in-use", "account-life", "for ever"]).map(Term.parse),
)


@given(ANY_TERM)
def test_a_term_reads_back_from_its_text(term: Term) -> None:
    assert Term.parse(str(term)) == term


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("1 year", "12 months"),
        ("24 months", "2 years"),
        ("1 month", "1 month"),
        ("1 day", "1 day"),
        ("0 days", "0 days"),
    ],
)
def test_terms_are_spelled_as_people_say_them(text: str, spelled: str) -> None:
    assert str(Term.parse(text)) == spelled


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "months",
        "-1 days",
        "1.5 years",
        "01 months",
        "1  month",
        "12 MONTHS",
        "1 week",
        "١ day",
        "forever",
        "101 years",
        "99999 days",
    ],
)
def test_what_is_no_term_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        Term.parse(text)


@given(ANY_TERM, ANY_TERM, st.dates(date(1990, 1, 1), date(2190, 1, 1)))
def test_a_term_that_ends_later_from_some_day_outlasts_the_other(one: Term, other: Term, day: date) -> None:
    if not (one.open or other.open) and one.after(day) > other.after(day):
        assert one.outlasts(other)
    assert not one.outlasts(one)


def test_terms_without_end_outlast_all_others_and_for_ever_the_most() -> None:
    order = [Term.parse(text) for text in ("100 years", "while-in-use", "account-life", "for ever")]
    for number, term in enumerate(order):
        assert [other.outlasts(term) for other in order] == [False] * (number + 1) + [True] * (3 - number)


def test_a_month_may_outlast_thirty_days_and_a_year_of_days_never_twelve_months() -> None:
    parse = Term.parse
    assert parse("1 month").outlasts(parse("30 days")) and parse("30 days").outlasts(parse("1 month"))
    assert not parse("365 days").outlasts(parse("12 months")) and parse("366 days").outlasts(parse("12 months"))


@given(st.dates(date(1, 1, 1), date(9000, 12, 31)), st.integers(0, 1200))
def test_months_later_is_the_same_day_or_the_months_last(day: date, months: int) -> None:
    found = add_months(day, months)
    assert (found.year * 12 + found.month) - (day.year * 12 + day.month) == months
    assert found.day == day.day or (found.day < day.day and (found + timedelta(days=1)).day == 1)
