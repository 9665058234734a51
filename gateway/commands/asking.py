"""The commands that ask a running server and need nothing of the store, so that they load nothing of it."""

from __future__ import annotations

import argparse
import json
import sys
import zoneinfo
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gateway.client import ApiError, Client


def calls(arguments: argparse.Namespace) -> int:
    """List calls, newest first."""

    def run() -> None:
        client = Client.of(arguments.url, arguments.token)
        if arguments.find is None:
            found = client.json(f"/v1/calls?limit={arguments.limit}")
        else:
            by, _, value = arguments.find.partition(":")
            found = client.post("/v1/calls/search", {"by": by, "value": value, "limit": arguments.limit})
        zone = "UTC" if arguments.utc else found["zone"]
        for row in found["calls"]:
            detail = row.get("detail") or {}
            seconds = (detail.get("duration_ms") or 0) / 1000
            when = shown(detail["answered"], zone) if detail.get("answered") else row["day"]
            say(f"{row['id']}  {row['state']:<12}  {when:<29}  {seconds:8.1f} s")

    return asking(run)


def get(arguments: argparse.Namespace) -> int:
    """Download one thing of a call."""
    path = {
        "audio": "/audio" + (f"?track={arguments.track}" if arguments.track is not None else ""),
        "certificate": f"/certificate?form={arguments.form}",
        "detail": "",
    }.get(arguments.what, f"/{arguments.what}")

    def run() -> None:
        raw = Client.of(arguments.url, arguments.token).get(f"/v1/calls/{arguments.call}{path}")
        if arguments.what != "audio":
            raw = (json.dumps(json.loads(raw), indent=2, ensure_ascii=False) + "\n").encode()
        if arguments.output is not None:
            arguments.output.write_bytes(raw)
        else:
            sys.stdout.buffer.write(raw)

    return asking(run)


def statistics(arguments: argparse.Namespace) -> int:
    """Show a period's statistics, or which periods have some."""

    def run() -> None:
        client = Client.of(arguments.url, arguments.token)
        if arguments.period is None:
            for period in client.json("/v1/statistics")["periods"]:
                say(period)
            return
        found = client.json(f"/v1/statistics?period={quote(arguments.period)}")
        few = f"under {found['count_min']}"
        say(f"{'calls':<14}  {'':<13}  {found['calls'] or few:>10}")
        for table, cells in found["tables"].items():
            for cell, calls in cells.items():
                say(f"{table:<14}  {cell:<13}  {calls or few:>10}")

    return asking(run)


def shown(utc: str, zone: str) -> str:
    """A kept time (UTC) in a time zone, with its distance from UTC; as it is where the zone is not known here."""
    try:
        local = datetime.fromisoformat(utc).astimezone(zoneinfo.ZoneInfo(zone))
    except (ValueError, OSError, KeyError):
        return utc
    return local.isoformat(sep=" ", timespec="milliseconds")


def asking(run: Callable[[], None]) -> int:
    """The exit code of `run`; 1 where the server refuses or is not there."""
    try:
        run()
    except (ApiError, OSError) as error:
        return fail(str(error))
    return 0


def fail(text: str) -> int:
    """Say why on standard error; the exit code."""
    sys.stderr.write(f"callvault: {text}\n")
    return 1


def say(text: Any) -> None:
    """A line on standard output."""
    sys.stdout.write(f"{text}\n")
