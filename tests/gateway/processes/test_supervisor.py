"""Supervision: a child gets its settings, is started again when it dies, and ends when its parent's pipe does."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.processes.supervisor import Child

SCRIPT = """
import json, os, sys
settings = sys.stdin.readline().strip()
print(json.dumps({"settings": settings, "pid": os.getpid()}), flush=True)
sys.stdin.read()
print(json.dumps({"ended": os.getpid()}), flush=True)
"""


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    (tmp_path / "supervised_child.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return []


async def until(lines: list[dict[str, object]], count: int) -> None:
    async with asyncio.timeout(20):
        while len(lines) < count:
            await asyncio.sleep(0.02)


def test_a_child_is_restarted_when_it_dies_and_ends_with_its_pipe(lines: list[dict[str, object]]) -> None:
    async def work() -> None:
        child = Child("test", "supervised_child", '{"a": 1}', on_line=lines.append)
        task = asyncio.create_task(child.run())
        await until(lines, 1)
        first = lines[0]["pid"]
        assert lines[0]["settings"] == '{"a": 1}'
        assert isinstance(first, int)
        os.kill(first, signal.SIGKILL)
        await until(lines, 2)
        assert lines[1]["pid"] not in (first, None)
        assert child.restarts == 1
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert child.pid is None
        with pytest.raises(ProcessLookupError):
            os.kill(int(str(lines[1]["pid"])), 0)

    asyncio.run(work())
