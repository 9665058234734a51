"""What a media worker is told at its start, and that it loads no more for it."""

from __future__ import annotations

import subprocess
import sys

from gateway.processes.media_told import MediaTold

LOADED = "import sys, gateway.processes.media; print(*{name.partition('.')[0] for name in sys.modules})"
NOT_ITS = {"pydantic", "sqlalchemy", "fastapi", "urllib3", "faster_whisper"}


def test_what_is_told_is_read_as_it_was_said() -> None:
    told = MediaTold("info", "/data/spool", 4, 1024, 8, 256, native=True)
    assert MediaTold.parse(told.encode()) == told


def test_a_media_worker_loads_neither_validation_nor_sql_nor_any_client() -> None:
    shown = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert "numpy" in shown.stdout.split()
    assert not NOT_ITS & set(shown.stdout.split())
