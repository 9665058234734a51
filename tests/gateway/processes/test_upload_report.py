"""What the uploader's process tells the gateway, and when."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stores import StoreServer, juicefs
from gateway.config import Settings
from gateway.processes.supervisor import LINE_BYTES_MAX
from gateway.processes.upload_report import AGAIN_S, CALLS_PER_LINE, FIGURES_S, Report
from storage.model import CallId, CallState, TenantId, new_id
from storage.puts import Uploads
from storage.uploader import Progress
from tests.storage.stores import audio_of, open_at, save_call
from tests.storage.stores import spool as spool_into

LIMIT_S = 60.0  # a second on an idle machine


def store_lines(report: Report, away_s: float | None, now_s: float) -> list[dict[str, object]]:
    return [line for line in report.lines(Progress(away_s=away_s), Uploads(), now_s) if "store" in line]


def test_absence_is_said_at_once_and_now_and_then_and_its_end_once() -> None:
    report = Report()
    assert store_lines(report, None, 100.0) == []
    assert store_lines(report, 0.5, 101.0) == [{"store": "away", "since_s": 0.5}]
    assert store_lines(report, 1.5, 102.0) == []
    assert store_lines(report, 0.5 + AGAIN_S, 101.0 + AGAIN_S) == [{"store": "away", "since_s": 0.5 + AGAIN_S}]
    assert store_lines(report, None, 200.5) == [{"store": "back", "after_s": 100.0}]
    assert store_lines(report, None, 300.0) == []
    assert store_lines(report, 0.0, 400.0) == [{"store": "away", "since_s": 0.0}]


def test_figures_are_said_when_they_change_and_not_too_often() -> None:
    report = Report()
    figures = {"count": 1, "failed": 0, "size": 10, "seconds": 0.5, "waiting_bytes": 7, "oldest_s": 0.25}
    progress = Progress(waiting_bytes=7, oldest_s=0.25)
    assert report.lines(progress, Uploads(1, 0, 10, 0.5), 0.0) == [{"uploads": figures}]
    assert report.lines(progress, Uploads(1, 0, 10, 0.5), 100.0) == []
    assert report.lines(progress, Uploads(2, 0, 20, 0.6), 101.0) == [
        {"uploads": figures | {"count": 2, "size": 20, "seconds": 0.6}}
    ]
    assert report.lines(progress, Uploads(3, 0, 30, 0.7), 101.0 + FIGURES_S / 2) == []
    assert report.lines(progress, Uploads(3, 0, 30, 0.7), 101.0 + FIGURES_S) != []


def test_many_stored_calls_make_lines_that_the_gateway_can_read() -> None:
    stored = [(TenantId(new_id()), CallId(new_id())) for _ in range(CALLS_PER_LINE * 2 + 1)]
    lines = [line for line in Report().lines(Progress(stored=stored), Uploads(), 0.0) if "stored" in line]
    assert [call for line in lines for call in line["stored"]] == stored  # type: ignore[attr-defined]  # it is a list
    assert max(len(json.dumps(line)) for line in lines) < LINE_BYTES_MAX


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    with juicefs(tmp_path / "server") as started:
        started.bucket("calls")
        yield started


@contextmanager
def uploader_process(tmp_path: Path, server: StoreServer) -> Iterator[subprocess.Popen[str]]:
    """With an ended call in its spool; killed at the end if it still runs, and after a limit in any case."""
    with open_at(tmp_path, objects=server.url("calls")) as store:
        call = save_call(store, store.tenant("acme"))
        spool_into(store, [(artefact, [b"audio"]) for artefact in audio_of(call)])
        store.put_documents(call, {}, CallState.ENDED)
    stores = {"keys": f"file:{tmp_path}/keys", "objects": server.url("calls")}
    settings = Settings.model_validate({"data": tmp_path / "data", "store": stores})
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.processes.uploader"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        try:
            assert process.stdin is not None
            process.stdin.write(settings.model_dump_json() + "\n")
            process.stdin.flush()
            yield process
        finally:
            limit.cancel()
            process.kill()


def test_process_says_that_the_store_is_away_and_back_and_what_it_stored(tmp_path: Path, server: StoreServer) -> None:
    server.stop()
    with uploader_process(tmp_path, server) as process:
        assert process.stdout is not None
        said: list[dict[str, Any]] = []
        for text in process.stdout:
            line = json.loads(text)
            said.append(line)
            if line.get("store") == "away" and len([one for one in said if "store" in one]) == 1:
                server.start()
            if "stored" in line:
                break
    assert [line["store"] for line in said if "store" in line] == ["away", "back"]
    assert len(said[-1]["stored"]) == 1


def test_process_that_nobody_listens_to_seals_what_is_left_and_ends(tmp_path: Path, server: StoreServer) -> None:
    with uploader_process(tmp_path, server) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.close()
        process.stdin.close()
        assert process.wait(LIMIT_S) == 0
    with open_at(tmp_path, objects=server.url("calls")) as store:
        assert len(list(store.objects.list())) == 2
