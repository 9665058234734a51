"""Runs sipp, and gives its verdict as numbers."""

from __future__ import annotations

import csv
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

HOST = "127.0.0.1"
SCENARIOS = Path(__file__).parent / "sipp"
LIMIT_S = 120  # for one run; the longest takes about 25 s on an idle machine
RETRANSMISSIONS_MAX = "12"  # under loss: with sipp's own 7 one BYE in 30,000 would be given up

needs_sipp = pytest.mark.skipif(shutil.which("sipp") is None, reason="NO SIPP, NO JUDGE: apt-get install sip-tester")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The totals of a run, by sipp's count."""

    successful: int
    failed: int
    retransmissions: int


def sipp(port_called: int, folder: Path, scenario: Sequence[str], calls: int, *more: str) -> Verdict:
    """Runs sipp against a port on loopback until all calls are over."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    statistics = folder / "statistics.csv"
    command = ["sipp", *scenario, "-i", HOST, "-p", str(port), "-m", str(calls), "-nostdin", *more]
    command += ["-trace_stat", "-stf", str(statistics), "-timeout", f"{LIMIT_S}s", f"{HOST}:{port_called}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S + 10, check=False)
    with statistics.open() as lines:
        last = list(csv.DictReader(lines, delimiter=";"))[-1]
    assert done.returncode in (0, 1), done.stderr
    return Verdict(int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), int(last["Retransmissions(C)"]))
