"""The ledger's entries in the witness: published in their order, compared at every start, read by a restore.

Entry n is the object `ledger/<n, 12 digits>`. Entries are put one after the other, so the highest one is soon found:
near the end of the catalogue's own ledger, before it if the witness was away, behind it if the catalogue is an old one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from sqlalchemy import func, select

from storage.catalogue import Catalogue
from storage.chain import Entry
from storage.errors import AlreadyExists, NotFound, RolledBack, Tampered, Unavailable
from storage.ledger import read_entries
from storage.objects import ObjectStore
from storage.tables import ledger

_FOLDER = "ledger/"
_DIGITS = 12
_TAIL_DIGITS = 3
"""A listing is of the entries that have the same number but for so many digits: a thousand, one page of any store."""

_MEND = "run `callvault restore` with the newest backup, into an empty folder; nothing was changed"

log = logging.getLogger(__name__)


class Copies:
    """The copies of one catalogue's ledger; thread-safe, and safe beside other processes."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._lock = threading.Lock()
        self._published: int | None = None  # up to which entry all are there; None: nobody has looked

    def publish(self, catalogue: Catalogue) -> int:
        """Puts every entry that is missing; gives the number of the last one.

        Unavailable if the witness is away; Tampered if it has another entry in its place.
        """
        with self._lock:
            with catalogue.reading() as connection:
                last = _last(connection.scalar(select(func.max(ledger.c.seq))))
                if self._published is None:
                    self._published = self.highest(last)
                waiting = list(read_entries(connection, self._published + 1)) if last > self._published else []
            for entry in waiting:
                self._put(entry)
                self._published = entry.seq
            return self._published

    def try_publish(self, catalogue: Catalogue) -> bool:
        """The same where it may wait: what is missing now is put later. Tampered as above."""
        try:
            self.publish(catalogue)
        except Unavailable as error:
            log.warning("the witness is away, the ledger is copied later", extra={"reason": type(error).__name__})
            return False
        return True

    def check(self, catalogue: Catalogue) -> None:
        """RolledBack if the witness has seen a newer ledger than the catalogue's, Tampered if another; Unavailable.

        The witness is asked first: what it has was in the catalogue before, so whatever others append meanwhile is no
        contradiction.
        """
        seen = self._newest_seen(self._last_of(catalogue))
        if seen is None:
            return
        with catalogue.reading() as connection:
            row = connection.execute(select(ledger.c.hash).where(ledger.c.seq == seen.seq)).first()
        if row is None:
            raise RolledBack(f"the catalogue is older than its witness, which has entry {seen.seq}: {_MEND}")
        if row.hash != seen.hash:
            raise Tampered(f"entry {seen.seq} of the ledger is another one than the witness has: {_MEND}")

    def read(self, first: int) -> Iterator[Entry]:
        """The copies from number `first` on, up to the last one without a gap; not verified but for their form."""
        number = first
        while True:
            entry = self.entry(number)
            if entry is None:
                break
            yield entry
            number += 1
        if later := self._above(number):
            raise Tampered(f"the witness lacks entry {number} of the ledger and has entry {min(later)}")

    def entry(self, seq: int) -> Entry | None:
        """One copy; None if there is none, Malformed if it is no entry, Tampered if it is another one."""
        try:
            found = Entry.parse(self._objects.get(_name(seq)))
        except NotFound:
            return None
        if found.seq != seq:
            raise Tampered(f"the witness has another entry of the ledger in the place of entry {seq}")
        return found

    def highest(self, near: int) -> int:
        """The number of the last copy, found from the number `near` on; 0 if there is none."""
        if above := self._above(near + 1):
            return max(above)
        for thousand in range(near // 10**_TAIL_DIGITS, -1, -1):
            if found := self._listed(thousand):
                return max(found)
        return 0

    def _put(self, entry: Entry) -> None:
        try:
            self._objects.put(_name(entry.seq), entry.encode())
        except AlreadyExists:
            there = self.entry(entry.seq)
            if there is None or there.hash != entry.hash:
                raise Tampered(
                    f"the witness has another entry {entry.seq} of the ledger: two stores share it"
                ) from None

    def _newest_seen(self, last: int) -> Entry | None:
        seen = self.highest(last)
        return self.entry(seen) if seen else None

    def _last_of(self, catalogue: Catalogue) -> int:
        with catalogue.reading() as connection:
            return _last(connection.scalar(select(func.max(ledger.c.seq))))

    def _above(self, first: int) -> set[int]:
        """Numbers of copies from `first` on: of its thousand and all that follow, up to one that is empty."""
        found: set[int] = set()
        thousand = first // 10**_TAIL_DIGITS
        while True:
            listed = self._listed(thousand)
            found |= {number for number in listed if number >= first}
            thousand += 1
            if not listed and thousand > first // 10**_TAIL_DIGITS + 1:
                return found

    def _listed(self, thousand: int) -> set[int]:
        prefix = f"{_FOLDER}{thousand:0{_DIGITS - _TAIL_DIGITS}d}"
        names = (info.name.removeprefix(_FOLDER) for info in self._objects.list(prefix))
        return {int(name) for name in names if len(name) == _DIGITS and name.isdecimal()}


def _last(found: object) -> int:
    return found if isinstance(found, int) else 0


def _name(seq: int) -> str:
    return f"{_FOLDER}{seq:0{_DIGITS}d}"
