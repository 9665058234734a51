"""The lock of a tenant's key tree: one holder at a time, across threads and processes, and fenced.

The lock itself is `flock` on a file, which the kernel frees when its holder dies. Each taking also raises the
tenant's `turn` in the catalogue; whoever writes under the lock has the turn checked in the same transaction, so a
holder that lost the lock unawares (a network file system, a frozen process) can write nothing.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, select, update

from storage.catalogue import Catalogue
from storage.errors import Unavailable
from storage.model import TenantId
from storage.tables import tenants

_WAIT_S = 60.0
"""An epoch change takes a second or so; whoever waits this long had better be told."""
_POLL_S = 0.02


@contextmanager
def tenant_lock(catalogue: Catalogue, folder: Path, tenant: TenantId) -> Iterator[int]:
    """Holds the tenant's lock; gives the turn for `check_turn`. Unavailable if it stays taken."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / f"{tenant}.lock").open("ab") as handle:
        deadline = time.monotonic() + _WAIT_S
        while not _try(handle.fileno()):
            if time.monotonic() > deadline:
                raise Unavailable("the tenant's keys are being changed by somebody else; try again")
            time.sleep(_POLL_S)
        with catalogue.writing() as connection:
            connection.execute(update(tenants).where(tenants.c.id == tenant).values(turn=tenants.c.turn + 1))
            turn = connection.scalar(select(tenants.c.turn).where(tenants.c.id == tenant))
        assert turn is not None
        yield turn


def check_turn(connection: Connection, tenant: TenantId, turn: int) -> None:
    """Unavailable if the lock has been taken by another since; holds until the end of a write transaction."""
    if connection.scalar(select(tenants.c.turn).where(tenants.c.id == tenant)) != turn:
        raise Unavailable("the lock of the tenant's keys was lost; try again")


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
