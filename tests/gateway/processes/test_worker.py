"""The transcription worker as a child: it ends with its parent, whenever that dies."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.config import Settings


@pytest.mark.parametrize("after_s", [0.0, 1.5])
def test_a_worker_whose_parent_dies_while_it_starts_ends(tmp_path: Path, after_s: float) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "gateway.processes.worker"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        assert worker.stdin is not None
        worker.stdin.write(Settings(data=tmp_path / "data").model_dump_json().encode() + b"\n")
        worker.stdin.flush()
        time.sleep(after_s)
        worker.stdin.close()
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()
