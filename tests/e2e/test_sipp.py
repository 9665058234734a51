"""sipp as the judge: many real calls over loopback, clean, lossy, held, cancelled."""

from __future__ import annotations

import csv
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway.sip.harness import HOST, AnsweringServer

SCENARIOS = Path(__file__).parent / "sipp"
LIMIT_S = 120  # for one run; the longest takes about 25 s on an idle machine
RETRANSMISSIONS_MAX = "12"  # under loss: with sipp's own 7 one BYE in 30,000 would be given up

pytestmark = pytest.mark.skipif(shutil.which("sipp") is None, reason="NO SIPP, NO JUDGE: apt-get install sip-tester")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The totals of a run, by sipp's count."""

    successful: int
    failed: int
    retransmissions: int


def sipp(server: AnsweringServer, folder: Path, scenario: Sequence[str], calls: int, *more: str) -> Verdict:
    """Runs sipp against the server until all calls are over."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    statistics = folder / "statistics.csv"
    command = ["sipp", *scenario, "-i", HOST, "-p", str(port), "-m", str(calls), "-nostdin", *more]
    command += ["-trace_stat", "-stf", str(statistics), "-timeout", f"{LIMIT_S}s", f"{HOST}:{server.address[1]}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S + 10, check=False)
    with statistics.open() as lines:
        last = list(csv.DictReader(lines, delimiter=";"))[-1]
    assert done.returncode in (0, 1), done.stderr
    return Verdict(int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]), int(last["Retransmissions(C)"]))


def test_a_thousand_calls_at_fifty_a_second_without_failure_or_retransmission(tmp_path: Path) -> None:
    with AnsweringServer() as server:
        verdict = sipp(server, tmp_path, ["-sn", "uac"], 1000, "-r", "50", "-d", "100")
    assert verdict == Verdict(successful=1000, failed=0, retransmissions=0)
    assert (len(server.invited), len(server.ended), server.agent.dialogs) == (1000, 1000, 0)
    assert server.datagrams == {"in": 3000, "out": 4000}


def test_every_call_of_a_network_that_loses_15_percent_stands_and_ends_once(tmp_path: Path) -> None:
    loss = ("-lost", "15", "-max_retrans", RETRANSMISSIONS_MAX)
    with AnsweringServer() as server:
        verdict = sipp(server, tmp_path, ["-sf", str(SCENARIOS / "lossy.xml")], 200, "-r", "50", "-d", "500", *loss)
    assert (verdict.successful, verdict.failed) == (200, 0)
    assert verdict.retransmissions > 0
    assert len(server.invited) == 200
    assert server.ended == {dialog: ["bye"] for dialog in server.invited}


def test_calls_behind_a_proxy_are_held_and_resumed(tmp_path: Path) -> None:
    with AnsweringServer() as server:
        scenario = ["-sf", str(SCENARIOS / "hold_and_resume.xml")]
        verdict = sipp(server, tmp_path, scenario, 100, "-r", "50")
    assert verdict == Verdict(successful=100, failed=0, retransmissions=0)
    assert server.ended == {dialog: ["bye"] for dialog in server.invited}


def test_callers_who_hang_up_while_it_rings(tmp_path: Path) -> None:
    with AnsweringServer(answer=False) as server:
        verdict = sipp(server, tmp_path, ["-sf", str(SCENARIOS / "cancelled.xml")], 100, "-r", "50")
    assert verdict == Verdict(successful=100, failed=0, retransmissions=0)
    assert server.ended == {dialog: ["cancel"] for dialog in server.invited}
