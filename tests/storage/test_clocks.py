"""Clocks that may not be trusted destroy nothing, and nothing that is due by any of them is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.clocks import APART_MAX_S, JUMP_MAX_S, SETTLE_S, Doubt, Heartbeat, Reading, Verdict, alarms, judge

NOW = 1_800_000_000
BOOT = "boot-1"
LAST = Heartbeat(NOW - 60, 1_000, BOOT, NOW - 60)
READING = Reading(NOW, 1_060, BOOT)


def test_clocks_that_agree_let_keys_be_dropped() -> None:
    for database, provider in ((None, None), (NOW + 3, None), (NOW - 30, NOW + 30)):
        verdict = judge(replace(READING, database_s=database, provider_s=provider), LAST)
        assert verdict.may_drop and verdict.doubts == ()
        assert verdict.drop_until_s == min(filter(None, (NOW, database, provider)))
        assert verdict.refuse_until_s == max(filter(None, (NOW, database, provider)))
        assert verdict.beat == Heartbeat(NOW, 1_060, BOOT, verdict.refuse_until_s)


def shown(which: str, second: int) -> Reading:
    database, provider = (second if which == name else None for name in ("database", "provider"))
    return replace(READING, database_s=database, provider_s=provider)


@pytest.mark.parametrize("which", ["database", "provider"])
@pytest.mark.parametrize("off", [APART_MAX_S + 1, -APART_MAX_S - 1, 86_400])
def test_clocks_that_are_apart_drop_nothing_and_the_latest_refuses(which: str, off: int) -> None:
    verdict = judge(shown(which, NOW + off), LAST)
    assert not verdict.may_drop and verdict.doubts == (Doubt.APART,)
    assert verdict.refuse_until_s == max(NOW, NOW + off)
    within = judge(shown(which, NOW + (APART_MAX_S if off > 0 else -APART_MAX_S)), LAST)
    assert within.may_drop


@pytest.mark.parametrize(("by", "doubt"), [(JUMP_MAX_S + 1, Doubt.JUMPED), (-JUMP_MAX_S - 1, Doubt.WENT_BACK)])
def test_a_clock_that_jumps_while_the_machine_runs_drops_nothing_until_it_has_settled(by: int, doubt: Doubt) -> None:
    verdict = judge(replace(READING, host_s=NOW + by, provider_s=NOW + by), LAST)
    assert verdict.doubts == (doubt,) and not verdict.may_drop
    assert verdict.refuse_until_s == max(NOW + by, LAST.latest_s)
    assert len(alarms(verdict.doubts)) == 1
    assert not run_on(verdict, SETTLE_S - 60).may_drop
    assert run_on(verdict, SETTLE_S).may_drop


def test_summer_time_set_by_hand_is_no_jump() -> None:
    assert judge(replace(READING, host_s=NOW + JUMP_MAX_S), LAST).may_drop


def run_on(verdict: Verdict, seconds: int) -> Verdict:
    for _ in range(seconds // 60):
        beat = verdict.beat
        verdict = judge(Reading(beat.host_s + 60, beat.uptime_s + 60, beat.boot), beat)
    return verdict


def test_a_machine_that_was_off_needs_a_witness_or_an_hour() -> None:
    after = Reading(NOW + 3 * 86_400, 20, "boot-2")
    assert judge(replace(after, provider_s=after.host_s + 2), LAST).may_drop
    alone = judge(after, LAST)
    assert alone.doubts == (Doubt.UNSETTLED,) and not alone.may_drop
    assert alone.refuse_until_s == after.host_s
    assert run_on(alone, SETTLE_S).may_drop


def test_a_short_restart_is_nothing_and_a_clock_behind_the_last_heartbeat_is() -> None:
    assert judge(Reading(NOW + 120, 10, "boot-2"), LAST).may_drop
    back = judge(Reading(NOW - 7200, 10, "boot-2", provider_s=NOW - 7200), LAST)
    assert back.doubts == (Doubt.WENT_BACK,)
    assert back.refuse_until_s == LAST.latest_s  # what was refused stays so


def test_the_first_start_has_nothing_to_compare_with() -> None:
    assert judge(READING, None).may_drop
    assert not judge(replace(READING, provider_s=NOW + 3600), None).may_drop


@given(st.lists(st.tuples(st.integers(-9000, 9000), st.integers(0, 5000), st.booleans()), max_size=12))
def test_whatever_clocks_do_nothing_is_dropped_by_more_than_uptime_and_an_hour_allow(
    moves: list[tuple[int, int, bool]],
) -> None:
    """Within one start of the machine: `drop_until_s` never runs ahead of true time by more than an hour a settling."""
    beat, true_s, host_s, uptime_s, steady_s = LAST, NOW - 60, NOW - 60, 1_000, SETTLE_S
    for wrong, passed, jumps in moves:
        true_s, uptime_s, host_s = true_s + passed, uptime_s + passed, host_s + passed + (wrong if jumps else 0)
        verdict = judge(Reading(host_s, uptime_s, BOOT), beat)
        jumped = jumps and (abs(wrong) > JUMP_MAX_S or passed + wrong < -APART_MAX_S)
        steady_s = 0 if jumped else steady_s + passed
        assert verdict.may_drop == (steady_s >= SETTLE_S)
        beat = verdict.beat
