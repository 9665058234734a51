"""What keeps a store from its own past: the witness, backups, and the key that signs the ledger."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.backup.take import Source, Taken, take
from storage.catalogue import Catalogue
from storage.errors import StoreError, Unavailable
from storage.installation import change_ledger_key
from storage.ledger import newest_of
from storage.providers import KeyProvider
from storage.witness import Witness
from storage.witness.pending import AT_ONCE, Keeping, waiting

AWAY_S = 10.0
"""So long nobody waits again for a witness that was away; what is noted goes there when it is back."""

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
        self._keeping = Keeping(source.catalogue, source.witness, source.ledger, source.clock)
        self._away_until = 0.0  # monotonic
        self._lock = threading.Lock()

    def back_up(
        self, target: Path, *, with_objects: bool | None = None, tell: Callable[[str], None] = lambda _line: None
    ) -> Taken:
        """Makes a new version of a backup in `target`, while calls go on; see `storage.backup.take`. Unavailable."""
        return take(self._source, target, with_objects=with_objects, tell=tell)

    def tell_witness(self) -> bool:
        """Copies new entries of the ledger to the witness, and up to 100 records and holds that it has not got.

        False while it is away, or lacks some still. Tampered if it has another ledger, DataError if it gives back other
        rows.
        """
        source = self._source
        if not source.witness.copies.try_publish(source.catalogue):
            return False
        self._away_until = 0.0
        if not waiting(source.catalogue):
            return True
        try:
            self._keeping.publish(limit=AT_ONCE)
        except Unavailable as error:
            log.warning("records are copied to the witness later", extra={"reason": type(error).__name__})
            return False
        return not waiting(source.catalogue)

    def keep(self, named: str | None = None) -> bool:
        """Puts what was noted under this name (none: the ledger alone) into the witness at once, after its commit.

        From then on no restore forgets it. False where the witness is away or wrong: it is noted, an alarm stands, and
        it goes there as soon as it can; who asks need not fail for that.
        """
        with self._lock:
            if time.monotonic() < self._away_until:
                return False
        try:
            if named is None:
                self._source.witness.copies.publish(self._source.catalogue)
            else:
                self._keeping.publish(named=named)
        except StoreError as error:
            with self._lock:
                self._away_until = time.monotonic() + AWAY_S
            level = logging.WARNING if isinstance(error, Unavailable) else logging.ERROR
            log.log(level, "not in the witness yet", extra={"named": named or "", "reason": type(error).__name__})
            return False
        return True

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
