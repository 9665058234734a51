"""The witness: what our own restore does not reach, in an object store of its own.

    copies   every entry of the ledger as it was signed: a catalogue older than they are is refused
    batches  the key rows that a change of epoch has written: without them no backup opens any more
    pending  what else becomes a batch: records that a restore must not forget, keys that a hold placed, statistics

What is about a person is sealed there as in the catalogue, and no key opens without the key provider. A store with
object lock is best; the default, a folder beside the data folder, guards against a restored backup and not against a
lost disk.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from storage.errors import Unavailable
from storage.objects import ObjectStore, open_store
from storage.witness.batches import Batch, Batches
from storage.witness.copies import Copies

__all__ = ["Batch", "Batches", "Copies", "Witness", "witness_url"]


@dataclass(frozen=True, slots=True)
class Witness:
    """Both parts of one witness."""

    objects: ObjectStore
    copies: Copies
    batches: Batches

    @classmethod
    def open(cls, url: str) -> Self:
        """The witness in the object store that the URL names. Touches nothing yet; Malformed."""
        objects = open_store(url)
        return cls(objects, Copies(objects), Batches(objects))


def witness_url(configured: str, data_folder: Path) -> str:
    """Where the witness is: as configured, else in a folder beside the data folder; Unavailable if it is within."""
    folder = data_folder.absolute()
    url = configured or f"file:{folder.with_name(folder.name + '-witness')}"
    if url.startswith("file:"):
        place = Path(url.removeprefix("file:").removeprefix("//"))
        with suppress(OSError, RuntimeError):  # a loop: away, which is told when it is used
            place = place.resolve()
        if folder.resolve() in (place, *place.parents):
            raise Unavailable(f"the witness {place} lies inside the data folder: give it a place elsewhere")
    return url
