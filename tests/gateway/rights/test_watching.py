"""Deadlines are watched: told once, counted, and an alarm stands while one is broken."""

from __future__ import annotations

import logging

import pytest

from gateway.operations.alarms import Alarm, Alarms
from gateway.operations.metrics import Metrics, Snapshot
from gateway.rights.request import Step
from gateway.rights.watching import Watch
from storage.model import TenantId
from storage.recordings import Recordings
from tests.gateway.rights.test_requests import DAY, NOW, Desk


def test_up_18_a_broken_deadline_is_an_alarm_a_figure_and_told_once(
    store: Recordings, tenant: TenantId, caplog: pytest.LogCaptureFixture
) -> None:
    desk, alarms, now = Desk(store, tenant), Alarms(), [NOW]
    watch = Watch(store, lambda: [tenant], alarms, lambda: now[0])
    request = desk.open()
    assert watch.look() == []
    now[0] += 40 * DAY
    with caplog.at_level(logging.WARNING):
        assert [reminder.share for reminder in watch.look()] == [0.5, 0.8, 1.0]
    assert watch.look() == []
    assert "request deadline broken" in caplog.messages
    assert "Anneveld" not in caplog.text
    assert Alarm.REQUESTS_OVERDUE in alarms
    assert watch.counters == {"request_warnings": 2, "request_deadlines_broken": 1}
    text = Metrics().render(Snapshot(requests=watch.counts)).decode()
    assert 'callvault_rights_requests{state="received"} 1.0' in text
    assert "callvault_rights_requests_overdue 1.0" in text
    desk.take(request, Step.REFUSE, now[0], ground="identity not established")
    watch.look()
    assert Alarm.REQUESTS_OVERDUE not in alarms
