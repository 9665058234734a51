"""Opened keys, held in memory for the next time: so many at most, and a tenant's only until its fence moves."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping


class KeyCache:
    """Keys by tenant and the id that names them; thread-safe. The fence is the caller's, from its own snapshot."""

    def __init__(self, keys_max: int) -> None:
        """Some 250 bytes each. Beyond `keys_max` another tenant's keys go first, those not used for longest."""
        self._keys_max = keys_max
        self._lock = threading.Lock()
        self._count = 0
        self._of: OrderedDict[str, tuple[int, dict[str, bytes]]] = OrderedDict()

    def get(self, tenant: str, fence: int, key_id: str) -> bytes | None:
        """The key, if it is held and was opened under this fence."""
        with self._lock:
            at, keys = self._of.get(tenant, (-1, {}))
            return keys.get(key_id) if at == fence else None

    def get_each(self, tenant: str, fence: int, wanted: Collection[str]) -> dict[str, bytes]:
        """Those that are held."""
        with self._lock:
            at, keys = self._of.get(tenant, (-1, {}))
            return {key_id: keys[key_id] for key_id in wanted if key_id in keys} if at == fence else {}

    def put(self, tenant: str, fence: int, opened: Mapping[str, bytes]) -> None:
        """Holds keys that were opened under this fence; those of another fence are forgotten."""
        with self._lock:
            at, keys = self._of.get(tenant, (-1, {}))
            if at > fence:  # opened in a snapshot of before
                return
            if at < fence:
                self._count -= len(keys)
                keys = {}
            self._of[tenant] = fence, keys
            self._of.move_to_end(tenant)
            before = len(keys)
            keys.update(opened)
            self._count += len(keys) - before
            self._shrink(tenant, keys)

    def pass_fence(self, tenant: str, fence: int, living: Callable[[], Collection[str]]) -> None:
        """Keeps what is held under an earlier fence as far as it is still among `living`, which is asked only then."""
        with self._lock:
            at, keys = self._of.get(tenant, (fence, {}))
        if at >= fence or not keys:
            return
        kept = {key_id: keys[key_id] for key_id in living() if key_id in keys}
        self.put(tenant, fence, kept)

    def _shrink(self, tenant: str, keys: dict[str, bytes]) -> None:
        while self._count > self._keys_max:
            oldest = next(iter(self._of))
            if oldest == tenant:  # the last one: its own keys, the oldest first
                for key_id in list(keys)[: self._count - self._keys_max]:
                    del keys[key_id]
                self._count = self._keys_max
            else:
                self._count -= len(self._of.pop(oldest)[1])
