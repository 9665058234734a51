"""Standing alarms are told once when they begin and once when they end."""

from __future__ import annotations

import pytest

from gateway.operations.alarms import Alarm, Alarms


def test_an_alarm_is_told_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms()
    for now in (1.0, 2.0, 3.0):
        alarms.set(Alarm.STORE_AWAY, True, now)
    alarms.set(Alarm.JOBS_DEAD, True, 3.5)
    assert alarms.standing() == ["store_away", "jobs_dead"]
    assert Alarm.STORE_AWAY in alarms
    for now in (4.0, 5.0):
        alarms.set(Alarm.STORE_AWAY, False, now)
    assert alarms.standing() == ["jobs_dead"]
    told = [
        (record.getMessage(), getattr(record, "alarm", ""), getattr(record, "lasted_s", None))
        for record in caplog.records
    ]
    assert told == [
        ("alarm raised", "store_away", None),
        ("alarm raised", "jobs_dead", None),
        ("alarm over", "store_away", 3.0),
    ]
