"""Who serves a data folder, writes to its spool and uploads from it: one process each, held by `flock`.

The lock dies with its holder. Two writers would fill the folder past the limit that each of them keeps, and a second
server would take the running calls of the first for what a crash left behind.
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
"""In the spool folder; held by the media worker, which may outlive its gateway by some seconds."""
UPLOADER_LOCK = "uploader.lock"
"""The uploader takes it by itself; here it is only looked at."""
WRITER_WAIT_S = 12.0
"""A media worker whose gateway was killed commits what it has for up to ten seconds: its successor waits for that."""
_POLL_S = 0.05
_PID_BYTES_MAX = 16


@contextmanager
def writing(folder: Path, wait_s: float = WRITER_WAIT_S) -> Iterator[None]:
    """Be the spool's writer, or be sure that there is none. `Unavailable`, naming the other, if it does not go."""
    with _held(folder, WRITER_LOCK, wait_s):
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
    """Whether a media worker is at work on the folder."""
    return _is_locked(folder / WRITER_LOCK)


def has_uploader(folder: Path) -> bool:
    """Whether an uploader is at work on the folder."""
    return _is_locked(folder / UPLOADER_LOCK)


@contextmanager
def _held(folder: Path, name: str, wait_s: float) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"folder {folder}: {error.strerror}") from error
    try:
        _take(descriptor, folder, wait_s)
        with suppress(OSError):  # a full disk: then whoever finds the lock taken is not told by whom
            os.pwrite(descriptor, f"{os.getpid():<{_PID_BYTES_MAX - 1}}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, _PID_BYTES_MAX, 0).decode("ascii", "replace").strip() or "unknown"
                hint = "another callvault runs on this data folder; stop it, or give this one a folder of its own"
                raise Unavailable(f"folder {folder} is in use by process {holder}: {hint}") from None
            time.sleep(_POLL_S)
        else:
            return


def _is_locked(path: Path) -> bool:
    """A shared lock for a moment: whoever wants the exclusive one tries more than once."""
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    return False
