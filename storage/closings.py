"""Tenants that leave: closed, emptied when their policy's grace is over, and in the end forgotten.

    closed     no new calls from `closed_s` on; what is stored is read, exported and erased as before; may be reopened
    emptied    the content root is destroyed, or everything in it has ended by its own terms; its provider keys are gone
    over       who the tenant was is forgotten: the tag of its name, its tokens with their labels
    reopened   as if it had not been closed

What holds keep and what a law obliges to keep stays until it ends, under the tenant's id, and the certificate counts
it; published statistics stay. The last hour before content ends is marked in its buckets beforehand, so that reads are
refused at the second; from then on there is no reopening. A crash anywhere is finished by the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, exists, func, or_, select, update

from storage.catalogue import Catalogue
from storage.epochs import epoch_row
from storage.erasure import Eraser, Target
from storage.errors import Erased, NotFound, Refused, Unavailable
from storage.keys import PROBE_AAD, provider_key
from storage.leaving import (
    AHEAD_S,
    NEWEST,
    TOLD,
    Closing,
    State,
    closing_of,
    forget_tenant,
    move,
    of_root,
    read_closing,
    retire_epoch,
)
from storage.ledger import Ledger
from storage.liveness import IS_NEWEST
from storage.locks import check_turn, tenant_lock
from storage.model import Root, TenantId
from storage.policies import DROPPED, policy_of
from storage.policy.closing import ending
from storage.providers import KeyProvider
from storage.tables import buckets, closings, erasures, nodes, statistics
from storage.times import utc
from storage.words import check_words

__all__ = ["AHEAD_S", "Closing", "Closings", "State"]

ACTOR = "closing"


class Closings:
    """Thread-safe. Every method may raise Unavailable."""

    def __init__(
        self,
        catalogue: Catalogue,
        provider: KeyProvider,
        ledger: Ledger,
        eraser: Eraser,
        locks: Path,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._provider = provider
        self._ledger = ledger
        self._eraser = eraser
        self._locks = locks
        self._clock = clock

    def close(self, tenant: TenantId, ground: str, actor: str, at_s: float | None = None) -> Closing:
        """The tenant leaves, now or at a time to come; what follows is its policy's. Refused."""
        check_words(ground, actor)
        now_s = self._clock()
        closed_s = int(now_s if at_s is None else at_s)
        if closed_s < int(now_s):
            raise Refused("a tenant is closed now or later: a time that is over would end things earlier than was said")
        with self._catalogue.writing() as connection:
            if (standing := closing_of(connection, tenant)) is not None:
                raise Refused(f"the tenant is closed as of {utc(standing.closed_s)} already: {standing.state.value}")
            ends = ending(policy_of(connection, tenant), closed_s)
            found = Closing(tenant, State.CLOSED, closed_s, ends.content_root_s, ends.open_s, ends.account_s)
            times = {name: getattr(found, f"{name}_s") for name in TOLD}
            told = {name: utc(at_s) for name, at_s in times.items() if at_s is not None}
            entry = self._ledger.append(
                connection, "closing", now_s, {"tenant": tenant, "ground": ground, "actor": actor} | told
            )
            row = {"tenant": tenant, "state": found.state.value, "entry": entry}
            row |= {f"{name}_s": at_s for name, at_s in times.items()}
            connection.execute(closings.insert(), row)
        return found

    def reopen(self, tenant: TenantId, ground: str, actor: str) -> None:
        """Takes the closing back, up to an hour before the first thing ends by it; Refused, NotFound."""
        check_words(ground, actor)
        now_s = self._clock()
        with self._catalogue.writing() as connection:
            standing = closing_of(connection, tenant)
            if standing is None:
                raise NotFound("the tenant is not closed")
            if standing.state is not State.CLOSED or now_s >= standing.reopens_until_s:
                raise Refused(f"the grace is over: it could be reopened until {utc(standing.reopens_until_s)}")
            facts = {"tenant": tenant, "ground": ground, "actor": actor}
            move(connection, tenant, State.REOPENED)
            self._ledger.append(connection, "reopening", now_s, facts)

    def of(self, tenant: TenantId) -> Closing | None:
        """The closing that stands, or is over."""
        with self._catalogue.reading() as connection:
            return closing_of(connection, tenant)

    def is_closed(self, tenant: TenantId) -> bool:
        """Whether it has left by now."""
        found = self.of(tenant)
        return found is not None and found.closed_s <= self._clock()

    def standing(self) -> list[Closing]:
        """Those of tenants that have left by now; the ones that are over too: something may be left by law."""
        with self._catalogue.reading() as connection:
            found = [read_closing(row) for row in connection.execute(NEWEST).all()]
        now_s = self._clock()
        return [one for one in found if one.state is not State.REOPENED and one.closed_s <= now_s]

    def mark(self, closing: Closing, now_s: float) -> None:
        """In the last hour before its content ends: tells the buckets, which then refuse reads at the second."""
        ends_s = closing.ends_s
        if closing.state is not State.CLOSED or now_s < ends_s - AHEAD_S:
            return
        where = (buckets.c.tenant == closing.tenant, buckets.c.root == Root.CONTENT.value)
        open_ways = buckets.c.due.is_(None)
        later = open_ways if closing.content_s is None else or_(open_ways, buckets.c.due > ends_s)
        with self._catalogue.writing() as connection:
            connection.execute(update(buckets).where(*where, later).values(due=ends_s))

    def is_due(self, closing: Closing, until_s: float) -> bool:
        """Whether the content root is to be destroyed by a time that all clocks agree on."""
        return closing.state is State.CLOSED and closing.content_s is not None and closing.content_s <= until_s

    def empty(self, closing: Closing, until_s: float) -> dict[str, Any] | None:
        """Destroys the content root where that is due, and what provider keys nothing needs; gives the certificate.

        Where terms go on it is emptied when nothing is left of its content. To be called again if it raises.
        """
        certificate, tenant = None, closing.tenant
        if self.is_due(closing, until_s):
            if self._left(tenant, Root.CONTENT):
                ground = f"the account was closed on {utc(closing.closed_s)[:10]} and its grace is over"
                certificate = self._eraser.erase(tenant, Target.of_tenant(), ground, ACTOR)
        elif closing.content_s is not None or closing.open_s > until_s or self._left(tenant, Root.CONTENT):
            return None
        with self._catalogue.reading() as connection:
            waiting = erasures.c.tenant == tenant, erasures.c.certificate.is_(None)
            unfinished = list(connection.scalars(select(erasures.c.id).where(*waiting)))
        for erasure in unfinished:
            self._eraser.run(erasure)
        if closing.state is State.CLOSED:
            with self._catalogue.writing() as connection:
                move(connection, tenant, State.EMPTIED)
        self._retire(tenant)
        return certificate

    def retire(self, closing: Closing) -> None:
        """What a crash left of that; and of a tenant that is over the roots of holds and laws, as they become empty."""
        if closing.state is not State.CLOSED:
            self._retire(closing.tenant)

    def forget(self, closing: Closing, until_s: float) -> bool:
        """Forgets who an emptied tenant was, once its account data has ended; gives whether that is done now.

        Its name must not be in the configuration any more: else it would be taken for a new tenant.
        """
        if closing.state is not State.EMPTIED or closing.account_s > until_s:
            return False
        tenant = closing.tenant
        with self._catalogue.writing() as connection:
            kept = select(func.count()).select_from(statistics).where(statistics.c.tenant == tenant)
            facts = {"tenant": tenant, "tokens": forget_tenant(connection, tenant)}
            facts |= {"statistics_kept": connection.scalar(kept)}
            self._ledger.append(connection, "closed", self._clock(), facts)
        return True

    def _left(self, tenant: TenantId, root: Root) -> bool:
        with self._catalogue.reading() as connection:
            return _filled(connection, tenant, root)

    def _retire(self, tenant: TenantId) -> None:
        """Destroys the newest provider key of a root under which nothing is left: none of its epochs has one then.

        Buckets that were only prepared are dropped with it. Of holds and laws only when the tenant is over: until then
        something may come.
        """
        over = (found := self.of(tenant)) is not None and found.state is State.OVER
        for root in Root if over else (Root.CONTENT,):
            with self._catalogue.reading() as connection:
                row = epoch_row(connection, tenant, root)
                done = row is None or not any(row.wrapped) or _filled(connection, tenant, root)
            if row is not None and not done:
                with tenant_lock(self._catalogue, self._locks, tenant) as turn:
                    self._retire_root(tenant, root, turn)

    def _retire_root(self, tenant: TenantId, root: Root, turn: int) -> None:
        with self._catalogue.writing() as connection:
            check_turn(connection, tenant, turn)
            row = epoch_row(connection, tenant, root)
            if row is None or _filled(connection, tenant, root):
                return
            connection.execute(update(buckets).where(*of_root(tenant, root)).values(due=DROPPED))
        name = provider_key(tenant, root, row.n)
        answer = self._provider.destroy(name)
        try:
            self._provider.unwrap(name, row.probe, PROBE_AAD)
        except Erased:
            facts = {"tenant": tenant, "key": name, "answer": answer, "probe_failed_at": utc(self._clock())}
            with self._catalogue.writing() as connection:
                check_turn(connection, tenant, turn)
                retire_epoch(connection, tenant, root, row.n)
                self._ledger.append(connection, "retired", self._clock(), facts)
            return
        raise Unavailable(f"the provider says that it destroyed key {name}, and still opens with it")


def _filled(connection: Connection, tenant: TenantId, root: Root) -> bool:
    """Whether there is a bucket with anything below it that is not dropped."""
    living = or_(buckets.c.due.is_(None), buckets.c.due != DROPPED)
    query = select(buckets.c.id).where(buckets.c.tenant == tenant, buckets.c.root == root.value, IS_NEWEST, living)
    query = query.where(exists().where(nodes.c.parent == buckets.c.id)).limit(1)
    return connection.scalar(query) is not None
