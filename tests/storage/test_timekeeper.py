"""The clocks are looked at before anything is destroyed, and reads are refused by the latest of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage.clocks import Doubt, Heartbeat
from storage.errors import Erased, Unavailable
from storage.latest import AGAIN_S, LatestClock, latest
from storage.model import Kind, TenantId
from storage.policy.library import profile
from storage.policy.overrides import overridden
from storage.recordings import Recordings
from storage.records import NewCall
from storage.retention import last_night
from tests.storage.ages import DAY_S, Clock, aged, at
from tests.storage.stores import catalogue_at, open_at, stored_call

BEGAN = "2026-03-10T12:00"
END = "2026-06-10T00:00"
"""When call detail of the default policy ends, UTC."""


class Clocks:
    """What the database and the provider say, beside what the store goes by."""

    def __init__(self, store: Recordings, clock: Clock) -> None:
        self.database_off_s: float | None = None
        self.provider_off_s: float | None = None
        self.away = False
        self._clock = clock
        store._catalogue.clock = self.database  # type: ignore[method-assign]  # no second machine here
        store._base.provider.clock = self.provider  # type: ignore[method-assign]

    def database(self) -> int | None:
        return None if self.database_off_s is None else int(self._clock.now_s + self.database_off_s)

    def provider(self) -> int | None:
        if self.away:
            raise Unavailable("the provider does not answer")
        return None if self.provider_off_s is None else int(self._clock.now_s + self.provider_off_s)


@pytest.fixture
def clock() -> Clock:
    return Clock(at(BEGAN))


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Recordings]:
    with aged(tmp_path, clock) as opened:
        opened.adopt(opened.tenant("acme"), overridden(profile("default"), [], "UTC"))
        yield opened


@pytest.fixture
def others(store: Recordings, clock: Clock) -> Clocks:
    return Clocks(store, clock)


@pytest.fixture
def call(store: Recordings, tenant: TenantId) -> NewCall:
    return stored_call(store, tenant)


def opens(store: Recordings, call: NewCall) -> bool:
    try:
        return bool(store.document(call.tenant, call.find(Kind.CALL_DETAIL).ref.artefact))
    except Erased:
        return False


def doubts(store: Recordings) -> tuple[Doubt, ...]:
    return store.timekeeper.look().doubts


def test_clocks_within_a_minute_let_what_is_due_by_all_of_them_be_dropped(
    store: Recordings, others: Clocks, clock: Clock, call: NewCall
) -> None:
    others.database_off_s, others.provider_off_s = -30, 29
    clock.to(END)
    verdict = store.timekeeper.look()
    assert verdict.may_drop and store.expiry.run(verdict) == 0, "by the database's it is not due yet"
    assert not opens(store, call), "by the provider's it is"
    clock.now_s += 30
    assert store.expiry.run(store.timekeeper.look()) > 0


@pytest.mark.parametrize("off_s", [-61, 61, 2 * DAY_S])
def test_clocks_apart_drop_nothing_and_what_is_due_by_the_latest_is_refused(
    store: Recordings, others: Clocks, clock: Clock, call: NewCall, off_s: int
) -> None:
    others.database_off_s = off_s
    clock.now_s = at(END) + 10 - max(off_s, 0)  # the latest clock is ten seconds behind the end
    verdict = store.timekeeper.look()
    assert verdict.doubts == (Doubt.APART,)
    assert not opens(store, call)
    assert store.expiry.run(verdict) == 0


def test_a_clock_that_is_put_ahead_refuses_and_destroys_nothing_and_all_is_well_when_it_is_right_again(
    store: Recordings, clock: Clock, call: NewCall
) -> None:
    assert store.timekeeper.look().may_drop
    clock.now_s, clock.ahead_s = clock.now_s + 300, 400 * DAY_S
    verdict = store.timekeeper.look()
    assert verdict.doubts == (Doubt.JUMPED,)
    assert not opens(store, call) and store.expiry.run(verdict) == 0
    clock.now_s, clock.ahead_s = clock.now_s + 300, 0
    assert doubts(store) == (Doubt.WENT_BACK,)
    assert not opens(store, call), "nobody knows yet which was right"
    for _ in range(13):
        clock.now_s += 300
        verdict = store.timekeeper.look()
    assert verdict.may_drop and opens(store, call)
    assert store.expiry.run(verdict) == 0


def test_a_provider_that_does_not_tell_its_time_is_a_doubt(store: Recordings, others: Clocks) -> None:
    others.away = True
    assert doubts(store) == (Doubt.SILENT,)
    others.away = False
    assert doubts(store) == ()


def test_the_clock_of_a_tenants_own_provider_must_agree_as_well(
    store: Recordings, others: Clocks, clock: Clock, call: NewCall
) -> None:
    own = store._base.provider.behind(call.tenant)
    own.clock = lambda: int(clock.now_s) - 3600  # type: ignore[method-assign]
    clock.to("2026-06-11T12:00")
    verdict = store.timekeeper.look()
    assert verdict.may_drop and store.expiry.run(verdict) == 0
    own.clock = lambda: int(clock.now_s) - 5  # type: ignore[method-assign]
    assert store.expiry.run(verdict) > 0


def test_another_process_refuses_by_the_heartbeat_that_it_finds(
    store: Recordings, others: Clocks, clock: Clock, call: NewCall, tmp_path: Path
) -> None:
    clock.now_s = at(END) - DAY_S
    with open_at(tmp_path, clock=clock) as other:
        assert opens(other, call)
    others.database_off_s = 2 * DAY_S
    store.timekeeper.look()
    with open_at(tmp_path, clock=clock) as other:
        assert not opens(other, call)


def test_the_heartbeat_is_read_once_a_minute(tmp_path: Path) -> None:
    catalogue, steady, reads = catalogue_at(tmp_path), [0.0], list[float]()
    original = catalogue.reading

    def reading() -> Any:
        reads.append(steady[0])
        return original()

    catalogue.reading = reading  # type: ignore[method-assign]
    found = LatestClock(catalogue, lambda: 1000.0, lambda: steady[0])
    assert [found() for _ in range(5)] == [1000.0] * 5 and len(reads) == 1
    steady[0] = AGAIN_S
    assert found() == 1000.0 and len(reads) == 2
    found.hear(Heartbeat(1000, 1, "b", 5000))
    assert found() == 5000.0 and len(reads) == 2
    catalogue.close()


def test_the_latest_clock_goes_on_between_two_looks() -> None:
    beat = Heartbeat(host_s=1000, uptime_s=1, boot="b", latest_s=1500)
    assert latest(1000.5, None) == 1000.5
    assert latest(1000.0, beat) == 1500 and latest(1100.5, beat) == 1600.5
    assert latest(400.0, beat) == 1500, "the host's went back since"
    assert latest(1100.0, Heartbeat(1000, 1, "b", 1000)) == 1100


@pytest.mark.parametrize(
    ("now", "zone", "night"),
    [
        ("2026-03-10T12:00", "UTC", "2026-03-10T03:00"),
        ("2026-03-10T02:59:59", "UTC", "2026-03-09T03:00"),
        ("2026-03-10T03:00", "UTC", "2026-03-10T03:00"),
        ("2026-03-29T01:00", "Europe/Amsterdam", "2026-03-29T01:00"),  # 02:00 does not exist, 03:00 does
        ("2026-10-25T01:30", "Europe/Amsterdam", "2026-10-24T01:00"),  # 02:30 for the second time
        ("2026-10-25T02:00", "Europe/Amsterdam", "2026-10-25T02:00"),
        ("2026-03-10T09:00", "America/Los_Angeles", "2026-03-09T10:00"),
        ("2026-03-10T12:00", "Pacific/Kiritimati", "2026-03-09T13:00"),
    ],
)
def test_the_last_night_is_three_oclock_in_the_zone(now: str, zone: str, night: str) -> None:
    assert last_night(at(now), zone) == at(night)


def test_what_is_due_waits_for_the_night_and_shares_it(store: Recordings, clock: Clock, tenant: TenantId) -> None:
    stored_call(store, tenant)
    clock.now_s += DAY_S
    stored_call(store, tenant)
    clock.to("2026-06-10T02:59")
    assert store.expiry.run(store.timekeeper.look(), nightly=True) == 0
    assert store.expiry.standing().oldest_s == at("2026-06-10T00:00")
    clock.to("2026-06-10T03:00")
    assert store.expiry.run(store.timekeeper.look(), nightly=True) > 0
    clock.to("2026-06-14T01:00")  # the machine was off for days: at once
    assert store.expiry.run(store.timekeeper.look(), nightly=True) > 0
    assert store.expiry.standing() == type(store.expiry.standing())(0, None)
