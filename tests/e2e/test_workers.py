"""kill -9 of one of two media workers in the middle of running calls: they go on, and little but what is named is gone.

How long nothing was received is read from the frames' own times. A machine that stands still loses more: what it
withheld meanwhile, of its processor or its disk, is allowed beside the promise. CALLVAULT_WORKER_SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.fleet import BLOCK_MS, Fleet, Kept, Placed, by_user, facts_of, kept_of, noise
from tests.e2e.judge import stalls
from tests.e2e.system import System, running, until

pytestmark = pytest.mark.alone

SEED = int(os.environ.pop("CALLVAULT_WORKER_SEED", "") or secrets.randbits(32))
CALLS = 12
SECONDS = 6.0
LOST_MS_MAX = 1000
RESUMED_MS_MAX = 2000


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("workers")
    with running(folder, CALLVAULT_MEDIA__WORKERS="2") as made:
        stands_by(made, 0)
        yield made


def stands_by(system: System, before: int) -> int:
    """Wait until a worker has said that it stands by, once more than so many times; how often it was said."""
    until(lambda: said(system) > before)
    return said(system)


def said(system: System) -> int:
    return system.log().count("media worker stands by")


def placed(prefix: str, count: int = CALLS, seconds: float = SECONDS) -> list[Placed]:
    calls = []
    for number in range(count):
        tracks = [noise(seconds, 1000 + 2 * number), noise(seconds, 1001 + 2 * number)]
        calls.append(Placed(f"{prefix}-{number}-", "1", tracks, after_s=0.05 * number))
    return calls


def rows_of(system: System, prefix: str, count: int) -> dict[str, dict[str, Any]]:
    """The calls' records, once all of them are closed."""
    client = system.client()

    def closed() -> dict[str, dict[str, Any]] | None:
        rows = by_user(client, prefix, 2 * count)
        over = all(row["state"] not in ("live", "ended") for row in rows.values())
        return rows if len(rows) == count and over else None

    return until(closed, 60.0)


def judge(system: System, call: Placed, row: dict[str, Any], stall_s: float) -> bool:
    """Hold a call's record against what was sent; whether it lost its worker."""
    client = system.client()
    assert call.result is not None, call.failure
    assert call.result.hung_up_by == "us", "the call was not let go on"
    lost_worker = False
    for track, sent in enumerate(call.tracks):
        kept = kept_of(client, row["id"], track, sent)
        assert kept.wrong == 0, "audio that was never sent"
        facts = facts_of(client, row["id"], track)
        lost = [gap for gap in facts["gaps"] if gap[2] == "worker_lost"]
        sent_ms = len(call.result.payloads[track]) // 8
        if row["state"] == "stored":
            assert not lost
            assert kept.blocks * BLOCK_MS == sent_ms
            continue
        lost_worker = True
        assert row["state"] == "interrupted"
        _judge_gaps(kept, facts, lost, stall_s)
        assert kept.until_ms == sent_ms  # and after the gap nothing is missing, to the end
        missing = row["detail"]["missing_ms"][track]
        assert missing == [round(at_us / 1000) for gap in lost for at_us in gap[:2]]
    return lost_worker


def _judge_gaps(kept: Kept, facts: dict[str, Any], lost: list[list[Any]], stall_s: float) -> None:
    """What lies between two pieces of a track: as long as it is named, and no longer than was promised."""
    allowed_ms = 1000 * stall_s
    assert len(lost) == len(kept.pieces) - 1 == len(facts["map"]) - 1
    for (before, after), gap in zip(pairwise(kept.pieces), lost, strict=True):
        lost_ms = (after[0] - before[1]) * BLOCK_MS
        named_ms = (gap[1] - gap[0]) / 1000
        print(f"lost {lost_ms} ms, named {named_ms:.0f} ms")
        assert 0 <= lost_ms <= LOST_MS_MAX + allowed_ms
        assert named_ms <= RESUMED_MS_MAX + allowed_ms
        assert named_ms == pytest.approx(lost_ms, abs=60 + allowed_ms)
    assert kept.pieces[0][0] == 0
    assert kept.blocks == sum(last - first for first, last in kept.pieces)


def reconciled(system: System) -> None:
    done = system.command("reconcile", "--json", "--settle", "1")
    report = json.loads(done.stdout)
    assert report["unexplained_total"] == 0, report["unexplained"]


def test_calls_of_a_killed_worker_go_on_in_the_spare_and_those_of_the_other_notice_nothing(system: System) -> None:
    chance = random.Random(SEED)
    print(f"\nCALLVAULT_WORKER_SEED={SEED}")
    calls = placed("kill")
    fleet = Fleet(system.sip, calls)
    with stalls(system.folder) as longest:
        fleet.start()
        time.sleep(chance.uniform(1.0, 4.0))
        before = said(system)
        os.kill(chance.choice(system.media_workers()[:2]), signal.SIGKILL)
        fleet.join()
        stands_by(system, before)
        stall_s = longest()
    rows = rows_of(system, "kill", CALLS)
    lost = sum(judge(system, call, rows[call.user], stall_s) for call in calls)
    assert 0 < lost < CALLS
    reconciled(system)


def test_a_call_that_loses_its_worker_twice_goes_on_twice(system: System) -> None:
    calls = placed("twice", 4, 8.0)
    fleet, before = Fleet(system.sip, calls), said(system)
    with stalls(system.folder) as longest:
        fleet.start()
        time.sleep(1.5)
        os.kill(system.media_workers()[0], signal.SIGKILL)
        stands_by(system, before)
        time.sleep(0.5)
        os.kill(system.media_workers()[1], signal.SIGKILL)  # which stood by before, and has the first one's calls
        stands_by(system, before + 1)
        fleet.join()
        stall_s = longest()
    rows = rows_of(system, "twice", 4)
    losers = [call for call in calls if judge(system, call, rows[call.user], stall_s)]
    assert losers
    assert all(len(rows[call.user]["detail"]["missing_ms"][0]) == 4 for call in losers)
    reconciled(system)


def test_a_worker_that_says_nothing_any_more_is_ended_and_its_calls_go_on(system: System) -> None:
    calls = placed("stuck", 4, 10.0)
    fleet = Fleet(system.sip, calls)
    with stalls(system.folder) as longest:
        fleet.start()
        time.sleep(2.0)
        os.kill(system.media_workers()[0], signal.SIGSTOP)
        fleet.join()
        stall_s = longest()
    rows = rows_of(system, "stuck", 4)
    assert any(judge(system, call, rows[call.user], stall_s) for call in calls)
    reconciled(system)


def test_calls_that_end_while_their_worker_is_stuck_are_received_to_their_end(system: System) -> None:
    calls = placed("ending", 4, 4.0)
    fleet, before = Fleet(system.sip, calls), said(system)
    with stalls(system.folder) as longest:
        fleet.start()
        time.sleep(3.0)
        stuck = system.media_workers()[0]
        os.kill(stuck, signal.SIGSTOP)
        fleet.join()  # what they say until they hang up waits in the sockets
        os.kill(stuck, signal.SIGKILL)
        stands_by(system, before)
        stall_s = longest()
    rows = rows_of(system, "ending", 4)
    assert any(judge(system, call, rows[call.user], stall_s) for call in calls)
    reconciled(system)
