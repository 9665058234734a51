"""Each tenant's keys at the provider that it chose: a key's name says whose it is, and that says where it is kept.

`<tenant id>-<root>-<n>` goes to the tenant's own provider if it has one; every other key, and `installation`, to the
store's. One that cannot be reached keeps nobody else waiting or from working. A tenant whose keys are at a provider of
its own that this process was not told of is *barred*: the store's own provider would answer that its keys are not
there, and that must never pass for their destruction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping

from storage.errors import Unavailable, WrongProvider
from storage.model import TenantId
from storage.providers import KeyProvider


class Routed:
    """Passes each operation on. Tenants' providers are opened at their first use, and again until that works."""

    def __init__(self, store: KeyProvider) -> None:
        self._store = store
        self._opened: dict[str, KeyProvider] = {}
        self._openers: Mapping[TenantId, Callable[[], KeyProvider]] = {}
        self._barred: Collection[str] = ()
        self._lock = threading.Lock()

    def route(self, openers: Mapping[TenantId, Callable[[], KeyProvider]], barred: Collection[str]) -> None:
        """From now on these tenants' keys are there, and those of the barred ones nowhere."""
        self._openers, self._barred = openers, barred

    @property
    def finality(self) -> str:
        """The store's."""
        return self._store.finality

    @property
    def region(self) -> str:
        """The store's."""
        return self._store.region

    @property
    def non_extractable(self) -> bool:
        """Of the store's."""
        return self._store.non_extractable

    def behind(self, name: str) -> KeyProvider:
        """Where the key is; Unavailable if that cannot be opened, WrongProvider if it was not told."""
        tenant = TenantId(name.partition("-")[0])
        if tenant in self._barred:
            raise WrongProvider("the tenant's keys are at a provider of its own: name it in the tenant's `keys`")
        if tenant not in self._openers:
            return self._store
        with self._lock:
            found = self._opened.get(tenant)
        if found is None:
            found = self._openers[tenant]()
            with self._lock:
                found = self._opened.setdefault(tenant, found)
        return found

    def clock(self) -> int | None:
        """The store's; tenants' own are asked by `behind`."""
        return self._store.clock()

    def create(self, name: str) -> None:
        """As its provider does."""
        self.behind(name).create(name)

    def wrap(self, name: str, plaintext: bytes, aad: bytes) -> bytes:
        """As its provider does."""
        return self.behind(name).wrap(name, plaintext, aad)

    def unwrap(self, name: str, wrapped: bytes, aad: bytes) -> bytes:
        """As its provider does."""
        return self.behind(name).unwrap(name, wrapped, aad)

    def destroy(self, name: str) -> str:
        """As its provider does."""
        return self.behind(name).destroy(name)

    def exists(self, name: str) -> bool:
        """As its provider does."""
        return self.behind(name).exists(name)

    def check(self) -> None:
        """Of the store's; tenants' own are theirs, and `check_each` asks them."""
        self._store.check()

    def check_each(self) -> Mapping[TenantId, Unavailable | None]:
        """Of each tenant with a provider of its own, what is wrong with that."""
        found: dict[TenantId, Unavailable | None] = {}
        for tenant in self._openers:
            try:
                self.behind(tenant).check()
                found[tenant] = None
            except Unavailable as error:
                found[tenant] = error
        return found
