"""Rows, objects and answers that are not what was written: each a clear error, nothing served, nothing destroyed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import Table, delete, func, insert, select, update

from storage.catalogue import Catalogue
from storage.erasure import Eraser, Step, Target
from storage.errors import (
    DataError,
    Erased,
    Expired,
    Refused,
    StoreError,
    Swapped,
    Tampered,
    Unavailable,
    WrongProvider,
)
from storage.model import ArtefactId, CallState, Kind, TenantId
from storage.policy.library import profile
from storage.providers import KeyProvider, open_provider
from storage.recordings import Recordings
from storage.records import Identifier, NewArtefact, NewCall
from storage.tables import (
    artefact_keys,
    artefacts,
    buckets,
    documents,
    epochs,
    identifiers,
    ledger,
    manifests,
    nodes,
    policies,
    slices,
    tombstones,
)
from tests.storage.stores import ACTOR, GROUND, audio_of, copy_data, open_at, save_call, spool, stored_call, upload

NUMBER = Identifier("number", "+31201234567")


def reading(store: Recordings, artefact: NewArtefact) -> bytes | type[StoreError]:
    """What is in it, or why that is not told."""
    try:
        if artefact.ref.kind is not Kind.AUDIO:
            return store.document(artefact.ref.tenant, artefact.ref.artefact)
        with store.stream(artefact.ref.tenant, artefact.ref.artefact) as stream:
            return b"".join(stream.read())
    except StoreError as error:
        return type(error)


def readings(store: Recordings, *calls: NewCall) -> dict[ArtefactId, bytes | type[StoreError]]:
    return {item.ref.artefact: reading(store, item) for call in calls for item in call.artefacts}


def fresh_readings(root: Path, *calls: NewCall) -> dict[ArtefactId, bytes | type[StoreError]]:
    """As a process reads that holds no keys yet."""
    with open_at(root) as store:
        return readings(store, *calls)


def catalogue_of(store: Recordings) -> Catalogue:
    return store._catalogue


def erase(store: Recordings, call: NewCall) -> dict[str, Any]:
    return store.erase_call(call.tenant, call.call, ground=GROUND, actor=ACTOR)


def keys_of(root: Path) -> set[str]:
    return {path.name for path in (root / "keys").glob("*.key")}


def exchange(store: Recordings, table: Table, column: str, first: Any, second: Any) -> None:
    """Exchanges a column's values of two rows, each named by its serial number."""
    with catalogue_of(store).writing() as connection:
        values = [
            connection.execute(select(table.c[column]).where(table.c.serial == row)).scalar_one()
            for row in (first, second)
        ]
        for row, value in zip((first, second), reversed(values), strict=True):
            connection.execute(update(table).where(table.c.serial == row).values({column: value}))


def serials(store: Recordings, table: Table, *where: Any) -> list[int]:
    with catalogue_of(store).reading() as connection:
        return list(connection.scalars(select(table.c.serial).where(*where).order_by(table.c.serial)))


# Rows of keys.


def test_key_rows_that_change_places_open_for_nobody(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    here, there, other = stored_call(store, tenant), stored_call(store, store.tenant("b")), stored_call(store, tenant)
    for first, second in ((audio_of(here)[0], audio_of(here)[1]), (here.artefacts[2], there.artefacts[2])):
        rows = [serials(store, artefact_keys, artefact_keys.c.artefact == a.ref.artefact)[0] for a in (first, second)]
        exchange(store, artefact_keys, "wrapped", *rows)
    damaged = [*audio_of(here), here.artefacts[2], there.artefacts[2]]
    found = fresh_readings(tmp_path, here, there, other)
    assert {found.pop(item.ref.artefact) for item in damaged} == {Tampered}
    assert all(isinstance(content, bytes) for content in found.values())


@pytest.mark.parametrize(
    ("table", "column"),
    [(nodes, "wrapped"), (nodes, "parent"), (nodes, "id"), (buckets, "wrapped"), (buckets, "id"), (epochs, "wrapped")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
@pytest.mark.parametrize("whose", ["the same tenant's", "another tenant's"])
def test_rows_of_the_tree_that_change_places_open_for_nobody(
    store: Recordings, tenant: TenantId, tmp_path: Path, table: Table, column: str, whose: str
) -> None:
    """A leaf under another node, a bucket of another kind or tenant, an epoch's secret of another tenant."""
    mine, others = stored_call(store, tenant), stored_call(store, store.tenant("b"))
    before = fresh_readings(tmp_path, mine, others)
    rows = serials(store, table)
    half = len(rows) // 2  # of each tenant the same rows, in the same order
    second = rows[2] if whose == "the same tenant's" and half > 2 else rows[half]
    if column == "id":
        with catalogue_of(store).writing() as connection:  # ids are unique: by way of a third one
            ids = [connection.scalar(select(table.c.id).where(table.c.serial == row)) for row in (rows[0], second)]
            for row, name in ((rows[0], "x" * 32), (second, ids[0]), (rows[0], ids[1])):
                connection.execute(update(table).where(table.c.serial == row).values(id=name))
    else:
        exchange(store, table, column, rows[0], second)
    after = fresh_readings(tmp_path, mine, others)
    failed = {after[artefact] for artefact in before if after[artefact] != before[artefact]}
    assert failed and failed <= {Tampered, Unavailable}


def test_rows_of_an_epoch_that_is_over_put_back_over_the_new_ones_open_nothing(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    erased, survivor = stored_call(store, tenant), stored_call(store, tenant)
    copy_data(tmp_path, "before")
    erase(store, erased)
    tables = (epochs, buckets, nodes, artefact_keys)
    with open_at(tmp_path, data="before") as old, catalogue_of(old).reading() as connection:
        rows = {table: [row._asdict() for row in connection.execute(select(table))] for table in tables}
    with catalogue_of(store).writing() as connection:
        for table in reversed(tables):
            connection.execute(delete(table))
        there = set(connection.scalars(select(artefacts.c.id)))
        for table in tables:
            connection.execute(insert(table), [row for row in rows[table] if row.get("artefact", "") in {"", *there}])
    assert set(fresh_readings(tmp_path, erased, survivor).values()) == {Erased}
    with open_at(tmp_path) as again:
        with pytest.raises(WrongProvider, match="an old backup"):
            again.find(tenant, [NUMBER])
        with pytest.raises(StoreError):
            erase(again, survivor)
    assert any(name.startswith(f"{tenant}-content-1") for name in keys_of(tmp_path))


def test_an_erased_call_whose_graves_were_removed_does_not_open(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    erased = stored_call(store, tenant)
    copy_data(tmp_path, "before")
    erase(store, erased)
    with open_at(tmp_path, data="before") as old, catalogue_of(old).reading() as connection:
        rows = [row._asdict() for row in connection.execute(select(artefacts).where(artefacts.c.call == erased.call))]
        keys = [row._asdict() for row in connection.execute(select(artefact_keys))]
        above = [row._asdict() for row in connection.execute(select(nodes))]
        old_buckets = [row._asdict() for row in connection.execute(select(buckets))]
    with catalogue_of(store).writing() as connection:
        connection.execute(delete(tombstones))
        for table, found in ((artefacts, rows), (artefact_keys, keys), (nodes, above), (buckets, old_buckets)):
            connection.execute(insert(table), [{k: v for k, v in row.items() if k != "serial"} for row in found])
    assert set(fresh_readings(tmp_path, erased).values()) <= {Expired, Erased, Unavailable}


def test_an_end_that_was_changed_by_hand_counts_until_the_next_policy(store: Recordings, tenant: TenantId) -> None:
    """`due` is not sealed: whoever may write the catalogue can end things, and keep them for longer, but open none."""
    call = stored_call(store, tenant)
    with catalogue_of(store).writing() as connection:
        connection.execute(update(buckets).values(due=1))
    assert set(readings(store, call).values()) == {Expired}
    with catalogue_of(store).writing() as connection:
        connection.execute(update(buckets).values(due=None))
    assert all(isinstance(content, bytes) for content in readings(store, call).values())
    assert store.adopt(tenant, profile("upcall")).ended_earlier == len(serials(store, buckets))


# Objects, and rows that name them.


def test_slices_whose_rows_change_places_do_not_open(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    for part in (b"one", b"two"):
        spool(store, [(audio_of(new)[0], [part])])
        upload(store)
    rows = serials(store, slices, slices.c.artefact == audio_of(new)[0].ref.artefact)
    assert reading(store, audio_of(new)[0]) == b"onetwo"
    exchange(store, slices, "sealed_index", *rows)
    assert reading(store, audio_of(new)[0]) in (Tampered, Swapped)
    exchange(store, slices, "sealed_index", *rows)
    assert reading(store, audio_of(new)[0]) == b"onetwo"


@pytest.mark.parametrize("size", [100, 50_000], ids=["in its row", "in an object"])
def test_a_document_moved_to_another_artefact_does_not_open(store: Recordings, tenant: TenantId, size: int) -> None:
    new = stored_call(store, tenant)
    identity, detail = (new.find(kind) for kind in (Kind.IDENTITY, Kind.CALL_DETAIL))
    store.put_documents(new, {identity.ref.artefact: b"i" * size, detail.ref.artefact: b"d" * size})

    rows = [serials(store, documents, documents.c.artefact == a.ref.artefact)[0] for a in (identity, detail)]
    exchange(store, documents, "sealed", *rows)
    assert {reading(store, item) for item in (identity, detail)} <= {Tampered, Swapped}


def test_a_manifest_that_was_exchanged_or_changed_is_not_served(store: Recordings, tenant: TenantId) -> None:
    first, second = stored_call(store, tenant), stored_call(store, tenant)
    with catalogue_of(store).reading() as connection:
        bodies = {row.call: row.body for row in connection.execute(select(manifests))}

    def put(body: str) -> None:
        with catalogue_of(store).writing() as connection:
            connection.execute(update(manifests).where(manifests.c.call == first.call).values(body=body))

    put(bodies[second.call])
    with pytest.raises(Swapped):
        store.manifest(tenant, first.call)
    for changed in (bodies[first.call].replace('"interrupted": false', '"interrupted": true'), "{", "[]"):
        put(changed)
        if changed != bodies[first.call]:
            with pytest.raises(DataError):
                store.manifest(tenant, first.call)
    put(bodies[first.call])
    assert store.manifest(tenant, first.call)["call"] == first.call


# The ledger, and the policies.


def _exchange_bodies(rows: list[Any]) -> dict[int, dict[str, Any]]:
    return {rows[0].seq: {"body": rows[1].body}, rows[1].seq: {"body": rows[0].body}}


def _exchange_entries(rows: list[Any]) -> dict[int, dict[str, Any]]:
    fields = ("body", "previous", "hash", "signature")
    return {a.seq: {name: getattr(b, name) for name in fields} for a, b in ((rows[0], rows[1]), (rows[1], rows[0]))}


def _forge(rows: list[Any]) -> dict[int, dict[str, Any]]:
    body = json.loads(rows[1].body)
    return {rows[1].seq: {"body": json.dumps(body | {"at": "2020-01-01T00:00:00Z"})}}


@pytest.mark.parametrize("damage", [_exchange_bodies, _exchange_entries, _forge])
def test_a_ledger_that_was_reordered_or_forged_is_noticed_at_the_next_look(
    store: Recordings, tenant: TenantId, damage: Callable[[list[Any]], dict[int, dict[str, Any]]]
) -> None:
    erase(store, stored_call(store, tenant))
    store.check()
    with catalogue_of(store).writing() as connection:
        rows = list(connection.execute(select(ledger).order_by(ledger.c.seq)))
        for seq, values in damage(rows).items():
            connection.execute(update(ledger).where(ledger.c.seq == seq).values(values))
    with pytest.raises(Tampered):
        store.check()


@pytest.mark.parametrize("column", ["body", "digest", "entry", "tenant"])
def test_a_policy_that_the_ledger_does_not_name_is_not_in_effect_until_it_is_adopted_anew(
    store: Recordings, tenant: TenantId, column: str
) -> None:
    call = stored_call(store, tenant)
    store.adopt(tenant, profile("speakup"))
    store.adopt(store.tenant("b"), profile("upcall"))
    with catalogue_of(store).writing() as connection:
        mine, others = connection.execute(select(policies).order_by(policies.c.serial)).all()
        if column == "tenant":  # the other one's, whole and newer
            connection.execute(update(policies).where(policies.c.serial == others.serial).values(tenant=tenant))
        else:
            value = getattr(others, column)
            connection.execute(update(policies).where(policies.c.serial == mine.serial).values({column: value}))
    with pytest.raises(Tampered, match="adopt it anew"):
        store.policy(tenant)
    assert all(isinstance(content, bytes) for content in readings(store, call).values())
    assert store.adopt(tenant, profile("speakup")).changed
    assert store.policy(tenant) == profile("speakup")
    store.check()


# Providers that lie.


class Unfaithful:
    """A keyring that gives other answers than the true ones to some questions."""

    def __init__(self, root: Path, **answers: Callable[..., Any]) -> None:
        self.real: KeyProvider = open_provider(f"file:{root}/keys", root / "data")
        self.finality, self.region, self.non_extractable = "unknown", "", False
        for name in ("create", "wrap", "unwrap", "destroy", "exists", "check", "clock"):
            setattr(self, name, answers.get(name, getattr(self.real, name)))

    def behind(self, _name: str) -> Self:
        return self


def eraser_with(store: Recordings, root: Path, provider: Any, *, at: Step | None = None, do: Any = None) -> Eraser:
    """An eraser that asks this provider; `do` happens when a step is made."""

    def on_step(step: Step) -> None:
        if step is at:
            do()

    around = replace(store.erasures._with, provider=provider, on_step=on_step)
    return Eraser(around)


def assert_nothing_destroyed(store: Recordings, root: Path, survivor: NewCall, before: dict[Any, Any]) -> None:
    assert f"{survivor.tenant}-content-0.key" in keys_of(root)
    assert readings(store, survivor) == before


@pytest.mark.parametrize("garbage", [b"", bytes(32), b"g" * 32, b"g" * 31])
def test_a_provider_that_unwraps_with_another_key_opens_and_destroys_nothing(
    store: Recordings, tenant: TenantId, tmp_path: Path, garbage: bytes
) -> None:
    erased, survivor = stored_call(store, tenant), stored_call(store, tenant)
    before = readings(store, survivor)
    liar = Unfaithful(tmp_path, unwrap=lambda _name, _wrapped, _aad: garbage)
    with pytest.raises(DataError):
        eraser_with(store, tmp_path, liar).erase(tenant, Target.of_call(erased.call), GROUND, ACTOR)
    assert_nothing_destroyed(store, tmp_path, survivor, before)
    assert store.resume_erasures() == 1  # with the true one
    assert readings(store, survivor) == before


def test_a_provider_that_cannot_open_what_it_wrapped_last_destroys_nothing(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    erased, survivor = stored_call(store, tenant), stored_call(store, tenant)
    real = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")

    def wrap(name: str, plaintext: bytes, aad: bytes) -> bytes:
        return real.wrap(name, plaintext[::-1], aad)

    with pytest.raises(DataError):
        eraser_with(store, tmp_path, Unfaithful(tmp_path, wrap=wrap)).erase(
            tenant, Target.of_call(erased.call), GROUND, ACTOR
        )
    assert f"{tenant}-content-0.key" in keys_of(tmp_path)
    assert set(readings(store, erased).values()) == {Erased}
    assert readings(store, survivor)


def test_a_provider_that_destroys_another_key_than_it_was_asked_to_gets_no_certificate(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    erased, other = stored_call(store, tenant), stored_call(store, store.tenant("b"))
    real = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    liar = Unfaithful(tmp_path, destroy=lambda _name: real.destroy("0" * 32 + "-content-0"))
    with pytest.raises(Unavailable, match="still opens"):
        eraser_with(store, tmp_path, liar).erase(tenant, Target.of_call(erased.call), GROUND, ACTOR)
    with pytest.raises(StoreError):
        store.certificate(tenant, erased.call)
    assert set(readings(store, erased).values()) == {Erased}
    assert all(isinstance(content, bytes) for content in readings(store, other).values())


def test_a_provider_that_denies_the_key_it_made_destroys_nothing(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    erased, survivor = stored_call(store, tenant), stored_call(store, tenant)

    def unwrap(name: str, wrapped: bytes, aad: bytes) -> bytes:
        if name.endswith("-1"):
            raise Erased("no such key")
        return open_provider(f"file:{tmp_path}/keys", tmp_path / "data").unwrap(name, wrapped, aad)

    with pytest.raises(StoreError):
        eraser_with(store, tmp_path, Unfaithful(tmp_path, unwrap=unwrap)).erase(
            tenant, Target.of_call(erased.call), GROUND, ACTOR
        )
    assert f"{tenant}-content-0.key" in keys_of(tmp_path)
    assert store.resume_erasures() == 1
    assert all(isinstance(content, bytes) for content in readings(store, survivor).values())


# Damage among what lives on.


def damage(store: Recordings, table: Table, *where: Any) -> None:
    with catalogue_of(store).writing() as connection:
        connection.execute(update(table).where(*where).values(wrapped=bytes(60)))


def leaf_of(store: Recordings, artefact: NewArtefact) -> str:
    query = select(artefact_keys.c.leaf).where(artefact_keys.c.artefact == artefact.ref.artefact)
    with catalogue_of(store).reading() as connection:
        return str(connection.scalars(query).one())


def damage_above(store: Recordings, artefact: NewArtefact, level: str) -> None:
    """Its key's row, or that of its leaf, node or bucket."""
    leaf = leaf_of(store, artefact)
    with catalogue_of(store).reading() as connection:
        node = connection.scalar(select(nodes.c.parent).where(nodes.c.id == leaf))
        bucket = connection.scalar(select(nodes.c.parent).where(nodes.c.id == node))
    match level:
        case "key":
            damage(store, artefact_keys, artefact_keys.c.artefact == artefact.ref.artefact)
        case "leaf":
            damage(store, nodes, nodes.c.id == leaf)
        case "node":
            damage(store, nodes, nodes.c.id == node)
        case _:
            damage(store, buckets, buckets.c.id == bucket)


@pytest.mark.parametrize("level", ["key", "leaf", "node", "bucket"])
def test_a_damaged_survivor_stops_the_destruction_is_named_and_can_be_erased_itself(
    store: Recordings, tenant: TenantId, tmp_path: Path, caplog: pytest.LogCaptureFixture, level: str
) -> None:
    wanted, neighbour = stored_call(store, tenant), stored_call(store, tenant)
    victim = neighbour.find(Kind.IDENTITY)
    lost = {victim.ref.artefact, *({wanted.find(Kind.IDENTITY).ref.artefact} if level != "key" else ())}
    damage_above(store, victim, level)
    with pytest.raises(Tampered, match=f"{victim.ref.artefact}.*nothing is destroyed"):
        erase(store, wanted)
    assert f"{tenant}-content-0.key" in keys_of(tmp_path)
    found = fresh_readings(tmp_path, neighbour)
    assert {artefact for artefact, content in found.items() if not isinstance(content, bytes)} <= lost
    assert set(readings(store, wanted).values()) == {Erased}
    assert store.resume_erasures() == 0
    assert any(victim.ref.artefact in getattr(record, "detail", "") for record in caplog.records)
    store.erasures.erase(tenant, Target.of_artefacts(neighbour.call, [victim.ref.artefact]), GROUND, ACTOR)
    assert f"{tenant}-content-0.key" not in keys_of(tmp_path)
    assert store.certificate(tenant, wanted.call)
    found = fresh_readings(tmp_path, neighbour)
    assert found.pop(victim.ref.artefact) is Erased
    assert all(isinstance(content, bytes) for content in found.values())
    assert store.call(tenant, wanted.call).state is CallState.ERASED


@pytest.mark.parametrize("level", ["leaf", "node", "bucket"])
def test_what_is_damaged_can_be_dropped_with_all_that_is_in_it(
    store: Recordings, tenant: TenantId, tmp_path: Path, level: str
) -> None:
    call, other = stored_call(store, tenant), stored_call(store, store.tenant("b"))
    damage_above(store, call.find(Kind.IDENTITY), level)
    store.erasures.erase(tenant, Target.of_tenant(), GROUND, ACTOR)
    assert set(fresh_readings(tmp_path, call).values()) == {Erased}
    assert all(isinstance(content, bytes) for content in readings(store, other).values())
    with catalogue_of(store).reading() as connection:
        of_tenant = select(func.count()).select_from(buckets).where(buckets.c.tenant == tenant)
        assert connection.scalar(of_tenant) == 0


def test_an_unreadable_key_is_named_by_a_thorough_audit(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    damage_above(store, call.find(Kind.IDENTITY), "key")
    named = store.reconcile(lambda _state, _detail: "", hashes=True).findings
    assert call.find(Kind.IDENTITY).ref.artefact in str(named)


def test_identifiers_that_do_not_open_stop_the_destruction_too(store: Recordings, tenant: TenantId) -> None:

    wanted, neighbour = stored_call(store, tenant), stored_call(store, tenant)
    store.identify(neighbour, [NUMBER])
    with catalogue_of(store).writing() as connection:
        connection.execute(update(identifiers).values(sealed=bytes(40)))
    with pytest.raises(Tampered, match=neighbour.find(Kind.IDENTITY).ref.artefact):
        erase(store, wanted)
    with pytest.raises((Refused, Tampered)):
        store.erasures.erase(tenant, Target.of_call(neighbour.call), "", ACTOR)
    assert erase(store, neighbour)
    assert store.certificate(tenant, wanted.call)
