"""A tenant sets its own terms: shorter at will, longer with a reason that can be kept for ever."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.model import Kind
from storage.policy.library import parse_policy, profile
from storage.policy.model import CONTENT
from storage.policy.overrides import Override, changed_lines, differences, overridden, override_problems
from storage.policy.reading import as_json
from storage.policy.term import Term

REASON = "the regulator asks for two years"


def own(term: str, kind: str = "audio", purpose: str = "*", reason: str = "") -> Override:
    return Override(kind, purpose, Term.parse(term), reason)


@pytest.mark.parametrize(
    ("name", "override", "problem"),
    [
        ("upcall", own("13 months"), "longer than the 12 months of profile upcall"),
        ("upcall", own("366 days"), "longer than the 12 months"),
        ("upcall", own("account-life"), "longer than the 12 months"),
        ("upcall", own("for ever"), '"for ever" needs a reason'),
        ("circleloop", own("for ever"), '"for ever" needs a reason'),
        ("speakup", own("4 months", "*"), "longer than the 3 months"),  # of call detail
        ("speakup", own("5 months", "*"), "longer than the 3 months and 4 months"),
        ("upcall", own("1 day"), "shorter than 2 days"),
        ("upcall", own("6 months", "voices"), "there is no kind 'voices'"),
        ("upcall", own("6 months", "audio", "fun"), "purpose 'fun' is none of"),
        ("upcall", own("5 years", "rating"), "shorter than what Art. 52(4) AWR obliges to"),
        ("upcall", own("10 years", "rating"), "longer than the 7 years"),
        ("upcall", own("account-life", "rating", reason=REASON), "needs a term that ends"),
        ("upcall", own("2 years", reason="law"), "at least 10 characters"),
        ("upcall", own("2 years", reason="because Jan (06 12345678) asked"), "no number, address or person"),
        ("upcall", own("2 years", reason="because jan@example.org asked"), "no number, address or person"),
        ("upcall", own("2 years", reason="weil wir müssen, sagt man"), "ASCII"),
    ],
)
def test_up_02_what_a_tenant_may_not_set_is_told(name: str, override: Override, problem: str) -> None:
    found = override_problems(profile(name), [override])
    assert len(found) == 1 and problem in found[0]


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("upcall", own("12 months")),
        ("upcall", own("365 days")),
        ("upcall", own("6 months", "*")),
        ("upcall", own("2 years", reason=REASON)),
        ("upcall", own("for ever", reason=REASON)),
        ("circleloop", own("account-life")),
        ("circleloop", own("10 years")),
        ("cloudtalk", own("account-life", reason=REASON)),
        ("upcall", own("10 years", "rating", reason="the trade's own rules ask for ten")),
    ],
)
def test_up_02_what_a_tenant_may_set(name: str, override: Override) -> None:
    assert override_problems(profile(name), [override]) == []


def test_all_problems_of_overrides_are_told_together() -> None:
    wrong = [own("13 months"), own("13 months", "voices"), own("1 day", "transcript", "fun"), own("6 months")]
    found = override_problems(profile("upcall"), wrong)
    assert len(found) == 5 and any("set twice" in problem for problem in found)


def test_what_is_set_goes_before_the_profile_and_the_more_precise_before_the_less() -> None:
    policy = overridden(
        profile("speakup"),
        [own("2 months", "*"), own("1 month", "*", "training"), own("10 days", "audio")],
        "Europe/Amsterdam",
    )

    def term(kind: Kind, purpose: str) -> str:
        return str(policy.rule(kind, purpose).term)

    assert term(Kind.CALL_DETAIL, "quality") == "2 months"  # though the profile names call detail
    assert term(Kind.TRANSCRIPT, "training") == "1 month"
    assert term(Kind.AUDIO, "training") == "10 days"
    assert term(Kind.RATING, "training") == "10 years"  # `*` never means what a law keeps
    assert policy.zone == "Europe/Amsterdam"


def test_differences_are_told_by_kind_and_purpose_and_all_at_once_where_alike() -> None:
    before = profile("speakup")
    after = overridden(before, [own("1 month", "*", "training"), own("6 months", reason=REASON)], "UTC")
    found = {str(one): (one.shorter, one.longer) for one in differences(before, after)}
    assert found["audio/*: 4 months -> 6 months"] == (False, True)
    assert found["transcript/training: 4 months -> 1 month"] == (True, False)
    assert not [text for text in found if text.startswith("rating")]
    assert differences(before, before) == []


def test_a_month_is_both_shorter_and_longer_than_thirty_days() -> None:
    (found,) = differences(
        overridden(profile("upcall"), [own("30 days")], "UTC"), overridden(profile("upcall"), [own("1 month")], "UTC")
    )
    assert found.shorter and found.longer


def test_other_lines_that_differ_are_told() -> None:
    found = changed_lines(profile("upcall"), profile("speakup"))
    assert "logs.term: 90 days -> 30 days" in found
    assert "place.regions: NL, EEA -> NL" in found
    assert changed_lines(profile("upcall"), profile("upcall")) == []


KINDS = st.sampled_from(["*", *(kind.value for kind in Kind)])
PURPOSES = st.sampled_from(["*", "service", "quality", "training"])
TERMS = st.sampled_from(
    ["2 days", "30 days", "1 month", "3 months", "4 months", "12 months", "2 years", "10 years"]
).map(Term.parse) | st.sampled_from(["while-in-use", "account-life", "for ever"]).map(Term.parse)
OVERRIDES = st.lists(st.builds(Override, KINDS, PURPOSES, TERMS, st.sampled_from(["", REASON])), max_size=4)


@given(st.sampled_from(["default", "upcall", "speakup", "circleloop", "cloudtalk", "ipcallme"]), OVERRIDES)
def test_whatever_a_tenant_may_set_makes_a_policy_that_reads_back(name: str, overrides: list[Override]) -> None:
    if override_problems(profile(name), overrides):
        return
    made = overridden(profile(name), overrides, "Europe/Amsterdam")
    assert parse_policy(json.dumps(as_json(made))) == made
    for kind in CONTENT:
        for purpose in made.purposes.allowed:
            rule = made.rule(kind, purpose)
            longer = rule.term.outlasts(profile(name).rule(kind, purpose).most)
            assert rule.reason or not longer, (kind, purpose)
