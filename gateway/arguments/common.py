"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

Commands = argparse._SubParsersAction
"""Where commands are added, by `command`."""


def command(commands: Commands[argparse.ArgumentParser], name: str, run: str, text: str) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    made.set_defaults(run=run)
    return made


def configuration(command: argparse.ArgumentParser, default: str | None = None) -> None:
    file = "TOML file (or CALLVAULT_CONFIG)"
    command.add_argument("--config", type=Path, metavar="FILE", help=file, default=default)
    folder = "data folder, default ./callvault-data"
    command.add_argument("--data", type=Path, metavar="DIR", help=folder, default=default)


def api(command: argparse.ArgumentParser) -> None:
    command.add_argument("--url", help="the API's address (or CALLVAULT_URL), default http://127.0.0.1:8080")
    command.add_argument("--token", help="bearer token (or CALLVAULT_TOKEN, which other users cannot see)")
