"""What keeps a store from its own past: the witness, backups, and the key that signs the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.backup.take import Source, Taken, take
from storage.catalogue import Catalogue
from storage.errors import Unavailable
from storage.installation import change_ledger_key
from storage.ledger import newest_of
from storage.model import Root, TenantId
from storage.providers import KeyProvider
from storage.witness import Witness
from storage.witness.rows import Rows, rows_below

log = logging.getLogger(__name__)


def compare(witness: Witness, catalogue: Catalogue) -> None:
    """RolledBack or Tampered if the witness has seen a newer or another ledger than the catalogue's.

    A witness that is away refuses nothing: calls go on, and destroying waits for it.
    """
    try:
        witness.copies.check(catalogue)
        witness.copies.publish(catalogue)
    except Unavailable as error:
        log.warning("the witness is away, the ledger is not compared", extra={"reason": type(error).__name__})


class Safekeeping:
    """The part of an open store that looks after its copies elsewhere."""

    def __init__(self, source: Source, provider: KeyProvider) -> None:
        self._source = source
        self._provider = provider

    def back_up(
        self, target: Path, *, with_objects: bool | None = None, tell: Callable[[str], None] = lambda _line: None
    ) -> Taken:
        """Makes a new version of a backup in `target`, while calls go on; see `storage.backup.take`. Unavailable."""
        return take(self._source, target, with_objects=with_objects, tell=tell)

    def tell_witness(self) -> bool:
        """Copies new entries of the ledger to the witness; False while it is away. Tampered if it has others."""
        return self._source.witness.copies.try_publish(self._source.catalogue)

    def keep_hold(self, tenant: TenantId, hold: str) -> None:
        """Copies the key rows that a hold placed to the witness, and says so in the ledger; after the hold's commit.

        From then on a restore brings back what is held, whatever ends meanwhile. Unavailable: ask again later.
        """
        source = self._source

        def rows() -> Rows:
            with source.catalogue.reading() as connection:
                return rows_below(connection, tenant, [Root.HOLD.value], hold)

        batch = source.witness.batches.publish(hold, tenant, rows)
        with source.catalogue.writing() as connection:
            source.ledger.append(connection, "keys", source.clock(), batch.facts() | {"hold": hold})
        source.witness.copies.publish(source.catalogue)

    def ledger_head(self) -> dict[str, Any] | None:
        """The last entry of the ledger: who keeps it can tell a catalogue that is older. None while there is none."""
        with self._source.catalogue.reading() as connection:
            newest = self._source.ledger.newest(connection)
        return None if newest is None else newest.members()

    def last_entry(self, kind: str) -> str:
        """When the ledger got its newest entry of a type, such as `backup` (UTC); "" if it never did."""
        with self._source.catalogue.reading() as connection:
            found = newest_of(connection, kind)
        return "" if found is None else str(found.body["at"])

    def ledger_key_changes(self) -> list[dict[str, Any]]:
        """The entries by which one key of the ledger followed the other: what `callvault verify` may be given."""
        with self._source.catalogue.reading() as connection:
            return [entry.members() for entry in self._source.ledger.key_changes(connection)]

    def change_ledger_key(self) -> str:
        """Gives the ledger a new key, which the old one signs for; the new fingerprint. Open the store anew afterwards.

        Whoever else has it open can erase nothing until it does so, too.
        """
        source = self._source
        return change_ledger_key(source.catalogue, self._provider, source.ledger, source.clock())
