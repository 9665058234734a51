"""Erasing a call: the steps of FORMAT.md §7 in their order, each a row, each resumed where a crash left it.

    intent     signed INTENT, tombstones and raised fence are durable: reads are refused from here on
    lapse      the lease under which another process may still use a key has run out
    next_key   the provider has TK of the next epoch
    rewrap     one transaction: the next epoch with all that survives
    read_back  every survivor opened from its new rows and compared; one missing, and nothing is destroyed
    destroy    TK of the old epoch destroyed, and a kept probe does not open any more
    done       signed DONE, certificate
    sweep      old rows, objects, write-ahead file; a later entry says so. What the object store's lock keeps is listed

Every step may be carried out twice: what it does is the same, and its row is written in the transaction that does it
or after what it did outside. Nothing is destroyed before `read_back` stands as a row.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Row, select, update

from storage.catalogue import Catalogue
from storage.epochs import EpochMovedError, change_epoch, epoch_row, make_epoch, open_secret, read_back
from storage.errors import Erased, NotFound, NotReady, StoreError, Unavailable, WrongProvider
from storage.keys import PROBE_AAD, provider_key
from storage.lease import LEASE_S
from storage.ledger import Ledger, check_words
from storage.leftovers import note_kept
from storage.locks import check_turn, tenant_lock
from storage.model import CallId, TenantId, new_id
from storage.objects import ObjectStore
from storage.providers import KeyProvider
from storage.tables import calls, erasures
from storage.times import utc
from storage.tombstones import (
    buckets_of,
    bury,
    close_graves,
    count_kept,
    raise_fence,
    read_steps,
    roots_of,
    sweep_rows,
    write_step,
)

EXCEPTIONS = (
    "copies exported before the erasure",
    "process memory until each process that used the call ends",
    "the key provider's own history until its finality bound",
    "ciphertext without its key in the object store until it is deleted, where locked until its lock ends",
)

log = logging.getLogger(__name__)


class Step(StrEnum):
    """The steps in their order."""

    INTENT = "intent"
    LAPSE = "lapse"
    NEXT_KEY = "next_key"
    REWRAP = "rewrap"
    READ_BACK = "read_back"
    DESTROY = "destroy"
    DONE = "done"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure under way, by the holder of its tenant's lock."""

    id: str
    tenant: TenantId
    call: CallId
    turn: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What erasing works with. `clock` gives Unix time; `pause` waits; `on_step` is told each step that is durable."""

    catalogue: Catalogue
    provider: KeyProvider
    objects: ObjectStore
    ledger: Ledger
    locks: Path
    clock: Callable[[], float]
    pause: Callable[[float], None] = time.sleep
    on_step: Callable[[Step], None] = lambda _step: None


class Eraser:
    """Erases calls, and finishes what was begun."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._with = surroundings
        self._acts: dict[Step, Callable[[Erasure], None]] = {
            Step.LAPSE: self._lapse,
            Step.NEXT_KEY: self._next_key,
            Step.REWRAP: self._rewrap,
            Step.READ_BACK: self._read_back,
            Step.DESTROY: self._destroy,
            Step.DONE: self._done,
            Step.SWEEP: self._sweep,
        }

    def request(self, tenant: TenantId, call: CallId, ground: str, actor: str) -> str:
        """Writes INTENT and tombstones; when it returns, reads are refused here, and elsewhere within the lease.

        Gives the erasure's id, which is the earlier one's if the call is erased already. NotFound for other tenants.
        """
        check_words(ground, actor)
        erasure = new_id()
        with self._with.catalogue.writing() as connection:
            earlier = connection.scalar(
                select(erasures.c.id).where(erasures.c.tenant == tenant, erasures.c.call == call)
            )
            if earlier is not None:
                return str(earlier)
            if connection.scalar(select(calls.c.id).where(calls.c.id == call, calls.c.tenant == tenant)) is None:
                raise NotFound(f"no call {call}")
            bury(connection, erasure, tenant, call)
            statement = {"erasure": erasure, "tenant": tenant, "call": call, "ground": ground, "actor": actor}
            seq = self._with.ledger.append(connection, "intent", self._with.clock(), statement)
            row = {"id": erasure, "tenant": tenant, "call": call, "finished": False, "certificate": None}
            connection.execute(erasures.insert(), row)
            write_step(connection, erasure, Step.INTENT, {"seq": seq})
        self._tell(Step.INTENT, erasure)
        return erasure

    def run(self, erasure: str) -> None:
        """Carries out what remains of an erasure. StoreError if a step fails: it is tried again by the next run."""
        with self._with.catalogue.reading() as connection:
            row = connection.execute(select(erasures).where(erasures.c.id == erasure)).one()
        with tenant_lock(self._with.catalogue, self._with.locks, TenantId(row.tenant)) as turn:
            # One change of epoch after the other: a later one must not sweep what an earlier one still compares.
            for earlier in self._before(row.tenant, row.serial):
                self._advance(Erasure(earlier.id, TenantId(earlier.tenant), CallId(earlier.call), turn), Step.DONE)
            self._advance(Erasure(erasure, TenantId(row.tenant), CallId(row.call), turn), Step.SWEEP)

    def certificate(self, tenant: TenantId, call: CallId) -> dict[str, Any]:
        """The certificate; NotFound if the call was not erased, NotReady while its erasure is under way."""
        with self._with.catalogue.reading() as connection:
            query = select(erasures.c.certificate).where(erasures.c.tenant == tenant, erasures.c.call == call)
            row = connection.execute(query).first()
        if row is None:
            raise NotFound(f"no erasure of call {call}")
        if row.certificate is None:
            raise NotReady(f"the erasure of call {call} is not finished; reads are refused already")
        certificate: dict[str, Any] = json.loads(row.certificate)
        return certificate

    def unfinished(self) -> list[str]:
        """Erasures of which a step remains, oldest first."""
        with self._with.catalogue.reading() as connection:
            query = select(erasures.c.id).where(erasures.c.finished.is_(False)).order_by(erasures.c.serial)
            return list(connection.scalars(query))

    def erase(self, tenant: TenantId, call: CallId, ground: str, actor: str) -> dict[str, Any]:
        """From request to certificate. Sweeping may fail and be left to the next start: the key is gone by then."""
        erasure = self.request(tenant, call, ground, actor)
        try:
            self.run(erasure)
        except StoreError:
            if Step.DONE not in self._steps(erasure):
                raise
            log.warning("erasure left to be swept", extra={"erasure": erasure})
        return self.certificate(tenant, call)

    def _before(self, tenant: str, serial: int) -> Sequence[Row[Any]]:
        query = select(erasures).where(erasures.c.tenant == tenant, erasures.c.serial < serial)
        with self._with.catalogue.reading() as connection:
            return connection.execute(query.where(erasures.c.certificate.is_(None)).order_by(erasures.c.serial)).all()

    def _advance(self, erasure: Erasure, last: Step) -> None:
        done = self._steps(erasure.id)
        for step, act in self._acts.items():
            if step not in done:
                act(erasure)
                self._tell(step, erasure.id)
            if step is last:
                return

    def _lapse(self, erasure: Erasure) -> None:
        # Counted from now, not from the tombstones: after a crash nobody knows when they became visible.
        self._with.pause(LEASE_S)
        self._write(erasure, Step.LAPSE, {})

    def _next_key(self, erasure: Erasure) -> None:
        with self._with.catalogue.reading() as connection:
            newest = {
                root.value: epoch_row(connection, erasure.tenant, root) for root in roots_of(connection, erasure.id)
            }
        epochs = {root: row.n for root, row in newest.items() if row is not None}
        for root, n in epochs.items():
            self._with.provider.create(provider_key(erasure.tenant, root, n + 1))
        self._write(erasure, Step.NEXT_KEY, {"epochs": epochs})

    def _rewrap(self, erasure: Erasure) -> None:
        with self._with.catalogue.reading() as connection:
            rows = [epoch_row(connection, erasure.tenant, root, n) for root, n in self._epochs(erasure).items()]
        changes = [
            (open_secret(self._with.provider, row), make_epoch(self._with.provider, row.tenant, row.root, row.n + 1))
            for row in rows
            if row is not None
        ]
        try:
            with self._with.catalogue.writing() as connection:
                check_turn(connection, erasure.tenant, erasure.turn)
                replaced = buckets_of(connection, erasure.id)
                counts = {new.root: change_epoch(connection, old, new, replaced) for old, new in changes}
                raise_fence(connection, erasure.tenant)
                write_step(connection, erasure.id, Step.REWRAP, {"counts": counts})
        except EpochMovedError:
            raise Unavailable("the epoch moved under the tenant's lock; nothing is destroyed") from None

    def _read_back(self, erasure: Erasure) -> None:
        with self._with.catalogue.reading() as connection:
            compared = {
                root: read_back(connection, self._with.provider, erasure.tenant, root, n + 1)
                for root, n in self._epochs(erasure).items()
            }
        self._write(erasure, Step.READ_BACK, {"compared": compared})

    def _destroy(self, erasure: Erasure) -> None:
        keys = []
        for root, n in self._epochs(erasure).items():
            with self._with.catalogue.reading() as connection:
                check_turn(connection, erasure.tenant, erasure.turn)
                row = epoch_row(connection, erasure.tenant, root, n)
                following = epoch_row(connection, erasure.tenant, root, n + 1)
            if following is not None:
                self._expect(following)
            name = provider_key(erasure.tenant, root, n)
            answer = self._with.provider.destroy(name)
            destroyed_at = utc(self._with.clock())
            self._probe(name, row.probe if row is not None else b"")
            failed_at = utc(self._with.clock())
            key = {"name": name, "answer": answer, "destroyed_at": destroyed_at, "probe_failed_at": failed_at}
            keys.append(key)
        self._write(erasure, Step.DESTROY, {"keys": keys})

    def _expect(self, following: Row[Any]) -> None:
        """Unavailable if the provider has not the next epoch's key: then it is another one, and proves nothing."""
        try:
            open_secret(self._with.provider, following)
        except Erased as error:
            raise WrongProvider("the key provider has no key of the next epoch: nothing is destroyed") from error

    def _probe(self, name: str, probe: bytes) -> None:
        """Unavailable if a destroyed key still opens its probe, or if nobody knows whether it does."""
        try:
            self._with.provider.unwrap(name, probe, PROBE_AAD)
        except Erased:
            return
        raise Unavailable(f"the provider says that it destroyed key {name}, and still opens with it")

    def _done(self, erasure: Erasure) -> None:
        with self._with.catalogue.writing() as connection:
            check_turn(connection, erasure.tenant, erasure.turn)
            steps = read_steps(connection, erasure.id)
            kept = count_kept(connection, erasure.call)
            statement = {
                "erasure": erasure.id,
                "tenant": erasure.tenant,
                "call": erasure.call,
                "keys": steps[Step.DESTROY]["keys"],
                "finality": self._with.provider.behind(erasure.tenant).finality,
                "exceptions": [*EXCEPTIONS, *([f"{kept} records kept under the statutory root"] if kept else [])],
            }
            seq = self._with.ledger.append(connection, "done", self._with.clock(), statement)
            close_graves(connection, erasure.id)
            certificate = json.dumps(self._with.ledger.certificate(connection, steps[Step.INTENT]["seq"], seq))
            connection.execute(update(erasures).where(erasures.c.id == erasure.id).values(certificate=certificate))
            write_step(connection, erasure.id, Step.DONE, {"seq": seq})

    def _sweep(self, erasure: Erasure) -> None:
        epochs = self._epochs(erasure)
        purged = self._with.objects.purge(f"{erasure.tenant}/{erasure.call}/")
        with self._with.catalogue.writing() as connection:
            check_turn(connection, erasure.tenant, erasure.turn)
            sweep_rows(connection, erasure.tenant, erasure.id, epochs)
        if not self._with.catalogue.scrub():
            raise Unavailable("a reader keeps the write-ahead file from being emptied; try again")
        with self._with.catalogue.writing() as connection:
            now_s = self._with.clock()
            statement = {"erasure": erasure.id, "tenant": erasure.tenant, "call": erasure.call}
            counts = {"objects": purged.objects}
            if purged.kept:  # by the store's object lock: unreadable, and deleted when it lets go
                counts["kept"] = len(purged.kept)
            note_kept(connection, erasure.id, erasure.tenant, purged.kept, now_s)
            self._with.ledger.append(connection, "swept", now_s, statement | counts)
            connection.execute(update(erasures).where(erasures.c.id == erasure.id).values(finished=True))
            write_step(connection, erasure.id, Step.SWEEP, counts)

    def _write(self, erasure: Erasure, step: Step, facts: dict[str, Any]) -> None:
        with self._with.catalogue.writing() as connection:
            check_turn(connection, erasure.tenant, erasure.turn)
            write_step(connection, erasure.id, step, facts)

    def _steps(self, erasure: str) -> dict[str, dict[str, Any]]:
        with self._with.catalogue.reading() as connection:
            return read_steps(connection, erasure)

    def _epochs(self, erasure: Erasure) -> dict[str, int]:
        """Root → the epoch that this erasure ends."""
        epochs: dict[str, int] = self._steps(erasure.id)[Step.NEXT_KEY]["epochs"]
        return epochs

    def _tell(self, step: Step, erasure: str) -> None:
        log.info("erasure step", extra={"erasure": erasure, "step": step.value})
        self._with.on_step(step)
