"""Rows of tenants that leave: what stands in the catalogue, what it forbids, and how it comes back from the ledger.

`storage.closings` says what the states mean, and carries a closing out.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.chain import Entry
from storage.errors import Malformed, Refused
from storage.model import Root, TenantId
from storage.policies import DROPPED
from storage.tables import buckets, closings, epochs, tenants, tokens

AHEAD_S = 3600
"""Longer than a sweep is ever late while its server runs; nobody who wants to stay waits for the last hour."""

TOLD = ("closed", "content", "open", "account")
"""The times of a closing, as the ledger names them."""


class State(StrEnum):
    """How far a tenant's leaving has come."""

    CLOSED = "closed"
    EMPTIED = "emptied"
    OVER = "over"
    REOPENED = "reopened"


@dataclass(frozen=True, slots=True)
class Closing:
    """One tenant's leaving; Unix seconds. `content_s` None: its content ends by its own terms, what has none at
    `open_s`. After `account_s` it is forgotten who the tenant was."""

    tenant: TenantId
    state: State
    closed_s: int
    content_s: int | None
    open_s: int
    account_s: int

    @property
    def reopens_until_s(self) -> int:
        """From then on it cannot be reopened: buckets are marked with their end."""
        return max(self.closed_s, self.ends_s - AHEAD_S)

    @property
    def ends_s(self) -> int:
        """When its content is destroyed, or what of it has no term of its own."""
        return self.open_s if self.content_s is None else self.content_s


_EMPTY = (State.EMPTIED.value, State.OVER.value)
_LATER = closings.alias("later")
NEWEST = select(closings).where(
    ~exists().where(_LATER.c.tenant == closings.c.tenant, _LATER.c.serial > closings.c.serial)
)


def closing_of(connection: Connection, tenant: TenantId) -> Closing | None:
    """A tenant's closing, unless it was taken back."""
    row = connection.execute(NEWEST.where(closings.c.tenant == tenant)).first()
    found = None if row is None else read_closing(row)
    return None if found is None or found.state is State.REOPENED else found


def check_open(connection: Connection, wanted: Collection[TenantId], now_s: float) -> None:
    """Refused if one of these tenants is closed: no call of it begins."""
    where = (closings.c.tenant.in_(wanted), closings.c.state != State.REOPENED.value, closings.c.closed_s <= int(now_s))
    if connection.scalar(NEWEST.where(*where).with_only_columns(closings.c.tenant).limit(1)) is not None:
        raise Refused("the tenant is closed: it has no new calls")


def check_keys_kept(connection: Connection, places: Collection[tuple[TenantId, Root]]) -> None:
    """Refused if keys were to be placed in a tree of a tenant that has left whose own keys are going, or gone.

    Of an emptied tenant that is the content's; records that the law asks for may come until it is over.
    """
    where = (closings.c.tenant.in_({tenant for tenant, _ in places}), closings.c.state.in_(_EMPTY))
    for row in connection.execute(NEWEST.where(*where)).all():
        if row.state == State.OVER or (row.tenant, Root.CONTENT) in places:
            raise Refused("the tenant is closed and its keys are destroyed: nothing is stored for it")


def replay_closing(connection: Connection, entry: Entry) -> None:
    """Writes the row of a closing anew, in the transaction that restores the entry about it."""
    told = {name: entry.body.get(name) for name in TOLD}
    try:
        times = {f"{name}_s": None if at is None else _unix(at) for name, at in told.items()}
    except (TypeError, ValueError):
        raise Malformed(f"entry {entry.seq} of the ledger is no closing") from None
    row = {"tenant": entry.body["tenant"], "state": State.CLOSED.value, "entry": entry.seq}
    connection.execute(closings.insert(), row | times)


def replay_reopening(connection: Connection, entry: Entry) -> None:
    """The same of what took it back."""
    move(connection, TenantId(entry.body["tenant"]), State.REOPENED)


def replay_retired(connection: Connection, entry: Entry) -> None:
    """The same of the last key of a root, which is gone whatever the backup has below it."""
    tenant, root, n = str(entry.body["key"]).split("-")
    retire_epoch(connection, TenantId(tenant), Root(root), int(n))
    if root == Root.CONTENT:
        move(connection, TenantId(tenant), State.EMPTIED)


def replay_closed(connection: Connection, entry: Entry) -> None:
    """The same of a tenant that was forgotten."""
    forget_tenant(connection, TenantId(entry.body["tenant"]))


def retire_epoch(connection: Connection, tenant: TenantId, root: Root, n: int) -> None:
    """Drops what was only prepared, and overwrites the epoch, which nothing opens any more."""
    connection.execute(update(buckets).where(*of_root(tenant, root)).values(due=DROPPED))
    where = (epochs.c.tenant == tenant, epochs.c.root == root.value, epochs.c.n == n)
    row = connection.execute(select(epochs.c.wrapped).where(*where)).first()
    if row is not None:
        connection.execute(update(epochs).where(*where).values(wrapped=bytes(len(row.wrapped))))


def of_root(tenant: TenantId, root: Root) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return buckets.c.tenant == tenant, buckets.c.root == root.value


def forget_tenant(connection: Connection, tenant: TenantId) -> int:
    """Gives how many tokens there were."""
    revoked = connection.execute(delete(tokens).where(tokens.c.tenant == tenant)).rowcount
    gone = b"gone " + secrets.token_bytes(32)
    connection.execute(update(tenants).where(tenants.c.id == tenant).values(tag=gone))
    move(connection, tenant, State.OVER)
    return revoked


def move(connection: Connection, tenant: TenantId, state: State) -> None:
    newest = select(func.max(closings.c.serial)).where(closings.c.tenant == tenant).scalar_subquery()
    connection.execute(update(closings).where(closings.c.serial == newest).values(state=state.value))


def _unix(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def read_closing(row: Row[Any]) -> Closing:
    return Closing(TenantId(row.tenant), State(row.state), row.closed_s, row.content_s, row.open_s, row.account_s)
