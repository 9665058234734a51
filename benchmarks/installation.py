"""A whole callvault in a folder of its own, started for a benchmark and stopped after it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import processes
from gateway.client import Client
from storage.recordings import Recordings

TENANT = "default"
ADDRESS = "127.0.0.1"
READY_S = 90.0  # a busy machine imports numpy, cryptography and SQLAlchemy in four processes
STOP_S = 90.0  # drain_s and what sealing takes after it
LOG_LINES_SHOWN = 40
COMPLAINTS_MAX = 10
_READY = "callvault is ready"
_CALLVAULT = (sys.executable, "-m", "gateway.cli")


class NotRunning(Exception):
    """It did not start, or it ended; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A running callvault: where it is reached, and its gateway's process id."""

    data: Path
    sip: tuple[str, int]
    url: str
    token: str
    objects: str
    process: subprocess.Popen[bytes]

    @property
    def client(self) -> Client:
        """The API, with an admin's token."""
        return Client(self.url, self.token)

    def cpu(self) -> processes.Use:
        """CPU used so far, by role. Raises NotRunning."""
        if self.process.poll() is not None:
            raise NotRunning(_tail(self.data))
        return processes.cpu(self.process.pid)

    def pss_mb(self) -> dict[str, float]:
        """Memory in use, by role."""
        return processes.pss_mb(self.process.pid)

    def metric(self, name: str) -> float:
        """A metric of its own, summed over its labels. Raises OSError, and ValueError where there is none."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=READY_S) as answer:
            lines = answer.read().decode().splitlines()
        found = [float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        if not found:
            raise ValueError(f"there is no metric {name}")
        return sum(found)

    def complaints(self) -> list[str]:
        """What it has logged as warning or error, or not as a log event at all: the first few lines."""
        lines = _log(self.data).read_text(errors="replace").splitlines()
        return [line for line in lines if '"level": "info"' not in line and not line.startswith(_READY)][
            :COMPLAINTS_MAX
        ]

    @contextmanager
    def recordings(self) -> Iterator[Recordings]:
        """The store, opened by this process beside callvault's own: reading it costs callvault nothing."""
        opened = Recordings.open(self.data, f"file:{self.data}-keys", self.objects, node=f"benchmark-{os.getpid()}")
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def running(overrides: Mapping[str, object]) -> Iterator[Installation]:
    """Start `callvault serve` in a fresh folder, wait until it takes calls, and stop it in the end.

    `overrides` are configuration keys as the environment names them, without prefix: `TRANSCRIPTION__WORKERS`.
    TMPDIR chooses the disk. Raises NotRunning.
    """
    with TemporaryDirectory(prefix="callvault-benchmark-") as folder:
        data = Path(folder, "data")
        sip, http = free_port(), free_port()
        settings = {"SIP__LISTEN": f"{ADDRESS}:{sip}", "HTTP__LISTEN": f"{ADDRESS}:{http}", "SIP__CALLS_MAX": 20_000}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLVAULT_")}
        environment |= {f"CALLVAULT_{name}": str(value) for name, value in {**settings, **overrides}.items()}
        with _log(data).open("wb") as log:
            process = subprocess.Popen(
                [*_CALLVAULT, "serve", "--data", str(data)], env=environment, stdout=log, stderr=log
            )
        try:
            url = f"http://{ADDRESS}:{http}"
            _wait_until_ready(process, url, data)
            token = _token(data, environment)
            objects = str(overrides.get("STORE__OBJECTS", f"file:{data / 'objects'}"))
            yield Installation(data, (ADDRESS, sip), url, token, objects, process)
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, data: Path) -> None:
    deadline = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError, HTTPException):  # the last: the port connected to itself
            time.sleep(0.1)
    raise NotRunning(_tail(data))


def _token(data: Path, environment: Mapping[str, str]) -> str:
    command = [*_CALLVAULT, "token", "create", "--tenant", TENANT, "--role", "admin", "--data", str(data)]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=READY_S, check=False)
    if made.returncode != 0:
        raise NotRunning(made.stderr)
    return made.stdout.split()[-1]


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Free for UDP and for TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as streams:
            datagrams.bind((ADDRESS, 0))
            port: int = datagrams.getsockname()[1]
            with suppress(OSError):
                streams.bind((ADDRESS, port))
                return port


def _log(data: Path) -> Path:
    return data.with_name("log")


def _tail(data: Path) -> str:
    return "callvault is not running; its log ends:\n" + "\n".join(
        _log(data).read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    )
