"""A process of ours that dies leaves no memory behind, nor does what it starts."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.processes.guarding import may_lock

DIES = "import os; os.abort()"
PROTECTED = "from gateway.processes.guarding import protect_memory; protect_memory()\n"
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


def cores_of(folder: Path, program: str) -> list[Path]:
    """The core files that a program has left in a folder, where a soft limit keeps it from none."""
    folder.mkdir()
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    return list(folder.iterdir())


def test_up_06_a_process_that_is_killed_leaves_no_core_file(tmp_path: Path) -> None:
    assert cores_of(tmp_path / "ours", PROTECTED + DIES) == []
    child = f"import subprocess, sys; raise SystemExit(subprocess.call([sys.executable, '-c', {DIES!r}]))"
    assert cores_of(tmp_path / "child", PROTECTED + child) == []
    if CORE_PATTERN.read_text().startswith(("|", "/")) or resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("NO CONTROL: core files go elsewhere on this machine, or there are none")
    assert cores_of(tmp_path / "unprotected", DIES)


def test_up_06_a_protected_process_cannot_be_dumped() -> None:
    asked = "import ctypes, resource; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(4))"
    told = subprocess.run([sys.executable, "-c", PROTECTED + asked], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["0", "0", "0"]


LOCKS = """
import resource, sys
from gateway.processes.guarding import lock_memory
if sys.argv[1:] == ["limited"]:  # as whoever has neither the right nor the limit
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
    import ctypes
    libc = ctypes.CDLL(None)
    libc.prctl(24, 14)  # PR_CAPBSET_DROP, CAP_IPC_LOCK
    import os
    os.setuid(65534)
done = lock_memory()
held = bytearray(64 << 20)
print(done, *(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmLck")))
"""


@pytest.mark.parametrize("way", ["allowed", "limited"])
def test_memory_that_holds_calls_is_locked_where_it_may_be_and_nothing_fails_where_not(way: str) -> None:
    if os.getuid():
        pytest.skip("NOT RUN: only root may give rights away, or has them on any machine")
    if way == "allowed" and not may_lock(Path("/proc/self/status")):
        pytest.skip("NOT RUN: this machine lets nobody lock memory")
    told = subprocess.run([sys.executable, "-c", LOCKS, way], capture_output=True, text=True, check=True)
    done, locked_kib = told.stdout.split()
    assert (done, int(locked_kib) > 64 << 10) == (("True", True) if way == "allowed" else ("False", False))
