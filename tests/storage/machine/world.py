"""A store whose time is set and that can be killed at any step, with backups of it and an attack on all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sqlalchemy import func, select

from storage.closings import Closings
from storage.erasure import Eraser, Step
from storage.expiry import Expiry
from storage.model import ArtefactId, TenantId, new_id
from storage.providers import open_provider
from storage.tables import artefact_keys, buckets, epochs, nodes, tags
from tests.storage.postgres import Cluster
from tests.storage.recovering import recover_each
from tests.storage.stores import copy_data, open_at, put_catalogue

BEGAN_S = 1_800_000_000


class Crash(BaseException):
    """The process is killed."""


class World:
    """The store in a folder."""

    def __init__(self, root: Path, server: Cluster | None) -> None:
        self.root = root
        self._server = server
        if server is not None:
            put_catalogue(root, server)
        self.now_s = BEGAN_S
        self.steps: list[Step] = []
        """Since the last `act`."""
        self.backups: list[str] = []
        self._crash_at: Step | None = None
        self._open()

    def _open(self) -> None:
        self.store = open_at(self.root, clock=self.now)
        self.catalogue = self.store._catalogue
        # No lease is waited for: nobody reads meanwhile.
        around = replace(self.store.erasures._with, pause=lambda _wait_s: None, on_step=self._step)
        self.eraser = Eraser(around)
        closing = (
            self.store.erasures._with.provider,
            self.store._ledger,
            self.eraser,
            self.store._base.locks,
            self.now,
        )
        self.closings = Closings(self.catalogue, *closing)
        self.expiry = Expiry(self.catalogue, self.eraser, self.store.timekeeper, self.now)

    def now(self) -> int:
        return self.now_s

    def close(self) -> None:
        """Ends for good."""
        self.store.close()
        if self._server is not None:
            self._server.drop()

    def restart(self) -> None:
        """Ends, and begins with what is on disk."""
        self.store.close()
        self._open()

    def act(self, do: Callable[[], object], crash: Step | None) -> bool:
        """Does something, or is killed at a step of it and starts again; whether it was done."""
        self.steps, self._crash_at = [], crash
        try:
            do()
            self.eraser.sweep()  # as the server does every few minutes: what a change before has left
        except Crash:
            self.restart()
            return False
        finally:
            self._crash_at = None
        return True

    def _step(self, step: Step) -> None:
        self.steps.append(step)
        if step is self._crash_at:
            raise Crash

    def back_up(self) -> None:
        name = f"backup-{new_id()[:8]}"
        copy_data(self.root, name)
        self.backups.append(name)

    def recovered(self, tenants: list[TenantId]) -> set[ArtefactId]:
        """What the key provider of today opens, with all rows of today and of all backups."""
        provider = open_provider(f"file:{self.root}/keys", self.root / "data")
        return recover_each(self.root, [*self.backups, "data"], provider, tenants)

    def leftover_rows(self, tenant: TenantId) -> dict[str, int]:
        """Rows of keys that lead to no newest epoch, by table."""
        with self.catalogue.reading() as connection:
            query = select(epochs.c.root, func.max(epochs.c.n).label("newest")).where(epochs.c.tenant == tenant)
            of = {row.root: row.newest for row in connection.execute(query.group_by("root"))}
            over = [
                row
                for row in connection.execute(select(buckets).where(buckets.c.tenant == tenant))
                if row.epoch < of[row.root]
            ]
            parents = set(connection.scalars(select(buckets.c.id))) | set(connection.scalars(select(nodes.c.id)))
            of_epochs = connection.execute(select(epochs).where(epochs.c.tenant == tenant))
            return {
                "buckets": len(over),
                "epochs": sum(any(row.wrapped) or any(row.probe) for row in of_epochs if row.n < of[row.root]),
                "nodes": sum(parent not in parents for parent in connection.scalars(select(nodes.c.parent))),
                "keys": sum(leaf not in parents for leaf in connection.scalars(select(artefact_keys.c.leaf))),
                "tags": sum(leaf not in parents for leaf in connection.scalars(select(tags.c.leaf))),
            }
