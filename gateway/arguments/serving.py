"""Commands that run the program."""

from __future__ import annotations

import argparse
from pathlib import Path

from gateway.arguments.common import Commands, command, configuration


def server_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    serve = command(commands, "serve", "gateway.main:command", "take calls: SIP, media, sealing, API, all in one")
    serve.add_argument(
        "--media-workers", type=int, metavar="N", help="processes that receive media (media.workers), one core each"
    )
    configuration(serve)
    worker = command(
        commands, "worker", "gateway.processes.worker:command", "transcribe recordings, beside a running serve"
    )
    configuration(worker)
    demo = command(
        commands,
        "demo",
        "gateway.commands.demo:command",
        "start everything in a fresh folder and show a call's whole life",
    )
    demo.add_argument("--once", action="store_true", help="end after the steps; exit 0 only if every one was verified")
    demo.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    demo.add_argument("--quick", action="store_true", help="a short call, without transcription")
