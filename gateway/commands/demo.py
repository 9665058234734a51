"""`callvault demo`: the whole life of a call on embedded defaults, each step shown with its figure and verified."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.caller import CallFailed
from gateway.client import ApiError, Client
from gateway.commands import demo_steps as steps
from gateway.commands import speech
from gateway.errors import GatewayError, Unavailable
from storage.errors import StoreError

START_S = 60.0
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """A running `callvault serve`: where it is, and the fingerprint that its certificates are checked against."""

    folder: Path
    client: Client
    sip: tuple[str, int]
    pid: int
    fingerprint: str


@dataclass(slots=True)
class Report:
    """Prints the steps as they happen and keeps the figures."""

    figures: dict[str, object] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def step(self, text: str) -> None:
        """A step that has just been done."""
        sys.stdout.write(f"  {text}\n")
        sys.stdout.flush()

    def title(self, text: str) -> None:
        """What comes next."""
        sys.stdout.write(f"\n{text}\n")
        sys.stdout.flush()

    def verify(self, name: str, good: bool, text: str) -> None:
        """A step that can fail: it is shown, kept as a figure, and decides the exit status."""
        self.figures[name] = good
        if not good:
            self.failed.append(name)
        self.step(f"{'✓' if good else '✗ FAILED:'} {text}")


def command(arguments: argparse.Namespace) -> int:
    """Run the demonstration. Exit 0 only if every step was verified."""
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="callvault-demo-"))
    try:
        with running(folder, transcribe=not arguments.quick) as system:
            asyncio.run(show(report, system, quick=arguments.quick))
            report.figures["verified"] = not report.failed
            if arguments.json is not None:
                arguments.json.write_text(json.dumps(report.figures, indent=2) + "\n")
            _close(report)
            if not arguments.once:
                _stay(system)
    except (GatewayError, StoreError, CallFailed) as error:
        sys.stderr.write(f"callvault demo: {error}\n")
        return 1
    finally:
        if arguments.once:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if report.failed else 0


async def show(report: Report, system: Running, *, quick: bool) -> None:
    """All steps, in order."""
    client = system.client
    report.title("Speaking the dialogue (a packaged voice, in a pipe)")
    lines = speech.QUICK if quick else speech.DIALOGUE
    agent, caller = await asyncio.to_thread(speech.dialogue, lines)
    report.step(f"{len(lines)} utterances, {len(agent) / speech.RATE_HZ:.1f} s on two tracks")
    scripted = steps.Planned("scripted dialogue", "PCMA", (agent, caller))
    plans = [scripted]
    if not quick:
        clips = (speech.human("two_cities", 20), speech.human("beckett", 9))
        plans.append(steps.Planned("human speech", "PCMU", clips))
        report.step(
            f"{len(clips[0]) / speech.RATE_HZ:.0f} s and {len(clips[1]) / speech.RATE_HZ:.0f} s of human speech"
        )

    report.title("Calling (SIP and RTP over loopback, in real time)")
    with steps.follow(client) as events:
        placed = await steps.place(report, client, system.sip, plans, events)
    report.title("Downloading")
    for call in placed:
        await asyncio.to_thread(steps.download, report, client, call)
    if not quick:
        report.title("Transcribing and redacting")
        for call in placed:
            await asyncio.to_thread(steps.transcript, report, client, call, lines if call.plan is scripted else ())
    report.title("Erasing")
    await asyncio.to_thread(steps.erase, report, client, system.folder, system.fingerprint, placed)


@contextmanager
def running(folder: Path, *, transcribe: bool) -> Iterator[Running]:
    """`callvault serve` on a fresh folder, for as long as the context lasts."""
    sip_port, http_port = _free(socket.SOCK_DGRAM), _free(socket.SOCK_STREAM)
    environ = os.environ | {
        "CALLVAULT_DATA": str(folder / "data"),
        "CALLVAULT_STORE__CATALOGUE": "",  # in the data folder, of which a backup is taken
        "CALLVAULT_SIP__LISTEN": f"127.0.0.1:{sip_port}",
        "CALLVAULT_HTTP__LISTEN": f"127.0.0.1:{http_port}",
        "CALLVAULT_TRANSCRIPTION__WORKERS": "1" if transcribe else "0",
    }
    callvault = [sys.executable, "-m", "gateway.cli"]
    started = time.monotonic()
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 -- ourselves
            [*callvault, "serve"], env=environ, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    try:
        assert process.stdout is not None
        timer = threading.Timer(START_S, process.kill)
        timer.start()
        line = process.stdout.readline().decode()
        timer.cancel()
        if "ready" not in line:
            raise Unavailable(f"callvault serve did not start: {_tail(folder / 'serve.log')}")
        made = subprocess.run(  # noqa: S603
            [*callvault, "token", "create", "--role", "admin"],
            env=environ,
            capture_output=True,
            check=True,
            timeout=START_S,
        )
        token = made.stdout.decode().split()[-1]
        sys.stdout.write(f"callvault is up after {time.monotonic() - started:.1f} s in {folder}\n")
        token = _ask([*callvault, "token", "create", "--role", "admin"], environ).split()[-1]
        fingerprint = _ask([*callvault, "tenant"], environ).split()[2]
        client = Client(f"http://127.0.0.1:{http_port}", token)
        yield Running(folder, client, ("127.0.0.1", sip_port), process.pid, fingerprint)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _close(report: Report) -> None:
    if report.failed:
        report.title(f"NOT verified: {', '.join(report.failed)}")
    else:
        report.title("Every step was verified.")


def _ask(argv: list[str], environ: dict[str, str]) -> str:
    return subprocess.run(argv, env=environ, capture_output=True, check=True, timeout=START_S).stdout.decode()  # noqa: S603


def _stay(system: Running) -> None:
    client, sip, folder, pid = system.client, system.sip, system.folder, system.pid
    sys.stdout.write(
        f"\nStill up (process {pid}); Ctrl-C ends it.\n"
        f"  API    {client.url}/v1/calls   description: {client.url}/openapi.json\n"
        f"  token  {client.token}\n"
        f"  try    CALLVAULT_URL={client.url} CALLVAULT_TOKEN={client.token} callvault calls\n"
        f"         callvault call {sip[0]}:{sip[1]} YOUR.wav\n"
        f"  data   {folder}\n"
    )
    sys.stdout.flush()
    try:
        while True:
            time.sleep(5)
            client.get("/health/live")
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    except ApiError:
        sys.stdout.write("callvault serve has ended\n")


def _free(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
