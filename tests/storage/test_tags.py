"""Calls are found by identifiers of which the catalogue shows nothing, not even that two are equal; erasing ends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Table, delete, select, text

from storage.epochs import open_secret
from storage.errors import Erased, NotFound, StoreError, Tampered, Unavailable
from storage.filling import LEAF_KEYS
from storage.keys import Node, open_bucket, open_node
from storage.model import CallId, Kind, TenantId
from storage.providers import open_provider
from storage.recordings import Recordings
from storage.records import Identifier, NewCall
from storage.tables import buckets, epochs, nodes, tags, tenants
from storage.tags import index_key, open_identifiers, seal_identifiers, tag
from tests.storage.stores import (
    ACTOR,
    GROUND,
    begin_call,
    catalogue_at,
    copy_data,
    files_below,
    open_at,
    save_call,
    saved_with,
)

pytestmark = pytest.mark.usefixtures("database")

DAY_S = 86_400
Opened = TypeVar("Opened")
NUMBER = Identifier("number", "+31201234567")
OTHER = Identifier("number", "+31207654321")
SESSION = Identifier("session_id", "ab30317f1a784dc48ff824d0d3715d86")


def found(store: Recordings, tenant: TenantId, *wanted: Identifier, limit: int = 100) -> list[CallId]:
    return [record.id for record in store.find(tenant, wanted, limit=limit)]


def erase(store: Recordings, new: NewCall) -> None:
    store.erase_call(new.tenant, new.call, ground=GROUND, actor=ACTOR)


def rows(root: Path, table: str, columns: str, data: str = "data") -> list[tuple[object, ...]]:
    catalogue = catalogue_at(root, data)
    with catalogue.reading() as connection:
        read = connection.execute(text(f"SELECT {columns} FROM {table} ORDER BY serial")).all()
    catalogue.close()
    return [tuple(row) for row in read]


@pytest.mark.postgresql("one path from end to end")
def test_a_call_is_found_by_each_of_its_identifiers_and_by_no_other(store: Recordings, tenant: TenantId) -> None:
    new, neighbour = saved_with(store, tenant, NUMBER, SESSION), saved_with(store, tenant, OTHER)
    assert found(store, tenant, NUMBER) == found(store, tenant, SESSION) == [new.call]
    assert found(store, tenant, OTHER) == [neighbour.call]
    assert found(store, tenant, Identifier("guid", SESSION.value)) == []
    assert found(store, tenant, NUMBER, OTHER) == [neighbour.call, new.call]


def test_another_tenant_finds_nothing(store: Recordings, tenant: TenantId) -> None:
    new = saved_with(store, tenant, NUMBER)
    another = store.tenant("another")
    assert found(store, another, NUMBER) == []
    own = saved_with(store, another, NUMBER)
    assert found(store, another, NUMBER) == [own.call]
    with pytest.raises(NotFound):
        store.find(another, [NUMBER], before=new.call)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8, 9, 33, 100, 307])
@pytest.mark.postgresql("many rows at once")
def test_all_calls_of_a_number_are_found_however_many(store: Recordings, tenant: TenantId, count: int) -> None:
    group = [replace(begin_call(store, tenant), identifiers=(NUMBER,)) for _ in range(count)]
    store.save([*group, begin_call(store, tenant)])
    one_by_one = [saved_with(store, tenant, NUMBER).call for _ in range(2)]
    assert found(store, tenant, NUMBER, limit=500) == [*one_by_one[::-1], *(new.call for new in group[::-1])]


def test_a_group_saved_at_once_is_found_like_calls_saved_one_by_one(store: Recordings, tenant: TenantId) -> None:
    group = [replace(begin_call(store, tenant), identifiers=(NUMBER, SESSION)) for _ in range(5)]
    before = saved_with(store, tenant, NUMBER)
    store.save(group)
    assert found(store, tenant, NUMBER) == [new.call for new in group[::-1]] + [before.call]


def test_an_identifier_learned_later_is_found_too(store: Recordings, tenant: TenantId) -> None:
    new = saved_with(store, tenant, NUMBER)
    store.identify(new, [SESSION])
    assert found(store, tenant, SESSION) == found(store, tenant, NUMBER) == [new.call]
    assert [record.id for record in store.find(tenant, [NUMBER, SESSION])] == [new.call]


def test_what_is_learned_the_day_after_dies_with_the_call_as_well(tmp_path: Path) -> None:
    now = [1_000_000.0]
    with open_at(tmp_path, clock=lambda: now[0]) as store:
        tenant = store.tenant("acme")
        new = saved_with(store, tenant, NUMBER)
        now[0] += DAY_S
        store.identify(store.resume(tenant, new.call), [SESSION])
        assert found(store, tenant, SESSION) == [new.call]
        erase(store, new)
        assert found(store, tenant, SESSION) == []
        assert rows(tmp_path, "tags", "leaf") == []


@pytest.mark.postgresql("the order of rows")
def test_pages_follow_each_other_over_days_and_purposes(tmp_path: Path) -> None:
    now = [1_000_000.0]
    with open_at(tmp_path, clock=lambda: now[0]) as store:
        tenant = store.tenant("acme")
        expected = []
        for _ in range(5):
            expected += [saved_with(store, tenant, NUMBER).call for _ in range(3)]
            saved_with(store, tenant, OTHER)
            now[0] += 15 * DAY_S
        expected.reverse()
        read: list[CallId] = []
        while page := store.find(tenant, [NUMBER], limit=4, before=read[-1] if read else None):
            assert len(page) <= 4
            read += [record.id for record in page]
        assert read == expected


def test_no_two_rows_are_equal_and_none_shows_what_it_stands_for(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    for _ in range(3):
        saved_with(store, tenant, NUMBER, SESSION)
    read = [row[0] for row in rows(tmp_path, "tags", "tag")]
    assert len(set(read)) == len(read) == 6
    assert NUMBER.value.encode() not in files_below(tmp_path / "data")
    assert SESSION.value.encode() not in files_below(tmp_path / "data")


# Erasing.


@pytest.mark.postgresql("rows that an erasure moves")
def test_an_erased_call_is_found_no_more_and_its_neighbours_are(store: Recordings, tenant: TenantId) -> None:
    first, erased, last = (saved_with(store, tenant, NUMBER, SESSION) for _ in range(3))
    for _ in range(2):  # the second change moves what the first has moved
        erase(store, erased)
        assert found(store, tenant, NUMBER) == found(store, tenant, SESSION) == [last.call, first.call]
        erased = saved_with(store, tenant, NUMBER)
        assert found(store, tenant, NUMBER) == [erased.call, last.call, first.call]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # see scrub of PostgreSQL: not there
def test_its_tags_and_identifiers_are_gone_from_every_file(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    erased, survivor = saved_with(store, tenant, NUMBER), saved_with(store, tenant, NUMBER)
    old = [row[0] for row in rows(tmp_path, "tags", "tag")]
    sealed = {row[0]: row[1] for row in rows(tmp_path, "identifiers", "artefact, sealed")}
    erase(store, erased)
    everything = files_below(tmp_path / "data")
    for value in [*old, sealed[erased.find(Kind.IDENTITY).ref.artefact]]:
        assert isinstance(value, bytes)
        assert value not in everything
    kept = sealed[survivor.find(Kind.IDENTITY).ref.artefact]
    assert isinstance(kept, bytes)
    assert kept in everything


def test_a_backup_does_not_tell_whose_call_was_erased(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """Not by a key of today, and not by a survivor of the same number, whose number today's keys open."""
    erased, survivor = saved_with(store, tenant, NUMBER), saved_with(store, tenant, NUMBER)
    copy_data(tmp_path, "before")
    assert _matching(tmp_path, ["before"], NUMBER) == {
        erased.find(Kind.IDENTITY).ref.artefact,
        survivor.find(Kind.IDENTITY).ref.artefact,
    }
    erase(store, erased)
    copy_data(tmp_path, "after")
    assert _matching(tmp_path, ["before", "after"], NUMBER) == {survivor.find(Kind.IDENTITY).ref.artefact}
    everything = rows(tmp_path, "tags", "tag", "before") + rows(tmp_path, "tags", "tag", "after")
    assert max(Counter(everything).values()) == 1
    with open_at(tmp_path, data="before") as restored, pytest.raises(Unavailable, match="old backup"):
        restored.find(tenant, [NUMBER])


def _matching(root: Path, folders: list[str], identifier: Identifier) -> set[str]:
    """Artefacts whose tag is the identifier's under any leaf key that any rows and any provider key lead to."""
    provider = open_provider(f"file:{root}/keys", root / "data")
    tag_rows: dict[bytes, str] = {}
    read: dict[Table, list[Any]] = {epochs: [], buckets: [], nodes: []}
    for folder in folders:
        catalogue = catalogue_at(root, folder)
        with catalogue.reading() as connection:
            for table, found_rows in read.items():
                found_rows.extend(connection.execute(select(table)))
            tag_rows |= {row.tag: row.artefact for row in connection.execute(select(tags))}
            (tenant,) = connection.scalars(select(tenants.c.id))
        catalogue.close()
    secrets: list[bytes] = []
    for row in read[epochs]:
        with suppress(StoreError):
            secrets.append(open_secret(provider, row))
    above = [bucket.key for bucket in _opened(open_bucket, read[buckets], secrets)]
    found_nodes: list[Node] = []
    for _level in ("nodes", "leaves"):
        found_nodes += _opened(lambda row, key: open_node(row, tenant, key), read[nodes], above)
        above += [node.key for node in found_nodes]
    keys = {index_key(node) for node in found_nodes}
    wanted = {tag(key, identifier, n) for key in keys for n in range(10)}
    return {artefact for found_tag, artefact in tag_rows.items() if found_tag in wanted}


def _opened(use: Callable[[Any, bytes], Opened], rows: list[Any], keys: list[bytes]) -> list[Opened]:
    """What rows open to with those of the keys that fit."""
    found = []
    for row, key in product(rows, keys):
        with suppress(StoreError):
            found.append(use(row, key))
    return found


def test_a_day_of_several_leaves_is_searched_whole_and_an_erasure_replaces_one_of_each_kind(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    early = saved_with(store, tenant, NUMBER)
    for _ in range(5):
        store.save([replace(begin_call(store, tenant), identifiers=(OTHER,)) for _ in range(500)])
    late = saved_with(store, tenant, NUMBER)
    store.identify(early, [SESSION])  # when the day has other leaves already
    assert set(rows(tmp_path, "tags", "artefact, leaf")) <= set(rows(tmp_path, "artefact_keys", "artefact, leaf"))
    assert len(set(rows(tmp_path, "tags", "leaf"))) == 2502 // LEAF_KEYS + 1
    assert found(store, tenant, NUMBER) == [late.call, early.call]
    assert found(store, tenant, SESSION) == [early.call]
    before = set(rows(tmp_path, "artefact_keys", "leaf"))
    erase(store, early)
    after = set(rows(tmp_path, "artefact_keys", "leaf"))
    assert len(before - after) == len(after - before) == 3  # audio, identity, call detail: one of each
    assert found(store, tenant, NUMBER) == [late.call]
    assert found(store, tenant, SESSION) == []
    identity = early.find(Kind.IDENTITY).ref.artefact
    assert (identity,) not in rows(tmp_path, "tags", "artefact")
    assert len(found(store, tenant, OTHER, limit=5000)) == 1000  # a page
    spared = saved_with(store, tenant, SESSION)
    assert found(store, tenant, SESSION) == [spared.call]


def test_identifiers_of_an_erased_call_are_not_taken(store: Recordings, tenant: TenantId) -> None:
    erased = save_call(store, tenant)
    erase(store, erased)
    with pytest.raises(Erased):
        store.identify(erased, [NUMBER])
    unknown = begin_call(store, tenant)
    with pytest.raises(NotFound):
        store.identify(unknown, [NUMBER])


def test_tags_that_an_epoch_change_lost_keep_the_key_from_being_destroyed(tmp_path: Path) -> None:
    def lose(step: object) -> None:
        if step == "rewrap":
            catalogue = catalogue_at(tmp_path)
            with catalogue.writing() as connection:
                newest = select(tags.c.serial).order_by(tags.c.serial.desc()).limit(1)
                connection.execute(delete(tags).where(tags.c.serial == newest.scalar_subquery()))
            catalogue.close()

    with open_at(tmp_path, on_step=lose) as store:
        tenant = store.tenant("acme")
        saved_with(store, tenant, NUMBER)
        erased = saved_with(store, tenant, NUMBER)
        with pytest.raises(Unavailable, match="lost tags"):
            erase(store, erased)
        assert list((tmp_path / "keys").glob("*-content-0.key"))


# The sealed row.


def test_sealed_identifiers_open_only_with_their_key_in_their_place(store: Recordings, tenant: TenantId) -> None:
    identity, other = (begin_call(store, tenant).find(Kind.IDENTITY) for _ in range(2))
    sealed = seal_identifiers(identity.ref, identity.key, [NUMBER, SESSION])
    assert open_identifiers(identity.ref, identity.key, [sealed, sealed]) == [NUMBER, SESSION] * 2
    assert seal_identifiers(identity.ref, identity.key, [NUMBER, SESSION]) != sealed
    wrong = [
        (other.ref, identity.key, sealed),
        (identity.ref, other.key, sealed),
        (identity.ref, identity.key, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (identity.ref, identity.key, b""),
    ]
    for ref, key, row in wrong:
        with pytest.raises(Tampered):
            open_identifiers(ref, key, [row])


def test_an_identifier_does_not_show_what_it_is() -> None:
    assert NUMBER.value not in repr(NUMBER)
