"""The change of epoch that carries out erasures: steps in their order, each a row, resumed where a crash left them.

    intent     of each erasure: signed INTENT, graves and raised fence are durable, reads are refused from here on
    lapse      the lease under which another process may still use a key has run out
    next_key   the provider has TK of the next epoch
    rewrap     one transaction: the next epoch with all that survives. Rows that lead nowhere until then are written
               ahead in short ones, since it holds the write lock that calls wait for (`storage.rewrapping`)
    read_back  every survivor opened from its new rows and compared; what was written is in the witness, and the ledger
               says so; one missing, and nothing is destroyed
    destroy    TK of the old epoch destroyed, and a kept probe does not open any more
    done       of each erasure: signed DONE, certificate
    sweep      old rows, objects, write-ahead file; a later entry says so. What the object store's lock keeps is listed

Every step may be carried out twice: what it does is the same, and its row is written in the transaction that does it
or after what it did outside. Nothing is destroyed before `read_back` stands as a row. Erasures that are asked for while
a change is under way share the next one. A change that carries out none is a rotation: it goes over all of the tenant's
roots, everything survives it, and the ledger has one entry of it, `rotated`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, update

from storage.catalogue import Catalogue
from storage.egress import exceptions_of
from storage.epochs import EpochMovedError, NextEpoch, epoch_row, make_epoch, open_secret, read_back
from storage.erasure.copied import calls_copied
from storage.erasure.graves import close_graves, raise_fence
from storage.erasure.survivors import survivors
from storage.erasure.sweep import Sweep
from storage.erasure.targets import Scope, Target
from storage.erasure.ways import buckets_dropped, leaves_ended, roots_ended
from storage.errors import Erased, Unavailable
from storage.keys import PROBE_AAD, provider_key
from storage.lease import LEASE_S
from storage.ledger import Ledger
from storage.locks import check_turn
from storage.model import TenantId
from storage.objects import ObjectStore
from storage.preparations import clear_prepared
from storage.providers import KeyProvider
from storage.rewrapping import LEAVES_AT_ONCE
from storage.tables import change_steps, changes, erasures
from storage.times import utc
from storage.ways import newest_secret
from storage.witness import Witness
from storage.witness.pending import Keeping
from storage.witness.rows import Rows, marks, rows_written

EXCEPTIONS = (
    "copies exported before the erasure",
    "process memory until each process that used the call ends",
    "the key provider's own history until its finality bound",
    "ciphertext without its key in the object store until it is deleted, where locked until its lock ends",
)

SANITIZATION = {
    "tool": f"callvault {version('callvault')}",
    "method": "purge by cryptographic erase (NIST SP 800-88r2)",
    "keys": "AES-256-GCM; every key that ever wrapped the target was replaced",
    "verification": "every survivor read back; a probe sealed under the destroyed key does not open",
}
"""What a certificate of sanitization says of how it was done; who, when and with what stand beside it."""

_ATTEMPTS = 4
"""How often the one transaction gives way to what has come since; it does what is left at the last."""

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
class Surroundings:
    """What erasing works with. `clock` gives Unix time; `pause` waits; `on_step` is told each step that is durable."""

    catalogue: Catalogue
    provider: KeyProvider
    objects: ObjectStore
    ledger: Ledger
    locks: Path
    clock: Callable[[], float]
    witness: Witness
    pause: Callable[[float], None] = time.sleep
    on_step: Callable[[Step], None] = lambda _step: None

    def tell(self, step: Step, of: str) -> None:
        """A step is durable."""
        log.info("erasure step", extra={"erasure": of, "step": step.value})
        self.on_step(step)


class Change:
    """One change of epoch of one tenant, carried out by the holder of its lock."""

    def __init__(self, surroundings: Surroundings, change: str, tenant: TenantId, turn: int) -> None:
        self._with = surroundings
        self.id = change
        self._tenant = tenant
        self._turn = turn
        self._acts: dict[Step, Callable[[], None]] = {
            Step.LAPSE: self._lapse,
            Step.NEXT_KEY: self._next_key,
            Step.REWRAP: self._rewrap,
            Step.READ_BACK: self._read_back,
            Step.DESTROY: self._destroy,
            Step.DONE: self._done,
            Step.SWEEP: self._sweep,
        }

    def advance(self, last: Step) -> None:
        """Carries out what remains, up to a step. StoreError if one fails: it is tried again by the next run."""
        done = self._steps()
        for step, act in self._acts.items():
            if step.value not in done:
                act()
                self._with.tell(step, self.id)
            if step is last:
                return

    def _lapse(self) -> None:
        # Counted from now, not from the graves: after a crash nobody knows when they became visible.
        self._with.pause(LEASE_S)
        self._write(Step.LAPSE, {})

    def _next_key(self) -> None:
        with self._with.catalogue.reading() as connection:
            newest = {
                root.value: epoch_row(connection, self._tenant, root)
                for root in roots_ended(connection, self.id, self._tenant)
            }
        epochs = {root: row.n for root, row in newest.items() if row is not None}
        for root, n in epochs.items():
            self._with.provider.create(provider_key(self._tenant, root, n + 1))
        self._write(Step.NEXT_KEY, {"epochs": epochs})

    def _rewrap(self) -> None:
        with self._with.catalogue.reading() as connection:
            rows = [epoch_row(connection, self._tenant, root, n) for root, n in self._epochs().items()]
            ended, dropped = leaves_ended(connection, self.id), buckets_dropped(connection, self.id)
        provider, catalogue = self._with.provider, self._with.catalogue
        epochs = [
            NextEpoch(open_secret(provider, row), make_epoch(provider, row.tenant, row.root, row.n + 1), ended, dropped)
            for row in rows
            if row is not None
        ]
        clear_prepared(self._writing, self.id)  # by an attempt that a crash ended
        try:
            for attempts_left in reversed(range(_ATTEMPTS)):
                for epoch in epochs:
                    epoch.prepare(catalogue.reading, self._writing, self.id)
                with self._writing() as connection:
                    leaves = sum([epoch.look(connection) for epoch in epochs])
                    if leaves > LEAVES_AT_ONCE and attempts_left:
                        continue  # much has come since it was prepared: that would take too long here
                    counts = {epoch.root: epoch.write(connection) for epoch in epochs}
                    raise_fence(connection, self._tenant)
                    facts = {"counts": counts, "dropped": sorted(dropped), "after": marks(connection)}
                    self._note(connection, Step.REWRAP, facts | {"leaves_in_it": leaves})
                    return
        except EpochMovedError:
            raise Unavailable("the epoch moved under the tenant's lock; nothing is destroyed") from None

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A write transaction of whoever has the tenant's lock."""
        with self._with.catalogue.writing() as connection:
            check_turn(connection, self._tenant, self._turn)
            yield connection

    def _read_back(self) -> None:
        written = self._steps()[Step.REWRAP]
        dropped = frozenset(written["dropped"])
        with self._with.catalogue.reading() as connection:
            compared = {
                root: read_back(connection, self._with.provider, self._tenant, root, n + 1, dropped)
                for root, n in self._epochs().items()
            }
        batch = self._with.witness.batches.publish(self.id, self._tenant, lambda: self._written(written))
        with self._writing() as connection:
            query = select(erasures.c.id).where(erasures.c.change == self.id).order_by(erasures.c.serial)
            of_change = {"change": self.id, "erasures": list(connection.scalars(query)), "epochs": self._epochs()}
            self._with.ledger.append(connection, "keys", self._with.clock(), batch.facts() | of_change)
            self._note(connection, Step.READ_BACK, {"compared": compared})

    def _written(self, rewrap: dict[str, Any]) -> Rows:
        """The rows of the new epochs, as the catalogue has them now."""
        begun = {root: n + 1 for root, n in self._epochs().items()}
        with self._with.catalogue.reading() as connection:
            return rows_written(connection, self._tenant, begun, rewrap["after"])

    def _destroy(self) -> None:
        # A restore must know what is destroyed here, and have the keys of what is not, holds' too: see storage/witness.
        around = self._with
        Keeping(around.catalogue, around.witness, around.ledger, around.clock).publish(tenant=self._tenant)
        keys = []
        for root, n in self._epochs().items():
            with self._with.catalogue.reading() as connection:
                check_turn(connection, self._tenant, self._turn)
                row = epoch_row(connection, self._tenant, root, n)
                following = epoch_row(connection, self._tenant, root, n + 1)
            if following is not None:
                newest_secret(self._with.provider, following)  # a provider that has not this proves nothing
            name = provider_key(self._tenant, root, n)
            answer = self._with.provider.destroy(name)
            destroyed_at = utc(self._with.clock())
            self._probe(name, row.probe if row is not None else b"")
            failed_at = utc(self._with.clock())
            key = {"name": name, "answer": answer, "destroyed_at": destroyed_at, "probe_failed_at": failed_at}
            keys.append(key)
        self._write(Step.DESTROY, {"keys": keys})

    def _probe(self, name: str, probe: bytes) -> None:
        """Unavailable if a destroyed key still opens its probe, or if nobody knows whether it does."""
        try:
            self._with.provider.unwrap(name, probe, PROBE_AAD)
        except Erased:
            return
        raise Unavailable(f"the provider says that it destroyed key {name}, and still opens with it")

    def _done(self) -> None:
        keys = self._steps()[Step.DESTROY]["keys"]
        with self._writing() as connection:
            close_graves(connection, self.id)
            query = select(erasures).where(erasures.c.change == self.id).order_by(erasures.c.serial)
            carried_out = connection.execute(query).all()
            if not carried_out:
                facts = {"tenant": self._tenant, "change": self.id, "keys": keys}
                self._with.ledger.append(connection, "rotated", self._with.clock(), facts)
            for row in carried_out:
                target = Target.parse(row.target)
                kept = survivors(connection, self._tenant, target, self._with.clock())
                left = self._copies(connection, row.id, target)
                statement = {
                    "erasure": row.id,
                    "tenant": row.tenant,
                    "keys": keys,
                    "sanitization": SANITIZATION,
                    "finality": self._with.provider.behind(self._tenant).finality,
                    "survivors": kept.facts(),
                    "exceptions": [*EXCEPTIONS, *kept.words(), *left],
                }
                seq = self._with.ledger.append(connection, "done", self._with.clock(), statement)
                certificate = json.dumps(self._with.ledger.certificate(connection, row.intent, seq))
                connection.execute(update(erasures).where(erasures.c.id == row.id).values(certificate=certificate))
            self._note(connection, Step.DONE, {})
        self._with.witness.copies.try_publish(self._with.catalogue)

    def _copies(self, connection: Connection, erasure: str, target: Target) -> list[str]:
        """What is said of the copies that left: of a tenant how many, of calls which."""
        if target.scope is Scope.TENANT:
            return exceptions_of(connection, self._tenant, (), everything=True)
        copied = calls_copied(connection, self._tenant, erasure, target)
        return exceptions_of(connection, self._tenant, copied)

    def _sweep(self) -> None:
        dropped = self._steps()[Step.REWRAP]["dropped"]
        sweep = Sweep(self._with.catalogue, self._with.objects, self._with.ledger, self._with.clock)
        counts = sweep.run(self.id, self._tenant, self._epochs(), dropped)
        clear_prepared(self._with.catalogue.writing, self.id)
        with self._with.catalogue.writing() as connection:  # whoever sweeps needs no turn: only waste is deleted
            connection.execute(update(changes).where(changes.c.id == self.id).values(finished=True))
            self._note(connection, Step.SWEEP, counts)

    def _write(self, step: Step, facts: dict[str, Any]) -> None:
        with self._writing() as connection:
            self._note(connection, step, facts)

    def _note(self, connection: Connection, step: Step, facts: dict[str, Any]) -> None:
        row = {"change": self.id, "step": step.value, "facts": json.dumps(facts)}
        connection.execute(change_steps.insert(), row)

    def _steps(self) -> dict[str, dict[str, Any]]:
        """The steps that are done, each with what came of it."""
        with self._with.catalogue.reading() as connection:
            rows = connection.execute(select(change_steps).where(change_steps.c.change == self.id)).all()
        return {row.step: json.loads(row.facts) for row in rows}

    def _epochs(self) -> dict[str, int]:
        """Root → the epoch that this change ends."""
        epochs: dict[str, int] = self._steps()[Step.NEXT_KEY]["epochs"]
        return epochs
