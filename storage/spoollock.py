"""Who serves a data folder, writes to its spool and uploads from it, held by `flock`.

One process serves and one uploads; the media workers of one server write side by side. A lock dies with its holder. A
second server would take the running calls of the first for what a crash left behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import Unavailable

SERVER_LOCK = "server.lock"
"""In the data folder; held by the gateway itself, so that a second one is refused before it touches anything."""
WRITER_LOCK = "writer.lock"
"""In the spool folder; shared by the media workers, which may outlive their gateway by some seconds."""
UPLOADER_LOCK = "uploader.lock"
"""The uploader takes it by itself; here it is only looked at."""
WRITER_WAIT_S = 12.0
"""A media worker whose gateway was killed commits what it has for up to ten seconds: its successor waits for that."""
_POLL_S = 0.05
_PID_BYTES_MAX = 16


@contextmanager
def writing(folder: Path, wait_s: float = WRITER_WAIT_S) -> Iterator[None]:
    """Be the spool's only writer, and sure that there is no other. `Unavailable`, naming one, if it does not go."""
    with _held(folder, WRITER_LOCK, wait_s):
        yield


@contextmanager
def writing_beside_others(folder: Path, wait_s: float = WRITER_WAIT_S) -> Iterator[None]:
    """Be one of the spool's writers. `Unavailable` if one that wants to be alone does not let go."""
    with _held(folder, WRITER_LOCK, wait_s, shared=True):
        yield


@contextmanager
def serving(data_folder: Path) -> Iterator[None]:
    """Be the only server on a data folder, for as long as it lasts. `Unavailable` at once, naming the other."""
    with _held(data_folder, SERVER_LOCK, 0.0):
        yield


def server_of(data_folder: Path) -> str:
    """Why a server cannot run on the data folder, because another does; empty if it can."""
    try:
        with serving(data_folder):
            return ""
    except Unavailable as error:
        return str(error)


def has_writer(folder: Path) -> bool:
    """Whether media workers are at work on the folder."""
    return _is_locked(folder / WRITER_LOCK)


def has_uploader(folder: Path) -> bool:
    """Whether an uploader is at work on the folder."""
    return _is_locked(folder / UPLOADER_LOCK)


@contextmanager
def _held(folder: Path, name: str, wait_s: float, *, shared: bool = False) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"folder {folder}: {error.strerror}") from error
    try:
        _take(descriptor, folder, wait_s, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        with suppress(OSError):  # a full disk: then whoever finds the lock taken is not told by whom
            os.pwrite(descriptor, f"{os.getpid():<{_PID_BYTES_MAX - 1}}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path, wait_s: float, kind: int) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, _PID_BYTES_MAX, 0).decode("ascii", "replace").strip() or "unknown"
                hint = "another callvault runs on this data folder; stop it, or give this one a folder of its own"
                raise Unavailable(f"folder {folder} is in use by process {holder}: {hint}") from None
            time.sleep(_POLL_S)
        else:
            return


def _is_locked(path: Path) -> bool:
    """An exclusive lock for a moment, since others may share it: who wants it meanwhile tries more than once."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
