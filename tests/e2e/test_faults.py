"""Bad days: processes killed, shutdown under load. Every call ends in a record that says what happened."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.caller import CallFailed, CallResult, Track, place_call
from gateway.client import Client
from media.codecs import g711
from tests.e2e.system import System, call_from, running, status, until
from tests.e2e.test_call import RATE_HZ, tone

LOST_MS_MAX = 1000


def in_background(system: System, user: str, seconds: float, results: list[CallResult | Exception]) -> threading.Thread:
    """A call that goes on while the test does something to the system."""

    def run() -> None:
        try:
            tracks = [Track(tone(seconds, 21)), Track(tone(seconds, 22))]
            results.append(asyncio.run(place_call(system.sip, tracks, from_user=user, to_user="100")))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def live(client: Client, user: str, results: list[CallResult | Exception]) -> dict[str, Any]:
    """The background call, as soon as it is live; its own failure is told as such."""

    def look() -> dict[str, Any] | None:
        if results and isinstance(results[0], Exception):
            raise results[0]
        return call_from(client, user, "live")

    return until(look)


def options(system: System) -> bytes:
    """The answer to an OPTIONS, as a load balancer asks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind(("127.0.0.1", 0))
        host, port = sock.getsockname()
        request = (
            f"OPTIONS sip:{host} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{port}\r\n"
            f"From: <sip:balancer@{host}>;tag=1\r\nTo: <sip:{host}>\r\nCall-ID: options-{port}\r\n"
            "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        sock.sendto(request.encode(), system.sip)
        return sock.recv(65535)


def stored_ms(system: System, call: str, seconds: float) -> float:
    """Milliseconds of the call's first track that can be downloaded; checks that they are the ones that were sent."""
    client = system.client()
    detail = client.json(f"/v1/calls/{call}")
    sent = g711.decode_alaw(g711.encode_alaw(tone(seconds, 21)))
    wav = np.frombuffer(client.get(f"/v1/calls/{call}/audio?track=0")[44:], "<i2")
    pieces = detail["tracks"][0]["track"]["facts"]["map"]
    start, end, at_us = pieces[0]
    offset = round(at_us * RATE_HZ / 1_000_000)
    count = end - start
    assert np.array_equal(wav[offset : offset + count], sent[:count])
    return float(1000 * count / RATE_HZ)


def test_after_kill_9_of_everything_the_call_is_interrupted_and_at_most_a_second_is_missing(tmp_path: Path) -> None:
    system = System(tmp_path, {})
    system.start()
    results: list[CallResult | Exception] = []
    client = system.client()
    in_background(system, "cut-off", 8.0, results)
    live(client, "cut-off", results)
    time.sleep(3.0)
    killed_at = time.monotonic()
    for _, pid in system.processes():
        os.kill(pid, signal.SIGKILL)
    system.kill()
    system.start()
    try:
        call = until(lambda: call_from(client, "cut-off"))
        assert call["state"] == "interrupted"
        # Packets were sent from the answer to the kill; the background caller measures neither, so take the detail's.
        missing = call["detail"]["missing_ms"]
        kept = stored_ms(system, call["id"], 8.0)
        assert len(missing) == 2
        assert missing[0][0] == pytest.approx(kept, abs=150)
        assert kept >= 3000 - LOST_MS_MAX
        assert time.monotonic() - killed_at < 30
    finally:
        system.stop()


def test_without_a_worker_that_stands_by_calls_end_as_interrupted_and_new_calls_are_taken(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        client = system.client()
        results: list[CallResult | Exception] = []
        caller = in_background(system, "worker-lost", 20.0, results)
        live(client, "worker-lost", results)
        time.sleep(2.0)
        for pid in reversed(system.media_workers()):
            os.kill(pid, signal.SIGKILL)
        caller.join(10)
        assert not caller.is_alive()  # hung up by us
        call = until(lambda: call_from(client, "worker-lost"))
        assert call["state"] == "interrupted"
        assert stored_ms(system, call["id"], 20.0) >= 2000 - LOST_MS_MAX
        until(lambda: status(client, "/health/ready") == 200)
        asyncio.run(place_call(system.sip, [Track(tone(1.0, 23))], from_user="afterwards", to_user="100"))
        assert until(lambda: call_from(client, "afterwards", "stored"))


def test_a_killed_uploader_is_restarted_and_nothing_is_lost(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        client = system.client()
        results: list[CallResult | Exception] = []
        caller = in_background(system, "uploader-lost", 4.0, results)
        live(client, "uploader-lost", results)
        os.kill(system.children()["gateway.processes.uploader"], signal.SIGKILL)
        caller.join(20)
        call = until(lambda: call_from(client, "uploader-lost", "stored"))
        assert stored_ms(system, call["id"], 4.0) == 4000


def test_sigterm_refuses_new_calls_drains_running_ones_and_seals_them(tmp_path: Path) -> None:
    system = System(tmp_path, {})
    system.start()
    client = system.client()
    results: list[CallResult | Exception] = []
    assert options(system).startswith(b"SIP/2.0 200 ")
    caller = in_background(system, "drained", 4.0, results)
    live(client, "drained", results)
    system.terminate()
    time.sleep(0.3)
    with pytest.raises(CallFailed, match="503"):
        asyncio.run(place_call(system.sip, [Track(tone(0.5, 24))], from_user="too-late", to_user="100"))
    assert options(system).startswith(b"SIP/2.0 503 ")
    caller.join(20)
    assert isinstance(results[0], CallResult)
    assert results[0].hung_up_by == "us"  # it was allowed to go on to its end
    assert system.wait() == 0
    system.start()
    try:
        call = until(lambda: call_from(client, "drained", "stored"))
        assert stored_ms(system, call["id"], 4.0) == 4000
    finally:
        system.stop()


def test_a_call_that_outlasts_the_drain_limit_is_ended_and_kept(tmp_path: Path) -> None:
    system = System(tmp_path, {"CALLVAULT_SIP__DRAIN_S": "1"})
    system.start()
    client = system.client()
    results: list[CallResult | Exception] = []
    caller = in_background(system, "cut-at-limit", 30.0, results)
    live(client, "cut-at-limit", results)
    assert system.stop() == 0
    caller.join(5)
    assert isinstance(results[0], CallResult)
    assert results[0].hung_up_by == "peer"
    system.start()
    try:
        call = until(lambda: call_from(client, "cut-at-limit", "stored"))
        assert stored_ms(system, call["id"], 30.0) >= 900
    finally:
        system.stop()


def test_start_reports_every_problem_at_once_and_exits_2(tmp_path: Path) -> None:
    system = System(tmp_path, {})
    (tmp_path / "not-a-folder").write_text("")
    system.environ["CALLVAULT_STORE__OBJECTS"] = f"file:{tmp_path / 'not-a-folder'}"
    system.environ["CALLVAULT_STORE__KEYS"] = f"file:{system.data / 'keys-inside'}"
    system.environ["CALLVAULT_SIP__LISTEN"] = "192.0.2.1:5060"
    done = system.command("serve")
    assert done.returncode == 2
    for part in ("object store", "key provider", "sip.listen"):
        assert part in done.stderr
    system.environ["CALLVAULT_SIP__LISEN"] = "x"
    done = system.command("serve")
    assert done.returncode == 2
    assert "sip.lisen: unknown key" in done.stderr


def test_a_second_server_on_the_same_data_folder_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        results: list[CallResult | Exception] = []
        client = system.client()  # its token takes a process, which a busy machine may not start within the call
        caller = in_background(system, "undisturbed", 4.0, results)
        live(client, "undisturbed", results)
        second = System(tmp_path, {})
        done = second.command("serve")
        assert done.returncode == 2
        assert "another callvault runs on this data folder" in done.stderr
        caller.join(20)
        call = until(lambda: call_from(client, "undisturbed", "stored"))
        assert stored_ms(system, call["id"], 4.0) == 4000
