"""For everything that is kept it can be said until when, and by which rule."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from storage.model import Kind
from storage.policy.explaining import Because, Explanation, HeldBy, explain
from storage.policy.library import profile
from storage.policy.overrides import Override, overridden
from storage.policy.term import Term
from storage.records import Day

DAY = Day("2026-01-31")
HOLD = HeldBy("0" * 32, "civil claim, Art. 17(3)(e) GDPR")


def until(found: Explanation) -> str | None:
    return None if found.until_s is None else datetime.fromtimestamp(found.until_s, UTC).strftime("%Y-%m-%d")


def test_sp_07_two_purposes_of_one_call_are_explained_by_their_own_rules() -> None:
    policy = overridden(
        profile("speakup"), [Override("*", "training", Term.parse("1 month"), "trainees leave")], "Europe/Amsterdam"
    )
    training, quality = (explain(policy, Kind.AUDIO, purpose, DAY) for purpose in ("training", "quality"))
    assert (until(training), training.because, training.source) == ("2026-02-28", Because.OVERRIDE, "tenant")
    assert training.words == "trainees leave"
    assert (until(quality), quality.because, quality.source) == ("2026-05-30", Because.PROFILE, "SP-04")
    assert quality.profile == "speakup"


def test_up_05_statutory_data_are_explained_by_the_law() -> None:
    found = explain(profile("upcall"), Kind.RATING, "service", DAY)
    assert (until(found), found.because, found.words) == ("2033-02-01", Because.STATUTORY, "Art. 52(4) AWR")


def test_cl_03_without_a_time_limit_is_flagged() -> None:
    found = explain(profile("circleloop"), Kind.AUDIO, "service", DAY)
    assert found.until_s is None and found.no_time_limit and found.source == "CL-03"
    assert not explain(profile("upcall"), Kind.AUDIO, "service", DAY).no_time_limit


def test_a_hold_is_what_keeps_a_thing_beyond_its_term() -> None:
    found = explain(profile("speakup"), Kind.AUDIO, "quality", DAY, [HOLD])
    assert (found.until_s, found.because, found.words) == (None, Because.HOLD, HOLD.ground)
    assert found.rule_until_s == explain(profile("speakup"), Kind.AUDIO, "quality", DAY).until_s


def test_of_several_holds_the_last_one_counts_and_one_that_ends_before_does_not() -> None:
    plain = explain(profile("speakup"), Kind.AUDIO, "quality", DAY)
    assert plain.until_s is not None
    short = HeldBy("1" * 32, "audit", plain.until_s - 1)
    long, longer = (HeldBy("2" * 32, "claim", plain.until_s + n) for n in (1, 2))
    assert explain(profile("speakup"), Kind.AUDIO, "quality", DAY, [short]) == plain
    assert explain(profile("speakup"), Kind.AUDIO, "quality", DAY, [short, longer, long]).until_s == longer.until_s
    assert explain(profile("speakup"), Kind.AUDIO, "quality", DAY, [long, HOLD]).until_s is None


def test_what_was_stored_under_a_shorter_promise_keeps_it() -> None:
    plain = explain(profile("speakup"), Kind.AUDIO, "quality", DAY)
    assert plain.until_s is not None
    found = explain(profile("speakup"), Kind.AUDIO, "quality", DAY, stored_due_s=plain.until_s - 86_400)
    assert (found.until_s, found.because) == (plain.until_s - 86_400, Because.EARLIER)
    assert explain(profile("speakup"), Kind.AUDIO, "quality", DAY, stored_due_s=plain.until_s) == plain
    assert explain(profile("circleloop"), Kind.AUDIO, "service", DAY, stored_due_s=5).because is Because.EARLIER


@pytest.mark.parametrize("kind", Kind)
def test_everything_can_be_explained(kind: Kind) -> None:
    for name in ("default", "upcall", "speakup", "circleloop", "cloudtalk", "ipcallme"):
        for purpose in profile(name).purposes.allowed:
            assert explain(profile(name), kind, purpose, DAY).source
