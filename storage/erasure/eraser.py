"""From the request to erase to its certificate, and what was begun to its end."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Collection
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, select, update

from storage.calls import read_mark
from storage.erasure.change import Change, Step, Surroundings
from storage.erasure.graves import bury, name_calls
from storage.erasure.targets import Scope, Target
from storage.errors import NotFound, NotReady, StoreError
from storage.ledger import check_words
from storage.locks import tenant_lock
from storage.model import CallId, CallState, TenantId, new_id
from storage.tables import calls, change_steps, changes, erased_calls, erasures
from storage.witness.pending import Keeping, waiting

_CARRYING_OUT = select(erasures.c.change).where(erasures.c.change.is_not(None))

log = logging.getLogger(__name__)


class Eraser:
    """Erases, and finishes what was begun; thread-safe, and safe beside other processes."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._with = surroundings
        self._sweeping: set[str] = set()  # changes; by a thread of this process
        self._lock = threading.Lock()

    def request(self, tenant: TenantId, target: Target, ground: str, actor: str) -> str:
        """Writes INTENT and graves; when it returns, reads are refused here, and elsewhere within the lease.

        Gives the erasure's id; of a call that is erased already, the id of the erasure that it died of, and of a hold
        that is released its release's. NotFound also for another tenant's; OnHold, NotReady, Erased, Refused: then
        nothing has happened.
        """
        self._tell_first(tenant)
        with self._with.catalogue.writing() as connection:
            earlier = _earlier(connection, tenant, target)
            if earlier is not None:
                return earlier
            erasure = self.intend(connection, tenant, target, ground, actor)
        self._with.witness.copies.try_publish(self._with.catalogue)
        self._with.tell(Step.INTENT, erasure)
        return erasure

    def intend(self, connection: Connection, tenant: TenantId, target: Target, ground: str, actor: str) -> str:
        """The same within the caller's write transaction, which may have more to write; `run` carries it out."""
        check_words(ground, actor)
        erasure = new_id()
        ended = bury(connection, erasure, tenant, target, self._with.clock())
        facts = target.facts()
        statement = {"erasure": erasure, "tenant": tenant, "target": facts, "ground": ground, "actor": actor}
        seq = self._with.ledger.append(connection, "intent", self._with.clock(), statement)
        row = {"id": erasure, "tenant": tenant, "scope": target.scope.value, "target": json.dumps(facts)}
        connection.execute(erasures.insert(), row | {"intent": seq, "change": None, "certificate": None})
        name_calls(connection, erasure, ended.union(target.calls))
        return erasure

    def _tell_first(self, tenant: TenantId) -> None:
        """What holds and consents have placed goes to the witness before the erasure that it outlives, if it can: a
        restore does both again in this order. Other records wait: this erasure may be theirs."""
        around = self._with
        if waiting(around.catalogue, tenant):
            try:
                Keeping(around.catalogue, around.witness, around.ledger, around.clock).publish(
                    tenant=tenant, placed=True
                )
            except StoreError as error:
                log.warning(
                    "an erasure goes before what the witness has to get", extra={"reason": type(error).__name__}
                )

    def run(self, erasure: str) -> None:
        """Carries out what remains of an erasure, with all others that wait. StoreError if a step fails.

        What the change has made waste is swept as well, unless something from before waits to be swept first: that is
        left, with this, to `sweep`, so that nobody waits for what somebody else has erased.
        """
        tenant = self._tenant_of(erasure)
        self._sweep_own(tenant, self._carry_out(tenant, erasure))

    def rotate(self, tenant: TenantId) -> None:
        """Replaces the tenant's keys at the provider, and what they wrap, with nothing to erase; StoreError.

        No recording is sealed again. Copies from before open with the new keys as little as after an erasure.
        """
        begun = []
        with tenant_lock(self._with.catalogue, self._with.locks, tenant) as turn:
            self._advance_unfinished(tenant, turn)
            for with_erasures in (True, False) if self._waiting(tenant) else (False,):
                change = self._begin(tenant, turn, with_erasures=with_erasures)
                begun.append(change.id)
                change.advance(Step.DONE)
        self._sweep_own(tenant, begun)

    def sweep(self) -> int:
        """Sweeps what waits for it, of each tenant the oldest change first; gives how many changes were swept.

        Every few minutes. What fails is logged, and waits for the next time.
        """
        with self._with.catalogue.reading() as connection:
            found = connection.scalars(select(changes.c.tenant).where(changes.c.finished.is_(False)).distinct()).all()
        swept = 0
        for tenant in map(TenantId, found):
            try:
                swept += self._sweep(tenant)
            except StoreError as error:
                log.error("not swept", extra={"tenant": tenant, **_told(error)})
        return swept

    def erase(self, tenant: TenantId, target: Target, ground: str, actor: str) -> dict[str, Any]:
        """From request to certificate. Sweeping may fail and be left to the next start: the key is gone by then."""
        return self.finish(tenant, self.request(tenant, target, ground, actor))

    def finish(self, tenant: TenantId, erasure: str) -> dict[str, Any]:
        """The same of what was requested, or intended, before."""
        try:
            self.run(erasure)
        except StoreError:
            if not self._done(erasure):
                raise
            log.warning("erasure left to be swept", extra={"erasure": erasure})
        return self.certificate(tenant, erasure)

    def certificate(self, tenant: TenantId, erasure: str) -> dict[str, Any]:
        """An erasure's certificate; NotFound, or NotReady while it is under way."""
        with self._with.catalogue.reading() as connection:
            query = select(erasures.c.certificate).where(erasures.c.tenant == tenant, erasures.c.id == erasure)
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"no erasure {erasure}")
        if row.certificate is None:
            raise NotReady(f"erasure {erasure} is not finished; reads are refused already")
        certificate: dict[str, Any] = json.loads(row.certificate)
        return certificate

    def certificate_of(self, tenant: TenantId, call: CallId) -> dict[str, Any]:
        """The certificate of what ended a call, or else of what was erased of it last; NotFound, NotReady."""
        with self._with.catalogue.reading() as connection:
            read_mark(connection, tenant, call)
            found = connection.scalar(_newest(call))
        if found is None:
            raise NotFound(f"no erasure of call {call}")
        return self.certificate(tenant, found)

    def resume(self) -> int:
        """Finishes what a crash or an absent provider left undone; gives how many erasures and changes it was."""
        finished = 0
        with self._with.catalogue.reading() as connection:
            without = select(erasures.c.id).where(erasures.c.certificate.is_(None))
            waiting = connection.scalars(without.order_by(erasures.c.serial)).all()
            query = select(erasures.c.id).join(changes, changes.c.id == erasures.c.change)
            unswept = connection.scalars(query.where(changes.c.finished.is_(False))).all()
            rotations = select(changes.c.tenant).where(
                changes.c.finished.is_(False), changes.c.id.not_in(_CARRYING_OUT)
            )
            rotating = connection.scalars(rotations.distinct()).all()
        for erasure in dict.fromkeys([*waiting, *unswept]):
            try:
                tenant = self._tenant_of(erasure)
                self._carry_out(tenant, erasure)
                self._sweep(tenant)
            except StoreError as error:
                log.error("erasure not finished", extra={"erasure": erasure, **_told(error)})
            else:
                finished += 1
        for tenant in rotating:
            try:
                self._finish(TenantId(tenant))
            except StoreError as error:
                log.error("rotation not finished", extra={"tenant": tenant, **_told(error)})
            else:
                finished += 1
        return finished

    def _finish(self, tenant: TenantId) -> None:
        with tenant_lock(self._with.catalogue, self._with.locks, tenant) as turn:
            self._advance_unfinished(tenant, turn)
        self._sweep(tenant)

    def _advance_unfinished(self, tenant: TenantId, turn: int) -> None:
        """One change of epoch after the other: a later one must not sweep what an earlier one still compares."""
        for change in self._unfinished(tenant, turn):
            change.advance(Step.DONE)

    def _tenant_of(self, erasure: str) -> TenantId:
        with self._with.catalogue.reading() as connection:
            return TenantId(connection.scalars(select(erasures.c.tenant).where(erasures.c.id == erasure)).one())

    def _carry_out(self, tenant: TenantId, erasure: str) -> list[str]:
        """Up to the certificate; gives the change that was begun for it, if one was."""
        with tenant_lock(self._with.catalogue, self._with.locks, tenant) as turn:
            self._advance_unfinished(tenant, turn)
            if self._done(erasure):
                return []
            change = self._begin(tenant, turn, with_erasures=True)
            change.advance(Step.DONE)
            return [change.id]

    def _sweep_own(self, tenant: TenantId, begun: Collection[str]) -> None:
        """Sweeps changes that were begun here, if nothing from before waits for that."""
        waiting = self._unswept(tenant)
        own = list(takewhile(begun.__contains__, waiting))
        swept = all(self._sweep_one(change, tenant) for change in own)
        if not swept or len(own) < len(waiting):
            log.info("left to be swept", extra={"tenant": tenant})

    def _sweep(self, tenant: TenantId) -> int:
        """Sweeps every change that is done; gives how many.

        Without the tenant's lock: it may take long, and what it deletes is waste. The oldest first, and the next only
        after it: a later one takes away the rows by which an earlier one finds what it has to delete.
        """
        swept = 0
        while (waiting := self._unswept(tenant)) and self._sweep_one(waiting[0], tenant):
            swept += 1
        return swept

    def _sweep_one(self, change: str, tenant: TenantId) -> bool:
        """False if another thread is at it."""
        with self._lock:
            if change in self._sweeping:
                return False
            self._sweeping.add(change)
        try:
            Change(self._with, change, tenant, turn=0).advance(Step.SWEEP)
        finally:
            with self._lock:
                self._sweeping.discard(change)
        return True

    def _unswept(self, tenant: TenantId) -> list[str]:
        """The changes that are done and not swept, the oldest first."""
        done = select(change_steps.c.change).where(change_steps.c.step == Step.DONE.value)
        query = select(changes.c.id).where(changes.c.tenant == tenant, changes.c.finished.is_(False))
        with self._with.catalogue.reading() as connection:
            return list(connection.scalars(query.where(changes.c.id.in_(done)).order_by(changes.c.serial)))

    def _unfinished(self, tenant: TenantId, turn: int) -> list[Change]:
        query = select(changes.c.id).where(changes.c.tenant == tenant, changes.c.finished.is_(False))
        with self._with.catalogue.reading() as connection:
            found = connection.scalars(query.order_by(changes.c.serial)).all()
        return [Change(self._with, change, tenant, turn) for change in found]

    def _waiting(self, tenant: TenantId) -> bool:
        query = select(erasures.c.id).where(erasures.c.tenant == tenant, erasures.c.change.is_(None)).limit(1)
        with self._with.catalogue.reading() as connection:
            return connection.scalar(query) is not None

    def _begin(self, tenant: TenantId, turn: int, *, with_erasures: bool) -> Change:
        """A new change, with all erasures that wait for one, or with none."""
        change = new_id()
        with self._with.catalogue.writing() as connection:
            connection.execute(changes.insert(), {"id": change, "tenant": tenant, "finished": False})
            if with_erasures:
                waiting = (erasures.c.tenant == tenant, erasures.c.change.is_(None))
                connection.execute(update(erasures).where(*waiting).values(change=change))
        return Change(self._with, change, tenant, turn)

    def _done(self, erasure: str) -> bool:
        with self._with.catalogue.reading() as connection:
            query = select(erasures.c.certificate).where(erasures.c.id == erasure)
            return connection.scalar(query) is not None


def _told(error: StoreError) -> dict[str, str]:
    """For the log: messages of the store carry ids, and an operator needs that of what does not open."""
    return {"reason": type(error).__name__, "detail": str(error)}


def _earlier(connection: Connection, tenant: TenantId, target: Target) -> str | None:
    """What a call that is to be erased has died of already, or a hold's release."""
    if target.scope is Scope.RELEASE:
        released = select(erasures.c.id).where(erasures.c.tenant == tenant, erasures.c.scope == target.scope.value)
        found: str | None = connection.scalar(released.where(erasures.c.target == json.dumps(target.facts())))
        return found
    if target.scope is not Scope.CALL:
        return None
    query = select(calls.c.state).where(calls.c.id == target.calls[0], calls.c.tenant == tenant)
    if connection.scalar(query) != CallState.ERASED:
        return None
    found = connection.scalar(_newest(target.calls[0]))
    return found


def _newest(call: CallId) -> Any:
    query = select(erasures.c.id).join(erased_calls, erased_calls.c.erasure == erasures.c.id)
    return query.where(erased_calls.c.call == call).order_by(erasures.c.serial.desc()).limit(1)
