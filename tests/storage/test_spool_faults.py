"""The spool on bad disks: full, read-only, slow, unreadable in one place; and what it says of the danger."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.errors import Unavailable
from storage.objects.folder import FolderStore
from storage.spool import SpoolWriter
from storage.spoolfile import scan, spool_files
from storage.spoolview import look
from storage.uploader import RETRY_S_MAX, Uploader
from tests.storage.spooling import MemorySlices, durable, make_key, make_ref, until, write_stream

SMALL = 1 << 20
UNREADABLE = Path("/proc/self/mem")
"""Reading its first page is a real input/output error."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("NO DISK OF OUR OWN: mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def slices(tmp_path: Path) -> MemorySlices:
    return MemorySlices(FolderStore(tmp_path / "objects"))


def run_steps(uploader: Uploader, at_s: float = 0.0) -> None:
    for _ in range(5):
        progress = uploader.step(at_s)
    assert not progress.busy


def test_full_disk_is_told_and_what_waits_in_memory_is_written_when_there_is_room(disk: Path) -> None:
    ref, spool = make_ref(), disk / "spool"
    with SpoolWriter(spool, node="n1", file_bytes=SMALL, commit_s=0.01) as writer:
        writer.open(1, ref, make_key(ref))
        writer.release(1)
        ballast = disk / "ballast"
        with ballast.open("wb") as file, pytest.raises(OSError, match="No space"):
            while True:
                os.write(file.fileno(), bytes(65_536))
        pieces = [os.urandom(100_000) for _ in range(15)]
        for number, piece in enumerate(pieces):
            writer.append(1, number, number + 1, piece)
        until(lambda: writer.health().full)
        assert writer.health().exposure_ms > 0
        assert writer.health().dropped == 0
        ballast.unlink()
        writer.close(1)
        durable(writer, [1])
        health = writer.health()
        assert not health.full
        assert health.exposure_ms == 0
        assert health.exposure_ms_max > 0
    assert sum(1 for path in spool_files(spool) for _ in scan(path)) == 16


def test_read_only_disk_is_unavailable_at_start_and_says_so(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(Unavailable, match="Read-only"):
        SpoolWriter(disk / "spool", node="n1").start()
    assert look(disk / "spool").files == ()


def test_read_only_disk_holds_the_uploader_off_and_drops_nothing(disk: Path, slices: MemorySlices) -> None:
    ref, spool = make_ref(), disk / "spool"
    slices.add(ref)
    write_stream(spool, ref, [b"audio"])
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with Uploader(spool, slices, slices.objects) as uploader:
        assert "Read-only" in str(uploader.step(0.0).held)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        run_steps(uploader, 1000.0)
    assert [data for *_, data in slices.plaintext(ref)] == [b"audio"]


def test_file_that_cannot_be_read_holds_up_its_own_run_alone(tmp_path: Path, slices: MemorySlices) -> None:
    """The run's later files wait: what they have would otherwise be taken for all there is."""
    spool, refs = tmp_path / "spool", [make_ref(), make_ref()]
    for ref in refs:
        slices.add(ref)
    with SpoolWriter(spool, node="n1", file_bytes=4096, commit_s=0.01) as writer:
        writer.open(1, refs[0], make_key(refs[0]))
        writer.release(1)
        for number in range(12):
            writer.append(1, number, number + 1, bytes(1000))
        writer.close(1)
        durable(writer, [1])
    bad, *later = spool_files(spool)
    assert len(later) >= 3
    write_stream(spool, refs[1], [b"other"])
    kept = bad.rename(tmp_path / "kept")
    bad.symlink_to(UNREADABLE)
    with Uploader(spool, slices, slices.objects) as uploader:
        progress = [uploader.step(float(now_s)) for now_s in range(3)]
        assert [step.unreadable for step in progress] == [1, 1, 1]
        assert slices.completed == {refs[1].artefact: False}
        assert slices.rows[refs[0].artefact] == []
        assert [file.fault for file in look(spool).files if file.fault] == ["spool file: Input/output error"]
        bad.unlink()
        kept.rename(bad)
        run_steps(uploader, 100.0)
        assert slices.completed == {refs[0].artefact: False, refs[1].artefact: False}
        assert [start for start, *_ in slices.plaintext(refs[0])] == list(range(12))
        assert spool_files(spool) == []


def test_records_that_cannot_be_read_hold_up_their_stream_alone(tmp_path: Path, slices: MemorySlices) -> None:
    """The disk fails after the records' heads were read: their file is made to answer with an input/output error."""
    spool, refs = tmp_path / "spool", [make_ref(), make_ref()]
    for ref in refs:
        slices.add(ref)
    write_stream(spool, refs[0], [b"audio"])
    (bad,) = spool_files(spool)
    with Uploader(spool, slices, slices.objects) as uploader:
        slices.away = True
        assert uploader.step(0.0).held == "the catalogue is away"
        slices.away = False
        write_stream(spool, refs[1], [b"other"])
        with _failing(bad):
            assert uploader.step(100.0).held == f"artefact {refs[0].artefact}: spool file: Input/output error"
            progress = uploader.step(101.0)
            assert (progress.held, progress.held_streams) == (None, 1), "it is left alone for a while"
            assert slices.completed == {refs[1].artefact: False}
            assert slices.manifests == [refs[1].call]
            assert spool_files(spool) == [bad]
        run_steps(uploader, 101.0 + RETRY_S_MAX)
    assert [data for *_, data in slices.plaintext(refs[0])] == [b"audio"]
    assert spool_files(spool) == []


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    """Everyone in this process who has the file open reads errors instead."""
    held = [int(entry.name) for entry in Path("/proc/self/fd").iterdir() if _leads_to(entry, path)]
    kept = [os.dup(fd) for fd in held]
    bad = os.open(UNREADABLE, os.O_RDONLY)
    for fd in held:
        os.dup2(bad, fd)
    yield
    for fd, before in zip(held, kept, strict=True):
        os.dup2(before, fd)
        os.close(before)
    os.close(bad)


def _leads_to(link: Path, path: Path) -> bool:
    try:
        return link.readlink() == path
    except OSError:
        return False


def test_exposure_is_the_age_of_the_oldest_record_that_a_power_cut_would_take(tmp_path: Path) -> None:
    ref, other, now = make_ref(), make_ref(), [100.0]
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=60.0, clock=lambda: now[0]) as writer:
        assert writer.health().exposure_ms == 0
        writer.open(1, ref, make_key(ref))
        writer.append(1, 0, 1, b"before its key row is durable")
        now[0] += 0.3
        writer.open(2, other, make_key(other))
        writer.append(2, 0, 1, b"later")
        now[0] += 0.2
        assert writer.health().exposure_ms == pytest.approx(500)
        writer.discard(1)
        assert writer.health().exposure_ms == pytest.approx(200)
        writer.release(2)
        assert writer.health().exposure_ms == pytest.approx(500), "since the last commit, as nobody knows better"
        now[0] += 1.0
        writer.close(2)
        durable(writer, [2])
        assert writer.health().exposure_ms == 0
        assert writer.health().exposure_ms_max == pytest.approx(1500)


def test_view_tells_files_runs_and_streams_apart(tmp_path: Path) -> None:
    refs = [make_ref(), make_ref()]
    write_stream(tmp_path, refs[0], [b"one", b"two"])
    (tmp_path / "stray.spool").write_bytes(b"what is this")
    with SpoolWriter(tmp_path, node="n1", file_bytes=SMALL, commit_s=0.01) as writer:
        writer.open(1, refs[1], make_key(refs[1]))
        writer.release(1)
        writer.append(1, 0, 1, b"three")
        until(lambda: (refs[1].artefact, writer.run) in look(tmp_path).streams)
        view = look(tmp_path)
        assert view.live_runs == {writer.run}
        by_run = {file.run: file for file in view.files}
        assert by_run[writer.run].written_to
        assert by_run[writer.run].size == SMALL
        assert by_run[""].fault == "not a spool file"
        finished = next(file for run, file in by_run.items() if run not in ("", writer.run))
        assert (finished.records, finished.broken, finished.written_to) == (3, 0, False)
        done = next(stream for stream in view.streams.values() if stream.artefact == refs[0].artefact)
        assert (done.records, done.first_seq, done.last_seq, done.ended) == (2, 0, 1, True)
        going_on = view.streams[refs[1].artefact, writer.run]
        assert (going_on.records, going_on.ended) == (1, False)
