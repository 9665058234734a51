"""One writer to a spool folder: a second one is told by whom it is held, and a dead one holds nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import Unavailable
from storage.spoollock import has_uploader, has_writer, server_of, serving, writing, writing_beside_others

HOLDER = """
import sys, time
from pathlib import Path
from storage.spoollock import writing
with writing(Path(sys.argv[1]), 0.0):
    print("held", flush=True)
    time.sleep(600)
"""


def test_second_writer_is_refused_and_told_which_process_is_the_first(tmp_path: Path) -> None:
    with (
        writing(tmp_path),
        pytest.raises(Unavailable, match=f"process {os.getpid()}.*another callvault"),
        writing(tmp_path, wait_s=0.0),
    ):
        raise AssertionError("both write")


def test_writers_of_one_server_work_side_by_side_and_keep_others_out(tmp_path: Path) -> None:
    with writing_beside_others(tmp_path, 0.0), writing_beside_others(tmp_path, 0.0):
        assert has_writer(tmp_path)
        with pytest.raises(Unavailable, match="another callvault"), writing(tmp_path, wait_s=0.0):
            raise AssertionError("somebody thinks that there is nobody")
    with (
        writing(tmp_path, wait_s=0.0),
        pytest.raises(Unavailable, match="another callvault"),
        writing_beside_others(tmp_path, 0.0),
    ):
        raise AssertionError("one that wants to be alone is not")


def test_writer_is_seen_while_it_writes_and_not_afterwards(tmp_path: Path) -> None:
    assert not has_writer(tmp_path / "not there yet")
    with writing(tmp_path / "new" / "spool"):
        assert has_writer(tmp_path / "new" / "spool")
        assert not has_uploader(tmp_path / "new" / "spool")
    assert not has_writer(tmp_path / "new" / "spool")


def test_successor_waits_for_a_predecessor_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Unavailable, match=str(holder.pid)), writing(tmp_path, wait_s=0.0):
            raise AssertionError("both write")
        holder.send_signal(signal.SIGKILL)
        with writing(tmp_path):
            assert has_writer(tmp_path)


def test_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable), writing(tmp_path / "file" / "spool"):
        raise AssertionError("it cannot be written")


def test_second_server_is_told_why_before_it_touches_anything(tmp_path: Path) -> None:
    assert server_of(tmp_path) == ""
    with serving(tmp_path):
        assert "another callvault" in server_of(tmp_path)
        with writing(tmp_path / "spool"):  # the server's own media worker
            assert has_writer(tmp_path / "spool")
    assert server_of(tmp_path) == ""
