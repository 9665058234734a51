"""kill -9 of every process at random moments of twenty running calls: each call ends in a record that is true.

CALLVAULT_CRASH_ROUNDS sets the number of rounds (3), CALLVAULT_CRASH_SEED repeats a run as far as chance allows. One
installation lives through all rounds, so that what one round leaves behind is met by the next.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.client import Client
from tests.e2e.fleet import BLOCK_MS, Fleet, Kept, Placed, by_user, kept_of, noise
from tests.e2e.judge import stalls
from tests.e2e.system import System, status, until

pytestmark = pytest.mark.alone

# Taken out of the environment: the server would ask what settings these are.
ROUNDS = int(os.environ.pop("CALLVAULT_CRASH_ROUNDS", "3"))
SEED = int(os.environ.pop("CALLVAULT_CRASH_SEED", "") or secrets.randbits(32))

CALLS = 20
TRANSCRIBED = 2  # of them: one core transcribes about ten seconds of audio a second
LOST_MS_MAX = 1000  # the promise
REFUSING_STALL_S = 1.0  # a disk that stood still so long may have done so for the 2 s after which calls are refused
SETTLE_S = 90.0  # uploads, recovery, manifests; some two seconds on an idle machine
TRANSCRIPTS_S = 300.0  # the queue gives a dead worker's job to another after 30 s

GATEWAY = "gateway"
MEDIA = "gateway.processes.media"
UPLOADER = "gateway.processes.uploader"
WORKER = "gateway.processes.worker"
QUEUE = "nats-server"
EVERYTHING = "everything"
TARGETS = (GATEWAY, MEDIA, UPLOADER, WORKER, QUEUE, EVERYTHING)
HARMFUL = (GATEWAY, MEDIA, EVERYTHING)  # whose death a call may notice

CONFIG = """
[[tenants]]
name = "plain"
transcribe = false

[[tenants]]
name = "texts"

[[trunks]]
name = "trunk"
tenant = "plain"
sources = ["127.0.0.1/32"]
dialled = { "9" = "texts" }
"""


@dataclass(slots=True)
class Round:
    """One round: who was killed when, and how the calls ended."""

    number: int
    target: str
    moment_s: float
    calls: list[Placed]
    killed_at: float = 0.0  # wall clock
    killed_mono: float = 0.0
    stall_s: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    lost_ms_max: int = 0

    def says(self) -> str:
        outcomes = ", ".join(f"{count} {state}" for state, count in sorted(self.outcomes.items()))
        return f"round {self.number}: {self.target} after {self.moment_s:.2f} s: {outcomes}; lost {self.lost_ms_max} ms"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    (tmp_path / "callvault.toml").write_text(CONFIG)
    made = System(
        tmp_path,
        {"CALLVAULT_CONFIG": str(tmp_path / "callvault.toml"), "CALLVAULT_TRANSCRIPTION__WORKERS": "1"},
    )
    made.start()
    yield made
    if made.process is not None:
        made.stop()


def test_every_call_is_accounted_for_whoever_dies_in_the_middle(system: System) -> None:
    chance = random.Random(SEED)
    print(f"\nCALLVAULT_CRASH_SEED={SEED} CALLVAULT_CRASH_ROUNDS={ROUNDS}")
    deck: list[str] = []
    texts: list[str] = []
    for number in range(ROUNDS):
        if not deck:
            deck = chance.sample(TARGETS, len(TARGETS))
        this = Round(number, deck.pop(), chance.uniform(0.1, 4.0), planned(number, chance))
        carry_out(system, this)
        texts += judge(system, this)
        print(this.says(), flush=True)
        report = reconcile(system, "--settle", "1")
        assert report["unexplained_total"] == 0, report["unexplained"]
    texted = system.client("texts")
    until(lambda: all(status(texted, f"/v1/calls/{call}/transcript") == 200 for call in texts), TRANSCRIPTS_S)
    system.stop()
    report = reconcile(system, "--settle", "0", "--hashes", "--sweep")
    assert report["unexplained_total"] == 0, report["unexplained"]
    assert not report["pending"], report["pending"]
    assert report["hashes_compared"] == report["objects"] >= report["slices"]
    print(f"at the end: {report['calls']}, {report['objects']} objects, {report['objects_swept']} swept")


def planned(number: int, chance: random.Random) -> list[Placed]:
    """Twenty calls that begin within a second and last some seconds, each with noise of its own."""
    calls = []
    for place in range(CALLS):
        seconds = chance.uniform(1.5, 4.5)
        seed = chance.randrange(1 << 30)
        tracks = [noise(seconds, seed), noise(seconds, seed + 1)]
        dialled = "9" if place < TRANSCRIBED else "1"
        calls.append(Placed(f"r{number}-{place}-", dialled, tracks, after_s=chance.uniform(0.0, 1.0)))
    return calls


def carry_out(system: System, this: Round) -> None:
    """The calls run, somebody is killed, the calls end; a gateway that was killed is started again."""
    fleet = Fleet(system.sip, this.calls)
    with stalls(system.folder) as longest:  # what the machine withheld, of its processor or its disk
        fleet.start()
        time.sleep(this.moment_s)
        children = until(lambda: _with_target(system.children(), this.target))
        this.killed_at, this.killed_mono = time.time(), time.monotonic()
        if this.target in (GATEWAY, EVERYTHING):
            for _, pid in system.processes() if this.target == EVERYTHING else ():
                os.kill(pid, signal.SIGKILL)
            system.kill()
            fleet.abandon()
        else:
            os.kill(children[this.target], signal.SIGKILL)
            fleet.join()
        this.stall_s = longest()
    if system.process is None:
        system.start()
    until(lambda: status(system.client("plain"), "/health/ready") == 200, SETTLE_S)


def _with_target(children: dict[str, int], target: str) -> dict[str, int] | None:
    """The children, once the one that is to die is among them: a restarted one takes a moment."""
    return children if target in (GATEWAY, EVERYTHING) or target in children else None


def judge(system: System, this: Round) -> list[str]:
    """Hold every call's record against what was sent; returns the calls that are to be transcribed."""
    clients = {"9": system.client("texts"), "1": system.client("plain")}
    rows: dict[str, dict[str, Any]] = {}

    def settled() -> bool:
        for client in clients.values():
            rows.update(by_user(client, f"r{this.number}-", 2 * CALLS))
        return all(row["state"] not in ("live", "ended") and _is_closed(row, clients) for row in rows.values())

    until(settled, SETTLE_S)
    texts = []
    for call in (call for call in this.calls if call.begun_at):  # not those called back before their turn came
        row = rows.get(call.user)
        refused = row is None and call.failure.startswith("call failed: 503")
        state = row["state"] if row is not None else "refused" if refused else "not there"
        this.outcomes[state] = this.outcomes.get(state, 0) + 1
        if refused:  # nothing was answered: no media worker, or a disk that does not keep up
            assert this.target in HARMFUL or this.stall_s > REFUSING_STALL_S, (this.says(), call.failure)
            continue
        if row is None:
            assert call.result is None, f"{call.user} was answered and ended, and there is no record of it"
            assert this.target in HARMFUL, (this.says(), call.failure)
            # The 200 goes out before anything is durable: what was answered in the last second may be gone whole.
            assert call.failure or call.begun_at > this.killed_at - LOST_MS_MAX / 1000 - this.stall_s, this.says()
            continue
        assert state in ("stored", "interrupted", "no_media"), (this.says(), row)
        lost_ms = max(
            _lost_ms(this, call, row, track, kept_of(clients[call.dialled], row["id"], track, call.tracks[track]))
            for track in range(2)
        )
        this.lost_ms_max = max(this.lost_ms_max, lost_ms)
        assert lost_ms <= (0 if state == "stored" else LOST_MS_MAX + 1000 * this.stall_s), (this.says(), row)
        assert state == "stored" or this.target in HARMFUL, (this.says(), row)
        if state == "interrupted":
            assert len(row["detail"]["missing_ms"]) == 2
        if call.dialled == "9" and state != "no_media":
            texts.append(row["id"])
    return texts


def _lost_ms(this: Round, call: Placed, row: dict[str, Any], track: int, kept: Kept) -> int:
    """Milliseconds that were sent in time and are not there."""
    assert kept.wrong == 0, f"{call.user} has audio that was never sent"
    if call.result is not None:
        sent_ms = len(call.result.payloads[track]) // 8
        went_on = this.target == MEDIA and call.result.hung_up_by == "us"  # another worker had its sockets
        if row["state"] != "stored" and not went_on:
            sent_ms = min(sent_ms, round(1000 * (this.killed_mono - call.result.answered_at)))
    else:
        answered = datetime.fromisoformat(row["detail"]["answered"]).timestamp()
        sent_ms = min(len(call.tracks[track]) // 8, round(1000 * (this.killed_at - answered)))
    return max(0, sent_ms - kept.blocks * BLOCK_MS)


def _is_closed(row: dict[str, Any], clients: dict[str, Client]) -> bool:
    """Whether its manifest is written: nothing of it changes any more."""
    client = clients["9" if row["detail"].get("to") == "9" else "1"]
    return status(client, f"/v1/calls/{row['id']}/manifest") == 200


def reconcile(system: System, *arguments: str) -> dict[str, Any]:
    """`callvault reconcile --json`; exit 1 is the caller's to judge."""
    done = system.command("reconcile", "--json", *arguments)
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report
