"""One alarm for each key: moved, cleared, and forgotten without a trace."""

from __future__ import annotations

from gateway.sip.alarms import STALE_MAX, Alarms


def test_keys_come_out_when_they_are_due_oldest_first() -> None:
    alarms: Alarms[str] = Alarms()
    for key, at in (("b", 2.0), ("a", 1.0), ("c", 2.0), ("d", 3.0)):
        alarms.set(key, at)
    assert alarms.next() == 1.0
    assert list(alarms.due(2.0)) == ["a", "b", "c"]
    assert (alarms.next(), len(alarms)) == (3.0, 1)


def test_an_alarm_that_is_set_again_rings_once_at_its_last_time() -> None:
    alarms: Alarms[str] = Alarms()
    alarms.set("a", 1.0)
    alarms.set("a", 5.0)
    assert list(alarms.due(4.0)) == []
    alarms.set("a", 2.0)
    assert list(alarms.due(9.0)) == ["a"]
    assert alarms.next() is None


def test_a_cleared_alarm_does_not_ring() -> None:
    alarms: Alarms[str] = Alarms()
    alarms.set("a", 1.0)
    alarms.clear("a")
    alarms.clear("never set")
    assert (list(alarms.due(9.0)), alarms.next(), len(alarms)) == ([], None, 0)


def test_an_alarm_that_is_set_while_it_rings_rings_again() -> None:
    alarms: Alarms[str] = Alarms()
    alarms.set("a", 1.0)
    rung = []
    for key in alarms.due(3.0):
        rung.append(key)
        if len(rung) < 3:
            alarms.set(key, 2.0)
    assert rung == ["a", "a", "a"]


def test_a_day_of_finished_calls_leaves_nothing_behind() -> None:
    alarms: Alarms[int] = Alarms()
    for number in range(100_000):
        alarms.set(number, 86_400.0 + number)
        if number >= 100:
            alarms.clear(number - 100)
    assert len(alarms) == 100
    assert alarms.kept <= 2 * 100 + STALE_MAX + 1
