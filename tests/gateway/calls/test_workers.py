"""Which media worker a new call goes to, when none takes it, and what is told of all of them together."""

from __future__ import annotations

from dataclasses import fields

import pytest

from gateway.calls.admission import BUSY_SECONDS, SILENCE_S, Busy
from gateway.calls.workers import AT_PRESENT, COUNTS, WORST, WORST_EVER, Workers
from gateway.policy import Tenant
from media.messages import Stats
from tests.gateway.calls.test_switchboard import Worker

REFUSING = Tenant.model_validate({"name": "default", "when_full": "refuse"})
UNRECORDED = Tenant.model_validate({"name": "default", "when_full": "unrecorded"})


def worker(*legs: int) -> Worker:
    return Worker(lambda _event: None, legs=set(legs))


def stats(*, busy: float = 0.1, full: bool = False, lag_ms: float = 0.0, packets: int = 0) -> Stats:
    return Stats(1.0, 2.0, packets, 1, lag_ms, 0.0, 0, full, busy)


def several(*each: Stats, seconds: int = BUSY_SECONDS) -> tuple[Workers, list[Worker]]:
    workers, links = Workers(), [worker() for _ in each]
    for link, told in zip(links, each, strict=True):
        workers.join(link)
        for second in range(seconds):
            workers.hear(link, told, float(second))
    return workers, links


def chosen(workers: Workers, policy: Tenant = REFUSING, now: float = BUSY_SECONDS) -> tuple[Worker, str]:
    link, why = workers.choose(policy, now)
    assert isinstance(link, Worker)
    return link, why


def test_a_call_goes_to_the_least_busy_and_among_equals_to_the_one_with_fewer_legs() -> None:
    workers, (first, second) = several(stats(busy=0.5), stats(busy=0.2))
    assert chosen(workers) == (second, "")
    workers, (first, second) = several(stats(busy=0.22), stats(busy=0.28))
    second.legs.add(1)
    assert chosen(workers) == (first, "")
    first.legs |= {2, 3}
    assert chosen(workers) == (second, "")


def test_calls_of_one_second_are_spread_before_anybody_has_told_anything() -> None:
    workers, links = several(stats(), stats(), stats(), seconds=0)
    for number in range(9):
        chosen(workers)[0].legs.add(number)
    assert [len(link.legs) for link in links] == [3, 3, 3]


def test_a_call_is_refused_only_when_no_worker_may_take_it() -> None:
    workers, (_, second) = several(stats(busy=0.9), stats(lag_ms=10.0))
    assert chosen(workers) == (second, "")
    second.dead = True
    with pytest.raises(Busy, match="limit"):
        chosen(workers)
    assert workers.least_busy is not None, "whom an emergency call goes to"


def test_a_worker_that_would_record_is_preferred_to_one_with_a_full_spool() -> None:
    workers, (first, second) = several(stats(full=True), stats(busy=0.7))
    assert chosen(workers, UNRECORDED) == (second, "")
    workers.leave(second)
    assert chosen(workers, UNRECORDED) == (first, "spool full")


def test_without_any_worker_nobody_is_taken() -> None:
    with pytest.raises(Busy, match="no media worker"):
        Workers().choose(REFUSING, 0.0)
    assert Workers().least_busy is None


def test_one_that_has_fallen_silent_gets_no_calls() -> None:
    workers, (_, second) = several(stats(busy=0.0), stats(busy=0.5))
    workers.hear(second, stats(busy=0.5), BUSY_SECONDS + SILENCE_S)
    assert chosen(workers, now=BUSY_SECONDS + SILENCE_S) == (second, "")


def test_totals_are_of_all_workers_and_never_fall_when_one_dies() -> None:
    workers, (first, _) = several(stats(packets=1000, lag_ms=5.0), stats(packets=500, busy=0.4, full=True))
    before = workers.stats
    assert before is not None
    assert (before.packets, before.legs, before.spool_lag_ms, before.busy, before.full) == (1500, 2, 5.0, 0.4, True)
    workers.leave(first)
    after = workers.stats
    assert after is not None
    assert (after.packets, after.legs, after.spool_lag_ms) == (1500, 1, 0.0)


def test_of_every_figure_it_is_said_how_those_of_several_workers_are_one() -> None:
    ways = (COUNTS, AT_PRESENT, WORST, WORST_EVER)
    assert sorted(name for way in ways for name in way) == sorted(entry.name for entry in fields(Stats))
