"""Objects in an S3 bucket, for more than one machine: `s3://HOST/BUCKET/PREFIX`.

An object is one request, whole or not at all, and sent again a few times before the store counts as away. Not every
store honours the condition "only if there is none" (If-None-Match); where it does not, a look before the put stands in
for it, which two writers of one name can slip through: our names are random, so nobody has the same one.
Deleting means every version and delete marker. What the store's object lock keeps is told, with the day that ends it.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from storage.errors import AlreadyExists, NotFound, Unavailable
from storage.objects.address import BucketAddress
from storage.objects.credentials import CredentialSource
from storage.objects.names import ObjectInfo, check_name, check_prefix, is_name
from storage.objects.openness import Openness, is_open_list, policy_openness
from storage.objects.outcomes import Finding, Kept, Purged
from storage.objects.s3 import DELETES_AT_ONCE, S3, Unreachable, Version

ATTEMPTS = 3
"""Of one request: a lost connection or a busy moment is not felt. Longer faults are for who asked to wait out."""
PAUSE_S, PAUSE_GROWTH = 0.2, 3.0
"""Before the second attempt, and how much longer before each one after it; half of it is chance."""

_PROBE = ".callvault-probe"
"""Object that is written to find out what the store can do. No name of ours begins with a dot. It stays: where objects
are locked, a new one at each start would be a new leftover."""
_PROBE_DATA = b"callvault writes this to find out whether it may, and whether conditions are honoured\n"

_Found = TypeVar("_Found")


class BucketStore:
    """An `ObjectStore` in a bucket, below a prefix that nobody else writes to."""

    def __init__(self, address: BucketAddress, s3: S3, pause: Callable[[float], None] = time.sleep) -> None:
        self._address = address
        self._s3 = s3
        self._prefix = address.prefix
        self._pause = pause
        self._probing = threading.Lock()
        self._conditional: bool | None = None  # whether the store honours If-None-Match; None: not asked yet

    @classmethod
    def from_url(cls, url: str) -> BucketStore:
        """The store that the URL names; `Malformed` for any other form. See `address` and `credentials`."""
        address = BucketAddress.parse(url)
        return cls(address, S3(address, CredentialSource(address.credentials, os.environ)))

    def put(self, name: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        key = self._key(name)
        if not self._honours_conditions() and self._exists(key):
            raise AlreadyExists("an object has that name already")
        attempts = 0

        def put() -> None:
            nonlocal attempts
            attempts += 1
            try:
                self._s3.put(key, data)
            except AlreadyExists:
                if attempts == 1 or self._s3.get(key) != data:  # else it was our own attempt, whose answer was lost
                    raise

        self._again(put)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """See `ObjectStore.get`."""
        key = self._key(name)
        return self._again(lambda: self._s3.get(key, start, length))

    def delete(self, name: str) -> Sequence[Kept]:
        """See `ObjectStore.delete`."""
        key = self._key(name)
        return self._delete(lambda: (version for version in self._s3.versions(key) if version.key == key)).kept

    def purge(self, prefix: str) -> Purged:
        """See `ObjectStore.purge`. Nothing else than our objects lies below our prefix, so everything there goes."""
        below = self._prefix + check_prefix(prefix)
        self._again(lambda: self._s3.abort_uploads(below))
        return self._delete(lambda: self._s3.versions(below))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`. A fault between two pages is `Unavailable`: what was given stands, the rest waits."""
        for key, size in self._s3.list(self._prefix + check_prefix(prefix)):
            name = key.removeprefix(self._prefix)
            if is_name(name):  # not the probe, nor what somebody else put there
                yield ObjectInfo(name, size)

    def versions(self, prefix: str) -> Iterator[tuple[str, str]]:
        """See `ObjectStore.versions`. Delete markers are no versions; a bucket without versions has one of each."""
        for version in self._s3.versions(self._prefix + check_prefix(prefix), markers=False):
            name = version.key.removeprefix(self._prefix)
            if is_name(name):
                yield name, version.id or ""

    def get_version(self, name: str, version: str) -> bytes:
        """See `ObjectStore.get_version`."""
        key = self._key(name)
        return self._again(lambda: self._s3.get(key, version=version or None))

    def foreign(self) -> Iterator[ObjectInfo]:
        """See `ObjectStore.foreign`. What lies outside our prefix is others' business."""
        for key, size in self._s3.list(self._prefix):
            name = key.removeprefix(self._prefix)
            if name != _PROBE and not is_name(name):
                yield ObjectInfo(name, size)

    def check(self) -> None:
        """See `ObjectStore.check`. Writes only where that overwrites or is refused, so it may be asked often."""
        with self._probing:
            self._conditional = self._again(self._probe)
        if self._again(lambda: self._s3.get(self._prefix + _PROBE)) != _PROBE_DATA:
            raise Unavailable("object store, get: it gives back other bytes than were put; do not use it")

    def examine(self) -> Sequence[Finding]:
        """See `ObjectStore.examine`: access, conditions, policy, access list, versions, lifecycle, locks, transport."""
        try:
            self.check()
        except Unreachable as error:
            text = f"{error}; calls are recorded into the spool until it is back"
            return [Finding("store-away", text)]
        except Unavailable as error:
            return [Finding("store-unusable", str(error), refuse=True)]
        found = [] if self._conditional else [_NO_CONDITIONS]
        if not self._address.secure and not self._address.is_loopback:
            found.append(_NO_TLS)
        for ask in (self._openness, self._versions, self._lifecycle, self._locks):
            try:
                found += self._again(ask)
            except Unavailable as error:
                found.append(Finding("store-unknown", f"{error}; so nobody has looked whether the bucket is safe"))
        return found

    # Objects.

    def _key(self, name: str) -> str:
        return self._prefix + check_name(name)

    def _exists(self, key: str) -> bool:
        try:
            self._again(lambda: self._s3.size(key))
        except NotFound:
            return False
        return True

    def _delete(self, versions: Callable[[], Iterator[Version]]) -> Purged:
        """Deletes them all, at once or after a fault; tells what went whole, and what locks keep of the others."""
        seen: set[str] = set()
        kept: dict[str, Kept] = {}

        def delete() -> None:
            found = versions()
            while chunk := list(islice(found, DELETES_AT_ONCE)):
                seen.update(version.key for version in chunk)
                for key in self._s3.delete(chunk):
                    left = self._kept(key, [version for version in chunk if version.key == key])
                    kept[key] = _longer(kept.get(key, left), left)

        self._again(delete)
        return Purged(len(seen - kept.keys()), [kept[key] for key in sorted(kept)])

    def _kept(self, key: str, versions: Sequence[Version]) -> Kept:
        """Which lock keeps one of these versions of an object longest; Unavailable if no lock does."""
        locks = [lock for lock in map(self._s3.lock_of, versions) if lock.hold or lock.until is not None]
        if not locks:
            raise Unavailable("object store, delete: these credentials may not delete versions; allow them to")
        days = [None if lock.hold else lock.until for lock in locks]
        until = None if None in days else max(day for day in days if day is not None)
        return Kept(key.removeprefix(self._prefix), until)

    def _again(self, request: Callable[[], _Found]) -> _Found:
        """What the request gives, tried again while the store is only unreachable."""
        pause_s = PAUSE_S
        for _ in range(ATTEMPTS - 1):
            try:
                return request()
            except Unreachable:
                self._pause(pause_s * (0.5 + secrets.randbelow(1000) / 1000))
                pause_s *= PAUSE_GROWTH
        return request()

    # What the store is like.

    def _honours_conditions(self) -> bool:
        with self._probing:
            if self._conditional is None:
                self._conditional = self._again(self._probe)
            return self._conditional

    def _probe(self) -> bool:
        """Puts the probe until it stands there; whether it was refused because it stood there already."""
        for _ in range(2):
            try:
                self._s3.put(self._prefix + _PROBE, _PROBE_DATA)
            except AlreadyExists:
                return True
        return False

    def _openness(self) -> Sequence[Finding]:
        policy, granted = self._s3.policy(), self._s3.access_list()
        openness = policy_openness(policy) if policy else Openness.CLOSED
        if openness is Openness.OPEN or (granted is not None and is_open_list(granted)):
            return [_PUBLIC]
        return [_CONDITIONAL] if openness is Openness.CONDITIONAL else []

    def _versions(self) -> Sequence[Finding]:
        return [_VERSIONED] if self._s3.versioning() is not None else []

    def _lifecycle(self) -> Sequence[Finding]:
        ours = [
            rule
            for rule in self._s3.lifecycle()
            if rule.prefix.startswith(self._prefix) or self._prefix.startswith(rule.prefix)
        ]
        expires = [_EXPIRES] if any(rule.expires for rule in ours) else []
        return expires + ([_MOVES] if any(rule.moves for rule in ours) else [])

    def _locks(self) -> Sequence[Finding]:
        default = self._s3.default_lock()
        return [Finding("store-locked", _LOCKED.format(default))] if default else []


def _longer(one: Kept, other: Kept) -> Kept:
    """The one whose lock ends later; a hold has no end."""
    if one.until is None or other.until is None:
        return one._replace(until=None)
    return max(one, other, key=lambda kept: kept.until or 0.0)


_NO_CONDITIONS = Finding(
    "store-unconditional",
    "the store ignores If-None-Match: that no object is written twice rests on their random names",
)
_NO_TLS = Finding("store-plain", "objects travel without TLS: sizes and names can be read on the way; use s3://")
_PUBLIC = Finding(
    "store-public",
    "the bucket is public: strangers see who was recorded when, or delete; close its policy and access list",
    refuse=True,
)
_CONDITIONAL = Finding(
    "store-conditional",
    "the bucket's policy admits everybody who meets its conditions; look whether that is meant",
)
_VERSIONED = Finding(
    "store-versioned",
    "the bucket keeps versions: erasing removes them all, so the credentials need s3:DeleteObjectVersion",
)
_EXPIRES = Finding(
    "store-expires",
    "a lifecycle rule of the bucket deletes recordings by itself; remove it, retention is callvault's",
)
_MOVES = Finding(
    "store-moves",
    "a lifecycle rule moves recordings to another storage class; where that needs a restore they cannot be heard",
)
_LOCKED = (
    "new objects are locked ({}): erasing destroys keys at once as ever; the unreadable rest is listed, and deleted "
    "when its lock ends"
)
