"""The last look at the clocks, as a row: read and replaced by whoever sweeps, in its own transaction."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, delete, select

from storage.clocks import Heartbeat, Reading, Verdict, judge
from storage.tables import heartbeats

_NAME = "clocks"


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
