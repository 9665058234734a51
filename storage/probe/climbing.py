"""Every path to a key: from the provider's keys down, and each key found tried where it belongs and where it does not.

The provider is asked with each of its keys for every epoch row; every secret is tried on every bucket; a node opens
under its parent. Above the artefacts that are asked for, and on their own keys, everything is tried with everything, as
far as TRIES_MAX goes: of more rows each n-th has all keys, the others those of their path, and the report says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from storage.envelope import check_commitment
from storage.errors import DataError, Erased
from storage.installation import PROVIDER_KEY
from storage.keys import Slot, artefact_aad, bucket_aad, epoch_aad, node_aad, provider_key, unwrap
from storage.model import ArtefactId, ArtefactRef, CallId, Kind, ParticipantId, Root, Secret, TenantId
from storage.probe.remains import Remains, Row
from storage.providers import KeyProvider
from storage.records import Day

TRIES_MAX = 3_000_000
"""Of every key on every row, at each level: some ten seconds."""
FOUND_MAX = 1_000
"""Artefacts whose keys are looked for on: so many show enough, and are told one by one."""
STRANGERS_MAX = 200
"""Provider keys of other tenants that are tried as well."""
_TELL_EACH = 20_000

Tell = Callable[[str], None]


class Climb:
    """The keys that can be had of one tenant, and what was tried for them."""

    def __init__(
        self, providers: Sequence[KeyProvider], remains: Remains, tenant: str, tell: Tell = lambda _: None
    ) -> None:
        """`providers` are the store's, and those of tenants that have their own: each is asked for everything."""
        self._providers = providers
        self._remains = remains
        self._tenant = tenant
        self._tell = tell
        self.tried: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.crosswise: Counter[str] = Counter()  # how many of these rows every key was tried on
        self._by_id: dict[str, set[bytes]] = {}  # keys of buckets, nodes and leaves by the id that names them
        self.keys: set[bytes] = set()  # all of them, secrets of epochs and of the installation

    def begin(self) -> None:
        """Opens what opens on its own path. Unavailable if the provider is away: then nothing is proved."""
        self.keys |= set(self._secrets())
        secrets = set(self.keys)
        for row in self._remains.rows("SELECT * FROM buckets WHERE tenant = ?", (self._tenant,)):
            self.rows["buckets"] += 1
            self._try("buckets", row["wrapped"], _bucket_aad(row), secrets, row["id"])
        self.keys |= set(self._installation())
        before = -1
        while before != len(self._by_id):
            before = len(self._by_id)
            self.rows["nodes"] = 0
            for row in self._remains.rows("SELECT * FROM nodes"):
                self.rows["nodes"] += 1
                above = self._by_id.get(row["parent"])
                if above is not None and row["id"] not in self._by_id:
                    self._try("nodes", row["wrapped"], self._node_aad(row), above, row["id"])

    def artefact_keys(self, part: str) -> dict[ArtefactRef, set[bytes]]:
        """The keys of the artefacts of one part of what is wanted that can be had, by whatever path.

        Of what lives on only those of claimed ways.
        """
        self._crosswise(part)
        found: dict[ArtefactRef, set[bytes]] = {}
        query = (
            "FROM wanted w JOIN artefact_keys k ON k.artefact = w.id JOIN artefacts a ON a.id = w.id"
            " LEFT JOIN leaves l ON l.id = k.leaf WHERE w.part = ?1"
            " AND (w.excuse IS NULL OR w.excuse = '' OR coalesce(l.claimed, 1) OR ?1 = 'control')"
        )
        total = self._remains.number(f"SELECT count(*) {query}", (part,))  # ours
        every = _every(total, len(self.keys))
        columns = "k.wrapped, k.leaf, a.*"
        for number, row in enumerate(self._remains.rows(f"SELECT {columns} {query}", (part,))):  # ours
            if len(found) >= FOUND_MAX:
                break
            if number % _TELL_EACH == 0:
                self._tell(f"keys of artefacts: {number} of {total}")
            self.rows["artefact keys"] += 1
            all_keys = number % every == 0
            self.crosswise["artefact keys"] += all_keys
            keys = self.keys if all_keys else self._by_id.get(row["leaf"], set())
            ref = ref_of(row)
            for key in self._unwrap("artefact keys", row["wrapped"], artefact_aad(ref, row["leaf"]), keys):
                if _fits(key, row["commitment"]):
                    found.setdefault(ref, set()).add(key)
                    self.opened["artefact keys"] += 1
        return found

    def carved_keys(self, part: str) -> int:
        """How many artefacts' keys open with nothing but rows that were carved out of raw bytes, by their paths."""
        remains, known = self._remains, set[str]()
        wraps = list(
            remains.rows(
                "SELECT p.two AS leaf, p.wrapped, a.* FROM wanted w JOIN pairs p ON p.one = w.id AND p.raw"
                " JOIN artefacts a ON a.id = w.id WHERE w.part = ?",
                (part,),
            )
        )
        levels = [{row["leaf"] for row in wraps}]
        rows: list[list[Any]] = []
        for _level in ("leaves", "nodes"):
            found = [
                row for id in levels[-1] for row in remains.rows("SELECT * FROM pairs WHERE one = ? AND raw", (id,))
            ]
            rows.append(found)
            levels.append({row["two"] for row in found})
        by_id: dict[str, set[bytes]] = {}
        secrets = set(self._secrets("raw_epochs"))
        for id in levels[-1]:
            for row in remains.rows("SELECT * FROM raw_buckets WHERE id = ?", (id,)):
                by_id.setdefault(id, set()).update(self._unwrap("-", row["wrapped"], _bucket_aad(row), secrets))
        for level in reversed(rows):
            for row in level:
                aad = node_aad(self._tenant, row["one"], row["two"])
                opened = self._unwrap("-", row["wrapped"], aad, by_id.get(row["two"], set()))
                by_id.setdefault(row["one"], set()).update(opened)
        for row in wraps:
            above = by_id.get(row["leaf"], set())
            for key in self._unwrap("-", row["wrapped"], artefact_aad(ref_of(row), row["leaf"]), above):
                if _fits(key, row["commitment"]):
                    known.add(row["id"])
        del self.tried["-"]
        return len(known)

    def _secrets(self, table: str = "epochs") -> Iterator[bytes]:
        rows = list(self._remains.rows(f"SELECT * FROM {table} WHERE tenant = ? ORDER BY n", (self._tenant,)))  # noqa: S608  # ours
        last = self._remains.last[self._tenant]
        rows = [row for row in rows if row["n"] <= last]
        names = [provider_key(self._tenant, root.value, n) for root in Root for n in range(last + 1)]
        counted = table == "epochs"
        for provider in self._providers:
            strangers = [*self._strangers(), PROVIDER_KEY] if counted else []
            there = {name for name in [*names, *strangers] if provider.exists(name)}
            if counted:
                self.tried["provider keys"] += len(names) + len(strangers)
                self.opened["provider keys"] += len(there.intersection(names))
            for number, row in enumerate(rows):
                if number % 100 == 0:
                    self._tell(f"secrets of epochs: {number} of {len(rows)}")
                aad = epoch_aad(self._tenant, row["root"], row["n"])
                for name in sorted(there | {provider_key(self._tenant, row["root"], row["n"])}):
                    self.tried["epoch secrets"] += counted
                    try:
                        secret = provider.unwrap(name, row["wrapped"], aad)
                    except (Erased, DataError):
                        continue
                    self.opened["epoch secrets"] += counted
                    yield secret
            self.rows["epoch secrets"] += len(rows) if counted else 0

    def _strangers(self) -> list[str]:
        """Newest keys of other tenants: they should not open anything here."""
        query = "SELECT tenant, root, max(n) AS n FROM epochs WHERE tenant <> ? GROUP BY tenant, root LIMIT ?"
        return [
            provider_key(row["tenant"], row["root"], row["n"])
            for row in self._remains.rows(query, (self._tenant, STRANGERS_MAX))
        ]

    def _installation(self) -> Iterator[bytes]:
        """The installation's secrets, which are never destroyed: nothing of a call may hang on them."""
        for row in self._remains.rows("SELECT * FROM installation"):
            for provider in self._providers:
                self.tried["installation secrets"] += 1
                try:
                    yield provider.unwrap(
                        PROVIDER_KEY, row["wrapped"], b"callvault installation v1 " + row["name"].encode()
                    )
                except (Erased, DataError):
                    continue
                self.opened["installation secrets"] += 1

    def _crosswise(self, part: str) -> None:
        """Every key on every row above these artefacts, as often as that opens something new."""
        above = "SELECT k.leaf FROM wanted w JOIN artefact_keys k ON k.artefact = w.id WHERE w.part = ?1"
        above = f"{above} UNION SELECT n.parent FROM nodes n WHERE n.id IN ({above})"  # noqa: S608  # ours
        above = f"{above} UNION SELECT n.parent FROM nodes n WHERE n.id IN ({above})"  # noqa: S608  # ours
        self._remains.sql.execute("DROP TABLE IF EXISTS above")
        self._remains.sql.execute(f"CREATE TEMP TABLE above AS SELECT DISTINCT leaf AS id FROM ({above})", (part,))  # noqa: S608  # ours
        before = -1
        while before != len(self.keys):
            before = len(self.keys)
            for what, aad in (("buckets", _bucket_aad), ("nodes", self._node_aad)):
                query = f"FROM {what} WHERE id IN (SELECT id FROM above)"  # noqa: S608  # ours
                every = _every(self._remains.number(f"SELECT count(*) {query}"), len(self.keys))
                rows = list(self._remains.rows(f"SELECT * {query}"))[::every]
                self.crosswise[what] = max(self.crosswise[what], len(rows))
                for number, row in enumerate(rows):
                    if number % 100 == 0:
                        self._tell(f"{what} crosswise: {number} of {len(rows)}")
                    self._try(what, row["wrapped"], aad(row), set(self.keys), row["id"])

    def _node_aad(self, row: Row) -> bytes:
        return node_aad(self._tenant, row["id"], row["parent"])

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


def _every(rows: int, keys: int) -> int:
    """Each of how many rows has every key tried."""
    return max(1, -(-rows * keys // TRIES_MAX))


def _bucket_aad(row: Row) -> bytes:
    try:
        slot = Slot(Kind(row["kind"]), row["purpose"], Day(row["day"]))
    except ValueError:  # carved, and no row
        return b""
    return bucket_aad(row["tenant"], row["root"], row["epoch"], row["id"], slot)


def _fits(key: bytes, commitment: bytes) -> bool:
    try:
        check_commitment(Secret(key), commitment)
    except DataError:
        return False
    return True
