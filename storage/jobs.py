"""Jobs on their way to the queue, and those that came to nothing: the outbox and the list of the dead.

The outbox, exactly:

1. A job is a row, written in the transaction that makes its cause true (a call's end). A rolled back cause leaves no
   job, a committed one always leaves one.
2. The row's random id is the job's name for ever: every publication carries it (`Nats-Msg-Id`), so the queue keeps
   one copy however often the row is published within its window of duplicates (an hour).
3. A row is deleted only after the queue has acknowledged it, which it does when the job is on its disk. A crash between
   the two publishes the row again, under 2.
4. So each job reaches the queue at least once, and within the window exactly once. Beyond it (the relay was down for
   more than an hour between acknowledgement and deletion) a second copy may come, and whoever works bears that.
5. While the queue is away rows stay, oldest first, and nothing else waits for them.
6. Erasing a call deletes its rows here, in the transaction that buries it.

A job of a restricted call is set aside on the dead list, and comes back when the restriction is lifted: a restriction
may stand for months, and a queue is no place to wait for so long.

A job that its worker gave up becomes a row of the dead list, one for each call and subject, with the type of its last
error. It stays until somebody retries it (a new row in the outbox, under a new id), drops it, or the call is erased.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, select

from storage.catalogue import Catalogue
from storage.errors import NotFound
from storage.model import CallId, CallState, TenantId, new_id
from storage.records import Change, Day, OutboxRow
from storage.standing import restricted_among
from storage.tables import calls, dead_jobs, outbox
from storage.times import day_of

DEAD_AT_ONCE_MAX = 1_000
"""The longest page of the dead list; the count tells how many there are."""

ASIDE = "Restricted"
"""The reason of jobs that are set aside. They failed of nothing, so they are not counted as dead."""

REASON_CHARS_MAX = 64
"""An error's type. Longer ones are cut: the column must not become a place for texts."""


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that was given up: how often it had been delivered, why it failed last, and on which UTC day."""

    id: str
    tenant: TenantId
    call: CallId
    subject: str
    reason: str
    deliveries: int
    day: Day


class Jobs:
    """The outbox and the dead list; thread-safe, and safe beside other processes."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float] = time.time) -> None:
        self._catalogue = catalogue
        self._clock = clock

    def waiting(self) -> int:
        """How many jobs were not handed to the queue yet."""
        with self._catalogue.reading() as connection:
            return connection.scalar(select(func.count()).select_from(outbox)) or 0

    def bury(self, tenant: TenantId, call: CallId, subject: str, reason: str, deliveries: int) -> None:
        """Puts a job on the dead list, in place of what stood there of the same call and subject.

        A call that is erased, or not the tenant's, has no jobs: nothing is written then.
        """
        with self._catalogue.writing() as connection:
            self._bury(connection, tenant, call, subject, reason, deliveries)

    def set_aside(self, tenant: TenantId, call: CallId, subject: str, deliveries: int) -> bool:
        """Keeps a job of a restricted call until the restriction is lifted; False if the call is not restricted now."""
        with self._catalogue.writing() as connection:
            if not restricted_among(connection, [call]):
                return False
            self._bury(connection, tenant, call, subject, ASIDE, deliveries)
        return True

    def dead(self, limit: int = DEAD_AT_ONCE_MAX) -> list[DeadJob]:
        """The dead list, oldest first."""
        with self._catalogue.reading() as connection:
            query = select(dead_jobs).order_by(dead_jobs.c.serial).limit(min(limit, DEAD_AT_ONCE_MAX))
            return [_dead(row) for row in connection.execute(query)]

    def dead_count(self) -> int:
        """How many jobs were given up: what is on the dead list and not only set aside."""
        given_up = select(func.count()).select_from(dead_jobs).where(dead_jobs.c.reason != ASIDE)
        with self._catalogue.reading() as connection:
            return connection.scalar(given_up) or 0

    def retry(self, id: str) -> DeadJob:
        """Moves a job from the dead list to the outbox, as a new one; NotFound. Gives what it was."""
        with self._catalogue.writing() as connection:
            job = _taken(connection, id)
            row = {"id": new_id(), "tenant": job.tenant, "call": job.call, "subject": job.subject}
            connection.execute(outbox.insert(), row)
        return job

    def drop(self, id: str) -> DeadJob:
        """Forgets a job of the dead list; NotFound. Gives what it was."""
        with self._catalogue.writing() as connection:
            return _taken(connection, id)

    def _bury(
        self, connection: Connection, tenant: TenantId, call: CallId, subject: str, reason: str, deliveries: int
    ) -> None:
        alive = select(calls.c.id).where(
            calls.c.id == call, calls.c.tenant == tenant, calls.c.state != CallState.ERASED.value
        )
        if connection.scalar(alive) is None:
            return
        connection.execute(delete(dead_jobs).where(dead_jobs.c.call == call, dead_jobs.c.subject == subject))
        row = {"id": new_id(), "tenant": tenant, "call": call, "subject": subject, "deliveries": deliveries}
        row |= {"reason": reason[:REASON_CHARS_MAX], "day": day_of(self._clock())}
        connection.execute(dead_jobs.insert(), row)


def retry_aside(connection: Connection, call: CallId) -> None:
    """Lets the jobs that were set aside with a call's restriction go on, as new ones."""
    aside = (dead_jobs.c.call == call, dead_jobs.c.reason == ASIDE)
    for row in connection.execute(select(dead_jobs).where(*aside)).all():
        job = {"id": new_id(), "tenant": row.tenant, "call": row.call, "subject": row.subject}
        connection.execute(outbox.insert(), job)
    connection.execute(delete(dead_jobs).where(*aside))


def insert_jobs(connection: Connection, changes: Sequence[Change]) -> None:
    """Writes the jobs of calls into the outbox."""
    rows = [
        {"id": new_id(), "tenant": change.call.tenant, "call": change.call.call, "subject": subject}
        for change in changes
        for subject in change.jobs
    ]
    if rows:
        connection.execute(outbox.insert(), rows)


def read_jobs(connection: Connection, limit: int) -> list[OutboxRow]:
    """The oldest jobs that were not handed over."""
    rows = connection.execute(select(outbox).order_by(outbox.c.serial).limit(limit))
    return [_job(row) for row in rows]


def delete_jobs(connection: Connection, ids: Sequence[str]) -> None:
    """Forgets jobs that were handed over."""
    connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))


def forget_jobs(connection: Connection, call: str) -> None:
    """Ends all jobs of a call that is being erased: those that wait, and those that came to nothing."""
    connection.execute(delete(outbox).where(outbox.c.call == call))
    connection.execute(delete(dead_jobs).where(dead_jobs.c.call == call))


def _taken(connection: Connection, id: str) -> DeadJob:
    row = connection.execute(select(dead_jobs).where(dead_jobs.c.id == id)).first()
    if row is None:
        raise NotFound("no dead job has that id")
    connection.execute(delete(dead_jobs).where(dead_jobs.c.id == id))
    return _dead(row)


def _dead(row: Any) -> DeadJob:
    return DeadJob(
        row.id, TenantId(row.tenant), CallId(row.call), row.subject, row.reason, row.deliveries, Day(row.day)
    )


def _job(row: Any) -> OutboxRow:
    return OutboxRow(row.id, row.subject, json.dumps({"tenant": row.tenant, "call": row.call}).encode())
