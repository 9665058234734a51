"""A real callvault for end-to-end tests: `callvault serve` as a process, on a folder and ports of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from gateway.client import ApiError, Client
from gateway.config import load
from gateway.processes.opening import open_recordings
from gateway.rights.orders import OPERATOR
from storage.model import TenantId
from storage.tokens import Role

Found = TypeVar("Found")

START_S = 60.0
STARTED = 19  # of the words behind the name in /proc/PID/stat: when it was started (proc(5), field 22)
STOP_S = 60.0


class System:
    """One running server. `kill` is a power cut for the gateway; `stop` is SIGTERM."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.sip = ("127.0.0.1", free_port())
        self.http = free_port()
        self.environ = os.environ | {
            "CALLVAULT_DATA": str(self.data),
            "CALLVAULT_SIP__LISTEN": f"127.0.0.1:{self.sip[1]}",
            "CALLVAULT_HTTP__LISTEN": f"127.0.0.1:{self.http}",
            "CALLVAULT_TRANSCRIPTION__WORKERS": "0",
            "CALLVAULT_STORE__SPOOL_FILE_MIB": "4",
        }
        self.environ |= environ
        self.process: subprocess.Popen[bytes] | None = None
        self.tokens: dict[tuple[str, str], str] = {}

    def start(self) -> None:
        """Start and wait until calls are taken."""
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "serve"],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        timer = threading.Timer(START_S, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        timer.cancel()
        assert b"ready" in line, self.log()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `callvault` command with this system's settings."""
        argv = [sys.executable, "-m", "gateway.cli", *arguments]
        return subprocess.run(argv, env=self.environ, capture_output=True, text=True, timeout=60, check=False)

    def client(self, tenant: str = "default", role: str = "admin") -> Client:
        """The API with a token of that tenant and role, made here: each command would load the whole store first."""
        key = (tenant, role)
        if key not in self.tokens:
            named = self.environ.get("CALLVAULT_CONFIG")
            settings = load(Path(named) if named else None, self.environ).settings
            with open_recordings(settings, node="cli") as recordings:
                of = TenantId(OPERATOR) if role == Role.OPERATOR.value else recordings.tenant(tenant)
                self.tokens[key] = recordings.tokens.create(of, Role(role), "")
        return Client(f"http://127.0.0.1:{self.http}", self.tokens[key])

    def children(self) -> dict[str, int]:
        """Process ids of the running children, by module or program name; of several of one name the oldest.

        So of media workers one that takes calls: the one that stands by is always the newest.
        """
        found: dict[str, int] = {}
        for name, pid in self.processes():
            found.setdefault(name, pid)
        return found

    def media_workers(self) -> list[int]:
        """Process ids of the media workers, those that take calls first."""
        return [pid for name, pid in self.processes() if name == "gateway.processes.media"]

    def processes(self) -> list[tuple[str, int]]:
        """Name and id of every running child, the oldest first."""
        assert self.process is not None
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if int(stat[1]) == self.process.pid and stat[0] != "Z":
                name = words[2].decode() if len(words) > 2 and words[1] == b"-m" else Path(words[0].decode()).name
                found.append((int(stat[STARTED]), name, int(entry.name)))
        return [(name, pid) for _, name, pid in sorted(found)]

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.terminate()
        return self.wait()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the gateway; its children end by themselves."""
        assert self.process is not None
        self.process.kill()
        self.wait()

    def log(self) -> str:
        """What the server logged."""
        return (self.folder / "serve.log").read_text(errors="replace")

    def wait(self) -> int:
        """The exit status, when the server has ended."""
        assert self.process is not None
        code = self.process.wait(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return code


@contextmanager
def running(folder: Path, **environ: str) -> Iterator[System]:
    """A started system; it is stopped at the end whatever happened."""
    system = System(folder, environ)
    system.start()
    try:
        yield system
    finally:
        if system.process is not None:
            system.stop()


def until(ask: Callable[[], Found | None], limit_s: float = 30.0) -> Found:
    """Ask again and again until there is an answer; fails after the limit."""
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit:
        found = ask()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing came within {limit_s} s")


def call_from(client: Client, user: str, *states: str) -> dict[str, Any] | None:
    """The newest call from that user, if it is in one of the states (any but live, if none is named)."""
    for row in client.json("/v1/calls?limit=50")["calls"]:
        if (row.get("detail") or {}).get("from") == user and (
            row["state"] in states or (not states and row["state"] != "live")
        ):
            found: dict[str, Any] = row
            return found
    return None


def status(client: Client, path: str) -> int:
    """The HTTP status of a GET."""
    try:
        client.get(path)
    except ApiError as error:
        return error.status
    return 200


def free_port() -> int:
    """A port that is free right now, for UDP and for TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as streams:
            datagrams.bind(("127.0.0.1", 0))
            port = int(datagrams.getsockname()[1])
            with suppress(OSError):
                streams.bind(("127.0.0.1", port))
                return port
