"""The outbox and the dead list: a job for each committed cause, and none that is lost, doubled or left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import Erased, NotFound
from storage.jobs import DEAD_AT_ONCE_MAX, REASON_CHARS_MAX
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, TenantId, new_id
from storage.recordings import Recordings
from storage.records import NewCall, Wanted
from tests.storage.stores import open_at

pytestmark = pytest.mark.usefixtures("database")

DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Recordings]:
    with open_at(tmp_path, clock=lambda: 3 * DAY_S) as opened:
        yield opened


def ended_call(store: Recordings, *jobs: str) -> NewCall:
    new = store.begin(store.tenant("acme"), CallId(new_id()), [Wanted(NO_PARTICIPANT, Kind.CALL_DETAIL, "quality")])
    store.save([new])
    store.put_documents(new, {}, CallState.ENDED, jobs=jobs)
    return new


@pytest.mark.postgresql("the order of rows")
def test_jobs_are_written_with_their_cause_and_read_oldest_first(store: Recordings) -> None:
    first, second = ended_call(store, "transcribe"), ended_call(store, "transcribe", "rate")
    rows = store.outbox_pending()
    assert [row.subject for row in rows] == ["transcribe", "transcribe", "rate"]
    assert [new.call.encode() in row.body for row, new in zip(rows, (first, second, second), strict=True)] == [True] * 3
    assert store.outbox_pending(2) == rows[:2]
    assert len({row.id for row in rows}) == store.jobs.waiting() == 3


@pytest.mark.postgresql("a transaction that is rolled back")
def test_a_change_that_cannot_be_made_leaves_no_job(store: Recordings) -> None:
    new = ended_call(store)
    store.erase_call(new.tenant, new.call, ground="request", actor="test")
    with pytest.raises(Erased):
        store.put_documents(new, {}, CallState.ENDED, jobs=["transcribe"])
    assert store.jobs.waiting() == 0


def test_only_what_was_sent_is_forgotten(store: Recordings) -> None:
    ended_call(store, "transcribe", "rate")
    first, second = store.outbox_pending()
    store.outbox_sent([first.id, "0" * 32])
    assert store.outbox_pending() == [second]


@pytest.mark.postgresql("uniqueness")
def test_a_dead_job_keeps_its_reason_and_day_and_stands_there_once(store: Recordings) -> None:
    new = ended_call(store)
    store.jobs.bury(new.tenant, new.call, "transcribe", "Unavailable", 20)
    store.jobs.bury(new.tenant, new.call, "transcribe", "X" * 1000, 21)
    (dead,) = store.jobs.dead()
    assert (dead.tenant, dead.call, dead.subject) == (new.tenant, new.call, "transcribe")
    assert (dead.reason, dead.deliveries, dead.day) == ("X" * REASON_CHARS_MAX, 21, "1970-01-04")
    assert store.jobs.dead_count() == 1


def test_a_dead_job_is_retried_as_a_new_one_or_dropped(store: Recordings) -> None:
    calls = [ended_call(store) for _ in range(2)]
    for new in calls:
        store.jobs.bury(new.tenant, new.call, "transcribe", "Unavailable", 20)
    retried, dropped = store.jobs.dead()
    assert store.jobs.retry(retried.id) == retried
    assert store.jobs.drop(dropped.id) == dropped
    assert store.jobs.dead() == []
    (row,) = store.outbox_pending()
    assert row.id != retried.id
    assert retried.call.encode() in row.body


@pytest.mark.parametrize("id", ["", "0" * 32, "no id at all; drop table"])
def test_an_unknown_dead_job_is_not_found(store: Recordings, id: str) -> None:
    with pytest.raises(NotFound):
        store.jobs.retry(id)
    with pytest.raises(NotFound):
        store.jobs.drop(id)


def test_erasing_a_call_ends_its_jobs_waiting_and_dead_and_none_comes_after(store: Recordings) -> None:
    new, other = ended_call(store, "transcribe"), ended_call(store, "transcribe")
    for each in (new, other):
        store.jobs.bury(each.tenant, each.call, "rate", "Unavailable", 20)
    store.erase_call(new.tenant, new.call, ground="request", actor="test")
    store.jobs.bury(new.tenant, new.call, "transcribe", "Unavailable", 20)
    assert [dead.call for dead in store.jobs.dead()] == [other.call]
    assert [other.call.encode() in row.body for row in store.outbox_pending()] == [True]


def test_a_job_of_no_call_of_that_tenant_is_not_kept(store: Recordings) -> None:
    new = ended_call(store)
    store.jobs.bury(TenantId(new_id()), new.call, "transcribe", "Unavailable", 20)
    store.jobs.bury(new.tenant, CallId(new_id()), "transcribe", "Unavailable", 20)
    assert store.jobs.dead() == []


def test_the_dead_list_has_a_longest_page(store: Recordings) -> None:
    new = ended_call(store)
    for number in range(3):
        store.jobs.bury(new.tenant, new.call, f"kind {number}", "Unavailable", 20)
    assert len(store.jobs.dead(2)) == 2
    assert len(store.jobs.dead(DEAD_AT_ONCE_MAX + 1)) == store.jobs.dead_count() == 3
