"""`callvault tenant close`: a tenant leaves; its grace, and what then is destroyed, are its policy's. Or it stays."""

from __future__ import annotations

import argparse
import sys
import zoneinfo
from datetime import datetime

from gateway.commands.store import administering
from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.operations.sweeper import sweep
from storage.closings import Closing, State
from storage.errors import Refused
from storage.recordings import Recordings

ACTOR = "administrator"


def close(arguments: argparse.Namespace) -> int:
    """Close, or with --reopen take that back; without a grace everything is destroyed before this returns."""

    def run(settings: Settings, recordings: Recordings) -> int:
        found = [tenant for tenant in settings.tenants if tenant.name == arguments.name]
        if not found:
            raise ConfigError([f"tenant {arguments.name!r} is not in the configuration"])
        tenant, zone = recordings.tenant(found[0].name), found[0].zone
        if arguments.reopen:
            recordings.closings.reopen(tenant, arguments.ground, ACTOR)
            _print(f"{arguments.name} is open again")
            return 0
        at_s = None if arguments.at is None else start_of(arguments.at, zone)
        closing = recordings.closings.close(tenant, arguments.ground, ACTOR, at_s)
        for line in told(closing, zone):
            _print(line)
        if closing.content_s is None or closing.content_s > closing.closed_s or arguments.at is not None:
            return 0
        configured = frozenset(recordings.tenant(one.name) for one in settings.tenants)
        swept = sweep(recordings, lambda: configured)
        after = recordings.closings.of(tenant)
        done = after is not None and after.state is not State.CLOSED
        _print("its content is destroyed" if done else "its content is refused; destroying it is tried again by serve")
        for doubt in swept.verdict.doubts:
            sys.stderr.write(f"callvault: {doubt.value}\n")
        return 0 if done else 1

    return administering(arguments, run)


def start_of(day: str, zone: str) -> float:
    """The first instant of a day, `YYYY-MM-DD`, in the tenant's zone; Refused."""
    try:
        return datetime.fromisoformat(f"{day}T00:00:00").replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()
    except ValueError:
        raise Refused("a day is written YYYY-MM-DD") from None


def told(closing: Closing, zone: str) -> list[str]:
    """What follows, in the tenant's time."""
    here = zoneinfo.ZoneInfo(zone)

    def shown(second: int) -> str:
        return datetime.fromtimestamp(second, here).isoformat(sep=" ", timespec="minutes")

    lines = [f"no new calls from {shown(closing.closed_s)} on"]
    if closing.content_s is None:
        lines.append(f"what has a term of its own ends with it, everything else at {shown(closing.open_s)}")
    else:
        lines.append(f"the keys of all content are destroyed at {shown(closing.content_s)}")
    lines.append(f"account data is forgotten at {shown(closing.account_s)}, once the configuration does not name it")
    if closing.reopens_until_s > closing.closed_s:
        lines.append(f"until {shown(closing.reopens_until_s)} it can be reopened")
    return lines


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
