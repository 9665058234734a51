"""The lock of a tenant's key tree: one holder at a time, across threads, processes and machines, and fenced.

The lock itself is the catalogue's database's: see `storage.databases`. Each taking also raises the tenant's `turn` in
the catalogue; whoever writes under the lock has the turn checked in the same transaction, so a holder that lost the
lock unawares (a network file system, a dead connection, a frozen process) can write nothing.
"""

from __future__ import annotations

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


@contextmanager
def tenant_lock(catalogue: Catalogue, folder: Path, tenant: TenantId) -> Iterator[int]:
    """Holds the tenant's lock; gives the turn for `check_turn`. Unavailable if it stays taken."""
    taken = "the tenant's keys are being changed by somebody else; try again"
    with catalogue.exclusive(tenant, folder, _WAIT_S, taken):
        with catalogue.writing() as connection:
            connection.execute(update(tenants).where(tenants.c.id == tenant).values(turn=tenants.c.turn + 1))
            turn = connection.scalar(select(tenants.c.turn).where(tenants.c.id == tenant))
        assert turn is not None
        yield turn


def check_turn(connection: Connection, tenant: TenantId, turn: int) -> None:
    """Unavailable if the lock has been taken by another since; holds until the end of a write transaction."""
    if connection.scalar(select(tenants.c.turn).where(tenants.c.id == tenant)) != turn:
        raise Unavailable("the lock of the tenant's keys was lost; try again")
