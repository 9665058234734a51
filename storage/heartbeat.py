"""The last look at the clocks, as a row: read and replaced by whoever sweeps, in its own transaction."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Connection, delete, select

from storage.clocks import Heartbeat, Reading, Verdict, judge
from storage.tables import heartbeats

_NAME = "clocks"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NO_BOOT = "0" * 32
"""Where the kernel names no start: then one that goes back in uptime is the only sign of another."""


def host_reading(now_s: float, database_s: int | None = None, provider_s: int | None = None) -> Reading:
    """What this machine's clocks say, beside those of others that were asked."""
    try:
        boot = _BOOT.read_text().strip().replace("-", "")
    except OSError:
        boot = _NO_BOOT
    return Reading(int(now_s), int(time.clock_gettime(time.CLOCK_BOOTTIME)), boot, database_s, provider_s)


def look(connection: Connection, reading: Reading) -> Verdict:
    """Judges the clocks against the last heartbeat, and keeps this one; in a write transaction."""
    verdict = judge(reading, last(connection))
    connection.execute(delete(heartbeats))
    connection.execute(heartbeats.insert(), {"name": _NAME, **asdict(verdict.beat)})
    return verdict


def last(connection: Connection) -> Heartbeat | None:
    """The last heartbeat; None if there has been none."""
    row = connection.execute(select(heartbeats).where(heartbeats.c.name == _NAME)).first()
    return None if row is None else Heartbeat(row.host_s, row.uptime_s, row.boot, row.latest_s, row.settled_s)
