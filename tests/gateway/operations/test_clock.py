"""The kernel's word on its clock."""

from __future__ import annotations

from gateway.operations.clock import STA_UNSYNC, TIME_ERROR, UNKNOWN, UNKNOWN_ERROR_US, clock_state, interpret


def test_a_kept_clock_has_an_estimate_in_milliseconds() -> None:
    state = interpret(0, 0x2001, 1500, 30_000)
    assert state.synchronised
    assert (state.error_ms, state.error_ms_max) == (1.5, 30.0)
    assert state.fields() == {"synchronised": True, "error_ms": 1.5}


def test_a_clock_that_nothing_keeps_is_told_apart_from_one_that_nobody_may_ask() -> None:
    for answer, status in ((TIME_ERROR, 0), (0, STA_UNSYNC), (TIME_ERROR, STA_UNSYNC)):
        state = interpret(answer, status, UNKNOWN_ERROR_US, UNKNOWN_ERROR_US)
        assert state.synchronised is False
        assert state.error_ms is None
    assert UNKNOWN.synchronised is None


def test_this_machine_answers_or_says_that_it_cannot() -> None:
    state = clock_state()
    assert state == UNKNOWN or isinstance(state.synchronised, bool)
    assert state.error_ms is None or state.error_ms >= 0
