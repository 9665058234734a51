"""Deadlines come out in order, when due, and not before."""

from __future__ import annotations

from gateway.sip.deadlines import Deadlines


def test_due_comes_oldest_first_and_equal_times_keep_their_order() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for at, what in ((3.0, "c"), (1.0, "a"), (2.0, "b1"), (2.0, "b2"), (9.0, "later")):
        deadlines.set(at, what)
    assert deadlines.next() == 1.0
    assert list(deadlines.due(3.0)) == ["a", "b1", "b2", "c"]
    assert len(deadlines) == 1
    assert list(deadlines.due(8.9)) == []


def test_what_is_set_while_working_comes_out_too_if_it_is_due() -> None:
    deadlines: Deadlines[int] = Deadlines()
    deadlines.set(1.0, 1)
    seen = []
    for what in deadlines.due(5.0):
        seen.append(what)
        if what < 10:
            deadlines.set(float(what + 1), what + 1)
    assert seen == [1, 2, 3, 4, 5]
    assert deadlines.next() == 6.0


def test_nothing_is_due_when_nothing_is_set() -> None:
    assert Deadlines[int]().next() is None
