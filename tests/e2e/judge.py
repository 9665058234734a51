"""Runs sipp, and gives its verdict as numbers.

sipp sends a request again after 500 ms without an answer, so its count of retransmissions is a time by another name.
Such tests run alone on the machine (`-m alone`), and a run in which the host held even an idle process back is void.
"""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HOST = "127.0.0.1"
SCENARIOS = Path(__file__).parent / "sipp"
LIMIT_S = 120  # for one run; the longest takes about 25 s on an idle machine
RETRANSMISSIONS_MAX = "12"  # under loss: with sipp's own 7 one BYE in 30,000 would be given up

STALL_S_MAX = (
    0.2  # of T1's 500 ms: a machine that keeps a process waiting this long is not fit to judge answers by time
)
RUNS_MAX = 3

needs_sipp = pytest.mark.skipif(shutil.which("sipp") is None, reason="NO SIPP, NO JUDGE: apt-get install sip-tester")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The totals of a run, by sipp's count."""

    successful: int
    failed: int
    retransmissions: int


def sipp(
    port_called: int,
    folder: Path,
    scenario: Sequence[str],
    calls: int,
    *more: str,
    host: str = HOST,
    to: str = "",
) -> Verdict:
    """Runs sipp against a port on loopback, or on another host, until all calls are over."""
    family, called = (socket.AF_INET6, f"[{host}]") if ":" in host else (socket.AF_INET, to or host)
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    statistics = folder / "statistics.csv"
    command = ["sipp", *scenario, "-i", host, "-p", str(port), "-m", str(calls), "-nostdin", *more]
    command += ["-trace_stat", "-stf", str(statistics), "-timeout", f"{LIMIT_S}s", f"{called}:{port_called}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S + 10, check=False)
    with statistics.open() as lines:
        last = list(csv.DictReader(lines, delimiter=";"))[-1]
    assert done.returncode in (0, 1), done.stderr
    return Verdict(int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), int(last["Retransmissions(C)"]))


def undisturbed(run: Callable[[], Verdict]) -> Verdict:
    """The verdict of the first run on a machine that lets processes run; void runs are said and repeated.

    When no run was fit to be judged by time, its retransmissions are said aloud and not judged: calls always are.
    """
    for attempt in range(RUNS_MAX):
        with stalls() as longest:
            verdict = run()
        if verdict.retransmissions == 0 or longest() < STALL_S_MAX:
            return verdict
        print(f"VOID RUN {attempt + 1}: {verdict}, the machine stood still for {longest():.3f} s")
    message = f"{verdict.retransmissions} RETRANSMISSIONS NOT JUDGED: the machine stood still for {longest():.3f} s"
    warnings.warn(message, StalledMachine, stacklevel=2)
    return Verdict(verdict.successful, verdict.failed, 0)


class StalledMachine(Warning):
    """The machine was not fit for a verdict that rests on time."""


@contextmanager
def stalls(folder: Path | None = None) -> Iterator[Callable[[], float]]:
    """Measures how long, at most, a thread that does nothing but sleep was kept waiting; seconds.

    With a folder also how long the disk below it took, at most, to make a few bytes durable.
    """
    longest, done = 0.0, threading.Event()

    def watch() -> None:
        nonlocal longest
        before = time.monotonic()
        while not done.wait(0.01):
            now = time.monotonic()
            longest, before = max(longest, now - before - 0.01), now

    def sync(path: Path) -> None:
        nonlocal longest
        with path.open("wb") as file:
            while not done.wait(0.1):
                before = time.monotonic()
                file.write(b"x")
                file.flush()
                os.fdatasync(file.fileno())
                longest = max(longest, time.monotonic() - before)

    watchers = [threading.Thread(target=watch, daemon=True)]
    if folder is not None:
        watchers.append(threading.Thread(target=sync, args=(folder / "synced",), daemon=True))
    for watcher in watchers:
        watcher.start()
    try:
        yield lambda: longest
    finally:
        done.set()
        for watcher in watchers:
            watcher.join()
