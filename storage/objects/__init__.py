"""Object stores: immutable ciphertext under random names, behind one small interface.

A new backend is one class like `FolderStore` and `BucketStore` and one row in `_SCHEMES`; the suite in
tests/storage/test_objects.py runs over all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from storage.errors import Malformed
from storage.objects.folder import FolderStore
from storage.objects.names import ObjectInfo
from storage.objects.outcomes import Finding, Kept, Purged

__all__ = ["Finding", "Kept", "ObjectInfo", "ObjectStore", "Purged", "open_store"]


class ObjectStore(Protocol):
    """Holds whole immutable objects. Safe to call from several threads; names are those of `check_name`.

    Every method raises `Unavailable` if the store is away, and `Malformed` for what is no name.
    """

    def put(self, name: str, data: bytes) -> None:
        """Store `data`: durable when this returns, whole or not at all. `AlreadyExists` if the name is taken."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `start` (all that follow if None), fewer where the object ends. `NotFound`."""

    def delete(self, name: str) -> Sequence[Kept]:
        """Remove the object in all its versions; nothing happens if there is none. Gives what a lock keeps."""

    def purge(self, prefix: str) -> Purged:
        """Remove every object whose name begins with `prefix`, as `delete` does, and what unfinished puts left."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose name begins with `prefix`, in no order; those being put or deleted may be missing."""

    def versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Name and version of everything that is kept below `prefix`, also what is deleted for who asks `list`."""

    def get_version(self, name: str, version: str) -> bytes:
        """One of those, whole. `NotFound`."""

    def foreign(self) -> Iterator[ObjectInfo]:
        """What lies there under names that are none of ours: `list` does not have it."""

    def check(self) -> None:
        """`Unavailable`, saying what would mend it, unless objects can be written and read here now."""

    def examine(self) -> Sequence[Finding]:
        """What its operator should know before it is used, with what `check` found. Never raises; for the start."""


def _open_bucket(url: str) -> ObjectStore:
    from storage.objects.bucket import BucketStore  # noqa: PLC0415  # 14 MB and 0.3 s, spent only where it is wanted

    return BucketStore.from_url(url)


_SCHEMES: dict[str, Callable[[str], ObjectStore]] = {
    "file": FolderStore.from_url,
    "s3": _open_bucket,
    "s3+http": _open_bucket,
}


def open_store(url: str) -> ObjectStore:
    """The store that a URL names, such as `file:/var/lib/callvault/objects`. Touches nothing yet."""
    scheme = url.partition(":")[0]
    if scheme not in _SCHEMES:
        raise Malformed(f"no object store has the scheme {scheme!r}; known: {', '.join(sorted(_SCHEMES))}")
    return _SCHEMES[scheme](url)
