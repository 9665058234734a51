"""How long callers wait for an answer when many come: `python -m benchmarks.setups [--rate 100] [--json FILE]`.

Calls of two tracks without media, so many a second, each held for a moment and hung up; on a whole callvault. Set-up is
INVITE on the wire → 200 received, keys, ports and media legs included. The callers are a process of their own, that
does nothing else; what it sent late is said, since a late caller measures himself.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import installation, machine, report
from benchmarks.rounds import KIND, WAIT_S
from benchmarks.signalling import CALLER_ADDRESS, Call, Callers, make_calls

BATCH_S = 0.2  # of callers who hang up together: so long does a call stand


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 when every call was answered and ended."""
    arguments = _arguments(argv)
    where = machine.describe()
    print(report.heading(f"Set-up at {arguments.rate:g} calls a second, in milliseconds", where))
    result = run(arguments.rate, arguments.seconds)
    print(_table(result))
    report.write(arguments.json, {"machine": where, **result})
    return 1 if result["failures"] else 0


def run(rate: float, seconds: float) -> dict[str, object]:
    """One load on a fresh installation."""
    calls = make_calls(KIND, 0, round(rate * seconds))
    batch = max(1, round(rate * BATCH_S))
    with (
        installation.running({"TRANSCRIPTION__WORKERS": 0}) as running,
        contextlib.closing(Callers(CALLER_ADDRESS, running.sip)) as callers,
    ):
        before, callvault, own_s = machine.load(), running.cpu(), time.process_time()
        callers.call(calls, rate)
        for first in range(0, len(calls), batch):
            last = calls[min(first + batch, len(calls)) - 1]
            callers.run(functools.partial(_answered, last), WAIT_S)
            callers.hang_up(calls[first : first + batch], rate)
        callers.run(lambda: all(call.state in ("over", "failed") for call in calls), WAIT_S)
        used = running.cpu()
        shares = machine.disturbance(
            before, machine.load(), used.total_s - callvault.total_s + time.process_time() - own_s
        )
        complaints = running.complaints()
    answered = [call for call in calls if call.answered_ns]
    return {
        "rate": rate,
        "calls": len(calls),
        "setup_ms": report.percentiles([call.setup_ms for call in answered]),
        "repeated": sum(call.repeated for call in calls),
        "cpu_ms_per_call": round(1000 * (used.total_s - callvault.total_s) / len(calls), 2),
        "failures": [call.failure for call in calls if call.failure],
        "machine_load": shares,
        "remarks": machine.objections(shares),
        "log": complaints,
    }


def _answered(call: Call) -> bool:
    return call.state not in ("new", "inviting")


def _table(result: dict[str, object]) -> str:
    found = result["setup_ms"]
    assert isinstance(found, dict)
    row = ["setup", *(found.get(column, "none") for column in ("p50", "p95", "p99", "count"))]
    names = ("repeated", "cpu_ms_per_call", "failures", "remarks", "log")
    lines = [report.table(["", "p50", "p95", "p99", "count"], [row])]
    return "\n".join([*lines, *(f"{name:<22} {result[name]}" for name in names)])


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.setups", description="How long set-up takes.")
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long they come")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
