"""Every path to a key: from the provider's keys down, and each key found tried where it belongs and where it does not.

The provider is asked with each of its keys for every epoch row; every secret is tried on every bucket; a node opens
under its parent. Above the artefacts that are asked for, everything is tried with everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from storage.envelope import check_commitment
from storage.errors import DataError, Erased
from storage.keys import Slot, artefact_aad, bucket_aad, epoch_aad, node_aad, provider_key, unwrap
from storage.model import ArtefactId, ArtefactRef, CallId, Kind, ParticipantId, Root, Secret, TenantId
from storage.probe.remains import EPOCHS_BEYOND, Remains, Row
from storage.providers import KeyProvider
from storage.records import Day


class Climb:
    """The keys that can be had of one tenant, and what was tried for them."""

    def __init__(self, providers: Sequence[KeyProvider], remains: Remains, tenant: str) -> None:
        """`providers` are the store's, and those of tenants that have their own: each is asked for everything."""
        self._providers = providers
        self._remains = remains
        self._tenant = tenant
        self.tried: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self._by_id: dict[str, set[bytes]] = {}  # keys of buckets, nodes and leaves by the id that names them
        self.keys: set[bytes] = set()  # all of them, and the secrets of epochs

    def begin(self) -> None:
        """Opens what opens on its own path. Unavailable if the provider is away: then nothing is proved."""
        for secret in self._secrets():
            self.keys.add(secret)
        secrets = set(self.keys)
        for row in self._remains.of("buckets"):
            if row["tenant"] == self._tenant:
                self._try("buckets", row["wrapped"], _bucket_aad(row), secrets, row["id"])
        waiting = list(self._remains.of("nodes"))
        while True:
            left = []
            for row in waiting:
                above = self._by_id.get(row["parent"])
                if above is None:
                    left.append(row)
                else:
                    self._try(
                        "nodes", row["wrapped"], node_aad(self._tenant, row["id"], row["parent"]), above, row["id"]
                    )
            if len(left) == len(waiting):
                return
            waiting = left

    def artefact_keys(self, wanted: Collection[str]) -> dict[ArtefactRef, set[bytes]]:
        """The keys of these artefacts that can be had, by whatever path."""
        self._crosswise(wanted)
        refs: dict[str, set[ArtefactRef]] = {}
        commitments: dict[str, set[bytes]] = {}
        for row in self._remains.of("artefacts"):
            if row["id"] in wanted:
                refs.setdefault(row["id"], set()).add(ref_of(row))
                commitments.setdefault(row["id"], set()).add(row["commitment"])
        found: dict[ArtefactRef, set[bytes]] = {}
        for row in self._remains.of("artefact_keys"):
            for ref in refs.get(row["artefact"], ()):
                for key in self._unwrap("artefact keys", row["wrapped"], artefact_aad(ref, row["leaf"]), self.keys):
                    if any(_fits(key, commitment) for commitment in commitments[ref.artefact]):
                        found.setdefault(ref, set()).add(key)
                        self.opened["artefact keys"] += 1
        return found

    def _secrets(self) -> Iterable[bytes]:
        rows = [row for row in self._remains.of("epochs") if row["tenant"] == self._tenant]
        last = max((row["n"] for row in rows), default=0) + EPOCHS_BEYOND
        names = [provider_key(self._tenant, root.value, n) for root in Root for n in range(last + 1)]
        for provider in self._providers:
            there = {name for name in names if provider.exists(name)}
            self.tried["provider keys"] += len(names)
            self.opened["provider keys"] += len(there)
            for row in rows:
                aad = epoch_aad(self._tenant, row["root"], row["n"])
                for name in sorted(there | {provider_key(self._tenant, row["root"], row["n"])}):
                    self.tried["epoch secrets"] += 1
                    try:
                        secret = provider.unwrap(name, row["wrapped"], aad)
                    except (Erased, DataError):
                        continue
                    self.opened["epoch secrets"] += 1
                    yield secret

    def _crosswise(self, wanted: Collection[str]) -> None:
        """Every key on every row above these artefacts, as often as that opens something new."""
        above = {row["leaf"] for row in self._remains.of("artefact_keys") if row["artefact"] in wanted}
        for _level in ("leaves", "nodes"):
            above |= {row["parent"] for row in self._remains.of("nodes") if row["id"] in above}
        before = -1
        while before != len(self.keys):
            before = len(self.keys)
            for row in self._remains.of("buckets"):
                if row["id"] in above:
                    self._try("buckets", row["wrapped"], _bucket_aad(row), set(self.keys), row["id"])
            for row in self._remains.of("nodes"):
                if row["id"] in above:
                    aad = node_aad(self._tenant, row["id"], row["parent"])
                    self._try("nodes", row["wrapped"], aad, set(self.keys), row["id"])

    def _try(self, what: str, wrapped: bytes, aad: bytes, keys: Collection[bytes], names: str) -> None:
        for key in self._unwrap(what, wrapped, aad, keys):
            if key not in self.keys:
                self.opened[what] += 1
            self.keys.add(key)
            self._by_id.setdefault(names, set()).add(key)

    def _unwrap(self, what: str, wrapped: bytes, aad: bytes, keys: Collection[bytes]) -> Iterable[bytes]:
        for key in keys:
            self.tried[what] += 1
            try:
                yield unwrap(key, wrapped, aad)
            except DataError:
                continue


def ref_of(row: Row) -> ArtefactRef:
    """The reference in a row of `artefacts`."""
    return ArtefactRef(
        tenant=TenantId(row["tenant"]),
        call=CallId(row["call"]),
        participant=ParticipantId(row["participant"]),
        artefact=ArtefactId(row["id"]),
        kind=Kind(row["kind"]),
        purpose=row["purpose"],
    )


def _bucket_aad(row: Row) -> bytes:
    slot = Slot(Kind(row["kind"]), row["purpose"], Day(row["day"]))
    return bucket_aad(row["tenant"], row["root"], row["epoch"], row["id"], slot)


def _fits(key: bytes, commitment: bytes) -> bool:
    try:
        check_commitment(Secret(key), commitment)
    except DataError:
        return False
    return True
