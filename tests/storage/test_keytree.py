"""Keys are placed under the newest epoch or not at all, and open for their artefact alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, func, select, update

from storage.catalogue import Catalogue
from storage.epochs import EpochMovedError, change_epoch, epoch_row, make_epoch, open_secret, read_back
from storage.errors import AlreadyExists, DataError, Erased, NotFound, Tampered, Unavailable, WrongKey
from storage.filling import LEAF_KEYS, NODE_LEAVES, Filling
from storage.keys import Slot, unwrap, wrap
from storage.keytree import KeyTree
from storage.model import (
    NO_PARTICIPANT,
    ArtefactId,
    ArtefactRef,
    CallId,
    CallState,
    Kind,
    ParticipantId,
    Root,
    Secret,
    TenantId,
    new_id,
)
from storage.placing import Placing
from storage.providers import KeyProvider, open_provider
from storage.records import Day, NewArtefact
from storage.tables import artefact_keys, artefacts, buckets, calls, epochs, nodes, tenants
from storage.ways import ways_of
from tests.storage.stores import catalogue_at

pytestmark = pytest.mark.usefixtures("database")

DAY = Day("2026-03-01")


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = catalogue_at(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def provider(tmp_path: Path) -> KeyProvider:
    return open_provider(f"file:{tmp_path}/keys", tmp_path / "data")


def tree_without_ends(catalogue: Catalogue, provider: KeyProvider) -> KeyTree:
    """As another process has it, and whatever the day is."""
    return KeyTree(catalogue, provider, due_of=lambda *_of: None)


@pytest.fixture
def tree(catalogue: Catalogue, provider: KeyProvider) -> KeyTree:
    return tree_without_ends(catalogue, provider)


@pytest.fixture
def tenant(catalogue: Catalogue) -> TenantId:
    return make_tenant(catalogue)


def make_tenant(catalogue: Catalogue) -> TenantId:
    tenant = TenantId(new_id())
    with catalogue.writing() as connection:
        connection.execute(tenants.insert(), {"id": tenant, "tag": tenant.encode(), "fence": 0, "turn": 0})
    return tenant


def make_items(catalogue: Catalogue, tenant: TenantId, count: int = 2, kind: Kind = Kind.AUDIO) -> list[Placing]:
    call = CallId(new_id())
    with catalogue.writing() as connection:
        row = {"id": call, "tenant": tenant, "state": CallState.LIVE.value, "day": DAY, "closed": False}
        connection.execute(calls.insert(), row)
    refs = [
        ArtefactRef(tenant, call, ParticipantId(new_id()), ArtefactId(new_id()), kind, "service") for _ in range(count)
    ]
    return [Placing(NewArtefact(ref, Secret(bytes([at] * 32))), DAY) for at, ref in enumerate(refs)]


def place(catalogue: Catalogue, tree: KeyTree, items: list[Placing]) -> None:
    held = tree.hold(items)
    with catalogue.writing() as connection:
        tree.place(connection, items, held)


def key_of(catalogue: Catalogue, tree: KeyTree, item: Placing) -> bytes:
    ref = item.artefact.ref
    with catalogue.reading() as connection:
        opened = tree.open(connection, ref.artefact, ref.tenant)
    assert opened.ref == ref
    return opened.key.reveal()


def move_epoch(catalogue: Catalogue, provider: KeyProvider, tenant: TenantId, replaced: set[str]) -> dict[str, int]:
    """The change from the newest epoch to the next."""
    with catalogue.reading() as connection:
        row = epoch_row(connection, tenant, Root.CONTENT)
    assert row is not None
    new = make_epoch(provider, tenant, Root.CONTENT, row.n + 1)
    with catalogue.writing() as connection:
        return change_epoch(connection, open_secret(provider, row), new, replaced)


def leaf_ids(catalogue: Catalogue) -> set[str]:
    with catalogue.reading() as connection:
        return set(connection.scalars(select(artefact_keys.c.leaf)))


def some(counts: dict[str, int]) -> dict[str, int]:
    """What was counted at all."""
    return {name: count for name, count in counts.items() if count}


@pytest.mark.postgresql("two processes")
def test_placed_keys_open_again_also_for_another_process(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    items = make_items(catalogue, tenant)
    place(catalogue, tree, items)
    for reader in (tree, tree_without_ends(catalogue, provider)):
        assert [key_of(catalogue, reader, item) for item in items] == [bytes(32), bytes([1] * 32)]


def test_artefacts_of_one_kind_purpose_and_day_share_a_leaf(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    place(catalogue, tree, make_items(catalogue, tenant))
    place(catalogue, tree_without_ends(catalogue, provider), make_items(catalogue, tenant))
    assert len(leaf_ids(catalogue)) == 1
    place(catalogue, tree, make_items(catalogue, tenant, kind=Kind.TRANSCRIPT))
    place(catalogue, tree, make_items(catalogue, make_tenant(catalogue)))
    assert len(leaf_ids(catalogue)) == 3


def leaves_of(catalogue: Catalogue, items: Sequence[Placing]) -> list[str]:
    """The leaf that each one's key stands in, in the newest epoch."""
    with catalogue.reading() as connection:
        return [ways_of(connection, item.ref.artefact)[0].leaf for item in items]


def numbered(leaves: list[str]) -> list[int]:
    """The same with numbers, in the order in which they come."""
    order = list(dict.fromkeys(leaves))
    return [order.index(leaf) for leaf in leaves]


def count_of(catalogue: Catalogue, table: Table) -> int:
    with catalogue.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.postgresql("writers in several processes")
def test_a_leaf_is_filled_before_the_next_by_other_processes_too(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    items = make_items(catalogue, tenant, LEAF_KEYS - 1)
    place(catalogue, tree, items)
    more = [item for _ in range(3) for item in make_items(catalogue, tenant, 1)]
    place(catalogue, tree_without_ends(catalogue, provider), more[:1])  # goes on where the day is
    place(catalogue, tree_without_ends(catalogue, provider), more[1:])
    assert numbered(leaves_of(catalogue, [*items, *more])) == [0] * LEAF_KEYS + [1] * 2
    for item in [*items, *more]:
        assert key_of(catalogue, tree_without_ends(catalogue, provider), item) == item.key.reveal()


@pytest.mark.postgresql("writers at once")
def test_the_keys_of_a_call_are_in_one_leaf_however_many_calls_are_placed_at_once(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    group = [make_items(catalogue, tenant, 5) for _ in range(40)]
    place(catalogue, tree, [item for call in group for item in call])
    by_call = [set(leaves_of(catalogue, call)) for call in group]
    assert {len(leaves) for leaves in by_call} == {1}
    sizes = Counter(leaves_of(catalogue, [item for call in group for item in call]))
    assert list(sizes.values()) == [65, 65, 65, 5]
    fresh = tree_without_ends(catalogue, provider)
    assert [key_of(catalogue, fresh, item) for item in group[-1]] == [item.key.reveal() for item in group[-1]]


def test_keys_that_are_prepared_hold_where_the_day_is_by_then(
    catalogue: Catalogue, tree: KeyTree, tenant: TenantId
) -> None:
    slot = Slot(Kind.AUDIO, "service", DAY)
    items = []
    for _ in range(3):
        tree.prepare(tenant, [slot])
        items += make_items(catalogue, tenant, LEAF_KEYS // 2)
        place(catalogue, tree, items[-LEAF_KEYS // 2 :])
    assert numbered(leaves_of(catalogue, items)) == [0] * LEAF_KEYS + [1] * (LEAF_KEYS // 2)


@pytest.mark.postgresql("a transaction that is rolled back")
def test_what_a_rolled_back_transaction_made_is_made_again(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    lost = [make_items(catalogue, tenant) for _ in range(2)]
    held = tree.hold(lost[0])
    with pytest.raises(ZeroDivisionError), catalogue.writing() as connection:
        for items in lost:  # the second finds the rows of the first, which do not last either
            tree.place(connection, items, held)
        _ = 1 // 0
    assert count_of(catalogue, nodes) == 0
    for items in lost:
        place(catalogue, tree, items)
    assert count_of(catalogue, nodes) == 2
    for item in [*lost[0], *lost[1]]:
        assert key_of(catalogue, tree_without_ends(catalogue, provider), item) == item.key.reveal()


def test_a_change_replaces_one_leaf_of_a_day_with_what_is_above_it_and_carries_the_others_over(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    items = [item for _ in range(3) for item in make_items(catalogue, tenant, LEAF_KEYS)]
    for at in range(0, len(items), LEAF_KEYS):
        place(catalogue, tree, items[at : at + LEAF_KEYS])
    before = leaves_of(catalogue, items)
    counts = move_epoch(catalogue, provider, tenant, {before[LEAF_KEYS]})
    assert some(counts) == {
        "buckets_replaced": 1,
        "nodes_replaced": 1,
        "leaves_kept": 2,
        "leaves_replaced": 1,
        "keys_rewrapped": LEAF_KEYS,
    }
    with catalogue.reading() as connection:
        assert read_back(connection, provider, tenant, Root.CONTENT, 1) == LEAF_KEYS
    provider.destroy(f"{tenant}-content-0")
    after = leaves_of(catalogue, items)
    assert [old == new for old, new in zip(before, after, strict=True)] == (
        [True] * LEAF_KEYS + [False] * LEAF_KEYS + [True] * LEAF_KEYS
    )
    for item in items:
        assert key_of(catalogue, tree_without_ends(catalogue, provider), item) == item.key.reveal()
    more = make_items(catalogue, tenant, 1)
    place(catalogue, tree_without_ends(catalogue, provider), more)
    assert leaves_of(catalogue, more)[0] not in after


@pytest.mark.postgresql("many rows at once")
def test_an_erasure_in_a_bucket_of_ten_thousand_keys_writes_a_leaf_its_siblings_and_the_nodes(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    full = [make_items(catalogue, tenant, LEAF_KEYS) for _ in range(157)]
    place(catalogue, tree, [item for call in full for item in call])
    items, keys = full[70], 157 * LEAF_KEYS
    assert keys > 10_000
    for _ in range(3):  # and the next ones no more
        newest = {table: greatest(catalogue, table) for table in (artefact_keys, nodes, buckets)}
        counts = move_epoch(catalogue, provider, tenant, {leaves_of(catalogue, items)[0]})
        written = {table.name: greatest(catalogue, table) - at for table, at in newest.items()}
        assert written["artefact_keys"] == counts["keys_rewrapped"] <= LEAF_KEYS
        leaves = counts["leaves_kept"] + counts["leaves_replaced"]
        above = counts["nodes_kept"] + counts["nodes_replaced"]
        assert leaves <= NODE_LEAVES
        assert above == keys // (LEAF_KEYS * NODE_LEAVES) + 1
        assert written["nodes"] == leaves + above
        assert written["buckets"] == 1
    with catalogue.reading() as connection:
        assert read_back(connection, provider, tenant, Root.CONTENT, 3) == counts["keys_rewrapped"]
    assert key_of(catalogue, tree_without_ends(catalogue, provider), items[0]) == items[0].key.reveal()


def greatest(catalogue: Catalogue, table: Table) -> int:
    """The serial number of the newest row; rows are only ever appended."""
    with catalogue.reading() as connection:
        return connection.scalar(select(func.max(table.c.serial))) or 0


def test_what_holds_nothing_is_not_carried_over(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    tree.prepare(tenant, [Slot(Kind.AUDIO, "service", Day("2026-03-02"))])
    dead = make_items(catalogue, tenant)
    place(catalogue, tree, dead)
    with catalogue.writing() as connection:
        connection.execute(update(artefacts).values(state="erasing"))
    counts = move_epoch(catalogue, provider, tenant, set(leaves_of(catalogue, dead)))
    assert some(counts) == {}
    with catalogue.reading() as connection:
        assert read_back(connection, provider, tenant, Root.CONTENT, 1) == 0
    items = make_items(catalogue, tenant)
    tree.forget(tree.hold(items))
    place(catalogue, tree, items)
    assert key_of(catalogue, tree, items[0]) == items[0].key.reveal()


def test_statutory_records_stand_under_a_root_of_their_own(
    catalogue: Catalogue, tree: KeyTree, tenant: TenantId
) -> None:
    place(catalogue, tree, make_items(catalogue, tenant, kind=Kind.RATING))
    place(catalogue, tree, make_items(catalogue, tenant, kind=Kind.AUDIO))
    with catalogue.reading() as connection:
        assert set(connection.scalars(select(epochs.c.root))) == {"content", "statutory"}


def test_a_prepared_tenant_needs_no_provider(
    catalogue: Catalogue, tree: KeyTree, tenant: TenantId, tmp_path: Path
) -> None:
    tree.prepare(tenant, [Slot(Kind.AUDIO, "service", DAY)])
    (tmp_path / "keys").rename(tmp_path / "away")
    items = make_items(catalogue, tenant)
    place(catalogue, tree, items)
    with pytest.raises(Unavailable):
        tree.hold(make_items(catalogue, make_tenant(catalogue)))
    (tmp_path / "away").rename(tmp_path / "keys")
    assert key_of(catalogue, tree, items[0]) == bytes(32)


def test_keys_wrapped_under_an_epoch_that_is_over_are_refused(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    place(catalogue, tree, make_items(catalogue, tenant))
    items = make_items(catalogue, tenant)
    held = tree.hold(items)
    move_epoch(catalogue, provider, tenant, leaf_ids(catalogue))
    with pytest.raises(EpochMovedError), catalogue.writing() as connection:
        tree.place(connection, items, held)
    tree.forget(held)
    place(catalogue, tree, items)
    assert key_of(catalogue, tree, items[1]) == bytes([1] * 32)


@pytest.mark.postgresql("writers at once")
def test_two_changes_to_the_same_epoch_exclude_each_other(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    place(catalogue, tree, make_items(catalogue, tenant))
    with catalogue.reading() as connection:
        row = epoch_row(connection, tenant, Root.CONTENT)
    assert row is not None
    move_epoch(catalogue, provider, tenant, set())
    with pytest.raises(EpochMovedError), catalogue.writing() as connection:
        change_epoch(connection, open_secret(provider, row), make_epoch(provider, tenant, Root.CONTENT, 1), ())


@pytest.mark.postgresql("one path from end to end")
def test_a_change_replaces_the_buckets_of_the_named_leaves_and_carries_the_others_over(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId
) -> None:
    kept = make_items(catalogue, tenant, kind=Kind.TRANSCRIPT)
    place(catalogue, tree, kept)
    carried = leaf_ids(catalogue)
    rewrapped = make_items(catalogue, tenant, 3)
    place(catalogue, tree, rewrapped)
    counts = move_epoch(catalogue, provider, tenant, leaf_ids(catalogue) - carried)
    replaced = {"buckets_replaced": 1, "nodes_replaced": 1, "leaves_replaced": 1, "keys_rewrapped": 3}
    assert some(counts) == {"buckets_kept": 1, **replaced}
    with catalogue.reading() as connection:
        assert read_back(connection, provider, tenant, Root.CONTENT, 1) == 3
    provider.destroy(f"{tenant}-content-0")
    fresh = tree_without_ends(catalogue, provider)
    for item in [*kept, *rewrapped]:
        assert key_of(catalogue, fresh, item) == item.artefact.key.reveal()


@pytest.mark.parametrize("table", [artefact_keys, nodes, buckets, epochs])
def test_a_changed_row_of_the_new_epoch_is_found_when_it_is_read_back(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId, table: Table
) -> None:
    place(catalogue, tree, make_items(catalogue, tenant))
    move_epoch(catalogue, provider, tenant, leaf_ids(catalogue))
    with catalogue.writing() as connection:
        newest = select(func.max(table.c.serial)).scalar_subquery()
        connection.execute(update(table).where(table.c.serial == newest).values(wrapped=bytes(60)))
    with catalogue.reading() as connection, pytest.raises(DataError):
        read_back(connection, provider, tenant, Root.CONTENT, 1)


@pytest.mark.parametrize("table", [artefact_keys, nodes, buckets, epochs])
def test_a_missing_row_of_the_new_epoch_is_found_when_it_is_read_back(
    catalogue: Catalogue, provider: KeyProvider, tree: KeyTree, tenant: TenantId, table: Table
) -> None:
    place(catalogue, tree, make_items(catalogue, tenant))
    move_epoch(catalogue, provider, tenant, leaf_ids(catalogue))
    with catalogue.writing() as connection:
        newest = select(func.max(table.c.serial)).scalar_subquery()
        connection.execute(table.delete().where(table.c.serial == newest))
    with catalogue.reading() as connection, pytest.raises(Unavailable, match="nothing is destroyed"):
        read_back(connection, provider, tenant, Root.CONTENT, 1)


def test_a_key_row_moved_to_another_artefact_does_not_open(
    catalogue: Catalogue, tree: KeyTree, tenant: TenantId
) -> None:
    items = make_items(catalogue, tenant)
    place(catalogue, tree, items)
    first, second = (item.artefact.ref.artefact for item in items)
    with catalogue.writing() as connection:
        source = select(artefact_keys.c.wrapped).where(artefact_keys.c.artefact == first).scalar_subquery()
        connection.execute(update(artefact_keys).where(artefact_keys.c.artefact == second).values(wrapped=source))
    assert key_of(catalogue, tree, items[0])
    with pytest.raises(Tampered):
        key_of(catalogue, tree, items[1])


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [("commitment", bytes(32), WrongKey), ("kind", "transcript", Tampered), ("participant", NO_PARTICIPANT, Tampered)],
)
def test_an_artefact_row_that_was_changed_does_not_open(
    catalogue: Catalogue, tree: KeyTree, tenant: TenantId, column: str, value: Any, error: type[Exception]
) -> None:
    items = make_items(catalogue, tenant)
    place(catalogue, tree, items)
    with catalogue.writing() as connection:
        connection.execute(update(artefacts).values({column: value}))
    with pytest.raises(error):
        key_of(catalogue, tree, items[0])


def test_another_tenants_artefact_is_not_found(catalogue: Catalogue, tree: KeyTree, tenant: TenantId) -> None:
    items = make_items(catalogue, tenant)
    place(catalogue, tree, items)
    with catalogue.reading() as connection:
        for artefact, stranger in [(items[0].artefact.ref.artefact, new_id()), (ArtefactId(new_id()), tenant)]:
            with pytest.raises(NotFound):
                tree.open(connection, artefact, TenantId(stranger))


@pytest.mark.parametrize("state", ["erasing", "erased"])
def test_an_artefact_that_is_not_alive_is_erased_even_while_its_key_is_there(
    catalogue: Catalogue, tree: KeyTree, tenant: TenantId, state: str
) -> None:
    items = make_items(catalogue, tenant)
    place(catalogue, tree, items)
    with catalogue.writing() as connection:
        connection.execute(update(artefacts).values(state=state))
    with pytest.raises(Erased):
        key_of(catalogue, tree, items[0])


@pytest.mark.postgresql("uniqueness")
def test_an_artefact_is_placed_once(catalogue: Catalogue, tree: KeyTree, tenant: TenantId) -> None:
    items = make_items(catalogue, tenant)
    place(catalogue, tree, items)
    with pytest.raises(AlreadyExists):
        place(catalogue, tree, items)


def test_a_wrapped_key_opens_for_its_own_use_only() -> None:
    key, wrapped = bytes(32), wrap(bytes(32), b"secret", b"use")
    assert unwrap(key, wrapped, b"use") == b"secret"
    for other in [
        (bytes([1] * 32), wrapped, b"use"),
        (key, wrapped, b"other"),
        (key, wrapped[:-1], b"use"),
        (key, b"", b""),
    ]:
        with pytest.raises(Tampered):
            unwrap(*other)


def test_keys_do_not_show_in_representations(catalogue: Catalogue, tree: KeyTree, tenant: TenantId) -> None:
    items = make_items(catalogue, tenant)
    held = tree.hold(items)
    place(catalogue, tree, items)
    with catalogue.reading() as connection:
        shown = repr((items, held, tree.open(connection, items[0].artefact.ref.artefact)))
    for epoch in held.values():
        for secret in (epoch.secret, *(key for filling in epoch.slots.values() for key in keys_of(filling)), bytes(32)):
            assert repr(secret)[2:-1] not in shown
            assert secret.hex() not in shown


def keys_of(filling: Filling) -> list[bytes]:
    assert filling.node is not None
    assert filling.leaf is not None
    return [filling.bucket.key, filling.node.key, filling.leaf.key]
