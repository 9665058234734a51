"""An artefact lives as long as something keeps it: refused when its last bucket is due, and dead with that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, select, update

from storage.catalogue import Catalogue
from storage.epochs import change_epoch, epoch_row, make_epoch, open_secret, read_back
from storage.erasure import Target
from storage.errors import DataError, Erased, Expired, Unavailable
from storage.keys import provider_key
from storage.keytree import KeyTree
from storage.lapsed import sweep_tree
from storage.lease import LEASE_S
from storage.liveness import alive
from storage.model import ArtefactId, CallId, Kind, Root, TenantId, new_id
from storage.placing import Keeping
from storage.probe import prove
from storage.providers import KeyProvider, open_provider
from storage.recordings import Recordings
from storage.records import Day, Derived, Identifier, NewCall
from storage.spool import SpoolWriter
from storage.spoolindex import SpoolIndex
from storage.streams import open_stream
from storage.tables import artefact_keys, buckets, nodes, tombstones
from storage.times import day_of
from tests.storage.recovering import recover
from tests.storage.spooling import durable
from tests.storage.stores import (
    PURPOSE,
    audio_of,
    begin_call,
    copy_data,
    open_at,
    save_call,
    stored_call,
    upload,
)

NUMBER = Identifier("number", "+31201234567")
DAY_S = 86_400
BEGAN_S = 1_000_000.0


class Bench:
    """A store at a settable time, and beside it the catalogue and a key tree, as another process has them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = BEGAN_S
        self.life_s: int | None = None
        self.store = open_at(root, clock=lambda: self.now, due_of=self._due)
        self.tenant = self.store.tenant("acme")
        self.catalogue = Catalogue(root / "data")
        self.provider: KeyProvider = open_provider(f"file:{root}/keys", root / "data")
        self.tree = KeyTree(self.catalogue, self.provider, lambda: self.now)

    def _due(self, _connection: Connection, _tenant: TenantId, _kind: Kind, _purpose: str, _day: Day) -> int | None:
        return None if self.life_s is None else int(BEGAN_S) + self.life_s

    def close(self) -> None:
        self.store.close()
        self.catalogue.close()

    def keep(self, new: NewCall, purpose: str, root: Root = Root.CONTENT) -> int:
        """Keeps all of a call for something else as well; gives how many wraps were new."""
        day = day_of(BEGAN_S)
        items = [Keeping(artefact.ref, artefact.key, purpose, day, root) for artefact in new.artefacts]
        made: list[int] = []
        self.tree.write(items, lambda connection, held: made.append(self.tree.keep(connection, items, held)))
        return made[-1]

    def buckets(self, purpose: str, root: Root = Root.CONTENT) -> set[str]:
        """The ids of a purpose's buckets in the newest epoch."""
        with self.catalogue.reading() as connection:
            newest = epoch_row(connection, self.tenant, root)
            assert newest is not None
            of_epoch = (buckets.c.tenant == self.tenant, buckets.c.root == root, buckets.c.epoch == newest.n)
            return set(connection.scalars(select(buckets.c.id).where(*of_epoch, buckets.c.purpose == purpose)))

    def end(self, purpose: str, due: int, root: Root = Root.CONTENT) -> None:
        """Sets the end of a purpose's buckets."""
        with self.catalogue.writing() as connection:
            connection.execute(update(buckets).where(buckets.c.id.in_(self.buckets(purpose, root))).values(due=due))

    def drop(self, dropped: set[str], root: Root = Root.CONTENT, *, swept: bool = True) -> dict[str, int]:
        """Drops buckets in one epoch change, up to the destruction of the old key."""
        with self.catalogue.reading() as connection:
            row = epoch_row(connection, self.tenant, root)
        assert row is not None
        new = make_epoch(self.provider, self.tenant, root, row.n + 1)
        old = open_secret(self.provider, row)
        with self.catalogue.writing() as connection:
            counts = change_epoch(connection, old, new, (), dropped)
        with self.catalogue.reading() as connection:
            read_back(connection, self.provider, self.tenant, root, new.n, dropped)
        self.provider.destroy(provider_key(self.tenant, root, row.n))
        if swept:
            sweep_tree(self.catalogue, self.tenant, root, row.n)
        return {name: count for name, count in counts.items() if count}

    def rows(self) -> int:
        """How many rows of keys there are."""
        with self.catalogue.reading() as connection:
            counted = [connection.scalar(select(func.max(table.c.serial))) or 0 for table in (artefact_keys, nodes)]
        return sum(counted)

    def found(self, identifier: Identifier = NUMBER) -> list[CallId]:
        return [record.id for record in self.store.find(self.tenant, [identifier])]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(tmp_path)
    yield opened
    opened.close()


def identity_of(new: NewCall) -> ArtefactId:
    return new.find(Kind.IDENTITY).ref.artefact


def assert_refused(store: Recordings, new: NewCall, error: type[Erased]) -> None:
    for artefact in new.artefacts:
        for use in (store.document, store.stream):
            with pytest.raises(error):
                use(new.tenant, artefact.ref.artefact)


# Time.


def test_what_is_due_is_refused_and_not_found_from_that_second_on(bench: Bench) -> None:
    bench.life_s = 100
    new = stored_call(bench.store, bench.tenant)
    bench.store.identify(new, [NUMBER])
    bench.now += 99
    assert bench.store.document(bench.tenant, identity_of(new)) == b"identity"
    assert bench.found() == [new.call]
    bench.now += 1
    assert_refused(bench.store, new, Expired)
    assert bench.found() == []
    source = audio_of(new)[0].ref
    with pytest.raises(Erased):
        item = Derived(source.participant, Kind.TRANSCRIPT, PURPOSE, b"words")
        bench.store.add_derived(bench.tenant, new.call, [source.artefact], [item])
    with pytest.raises(Expired):
        bench.store.resume(bench.tenant, new.call)


def test_an_end_that_is_set_later_counts_at_once(bench: Bench) -> None:
    new, other = stored_call(bench.store, bench.tenant), save_call(bench.store, bench.store.tenant("another"))
    bench.end(PURPOSE, 0)
    assert_refused(bench.store, new, Expired)
    with bench.catalogue.reading() as connection:
        assert alive(connection, [identity_of(new), identity_of(other)], bench.now) == {identity_of(other)}


def test_a_bucket_keeps_its_end_through_changes_of_the_epoch(bench: Bench) -> None:
    bench.life_s = 100
    new = stored_call(bench.store, bench.tenant)
    assert bench.drop(set()) == {"buckets_kept": 3}
    assert bench.store.document(bench.tenant, identity_of(new)) == b"identity"
    bench.now += 100
    assert_refused(bench.store, new, Expired)


# Dropping.


def test_dropping_buckets_writes_no_row_of_keys_whatever_their_number(bench: Bench) -> None:
    for _ in range(3):
        bench.store.save([begin_call(bench.store, bench.tenant) for _ in range(100)])
    bench.now += DAY_S
    next_day = stored_call(bench.store, bench.tenant)
    dropped = {bucket for bucket in bench.buckets(PURPOSE) if bucket not in day_buckets(bench, day_of(bench.now))}
    before = bench.rows()
    assert bench.drop(dropped, swept=False) == {"buckets_dropped": 3, "buckets_kept": 3}
    assert bench.rows() == before
    assert bench.store.document(bench.tenant, identity_of(next_day)) == b"identity"


def day_buckets(bench: Bench, day: Day) -> set[str]:
    with bench.catalogue.reading() as connection:
        return set(connection.scalars(select(buckets.c.id).where(buckets.c.day == day)))


def test_what_was_dropped_opens_from_no_copy(bench: Bench, tmp_path: Path) -> None:
    dropped = stored_call(bench.store, bench.tenant)
    doomed = bench.buckets(PURPOSE)
    bench.now += DAY_S
    kept = stored_call(bench.store, bench.tenant)
    copy_data(tmp_path, "before")
    everything = {artefact.ref.artefact for artefact in dropped.artefacts}
    assert recover(tmp_path, ["before"], bench.provider, dropped) == everything
    bench.end(PURPOSE, 0)
    assert bench.drop(doomed, swept=False) == {"buckets_dropped": 3, "buckets_kept": 3}
    assert_refused(bench.store, dropped, Expired)
    copy_data(tmp_path, "changed")
    sweep_tree(bench.catalogue, bench.tenant, Root.CONTENT, 0)
    assert_refused(bench.store, dropped, Erased)
    copy_data(tmp_path, "after")
    assert recover(tmp_path, ["before", "changed", "after"], bench.provider, dropped) == set()
    alive = {artefact.ref.artefact for artefact in kept.artefacts}
    assert recover(tmp_path, ["before", "changed", "after"], bench.provider, kept) == alive
    copies = [tmp_path / name for name in ("before", "changed", "after")]
    proof = prove(dropped.call, copies, None, provider_url=f"file:{tmp_path}/keys")
    assert (proof.opened, proof.control, proof.holds) == ([], kept.call, True)


def test_a_bucket_that_was_to_be_dropped_and_lives_on_stops_the_destruction(bench: Bench) -> None:
    stored_call(bench.store, bench.tenant)
    with bench.catalogue.reading() as connection:
        row = epoch_row(connection, bench.tenant, Root.CONTENT)
    assert row is not None
    new = make_epoch(bench.provider, bench.tenant, Root.CONTENT, 1)
    with bench.catalogue.writing() as connection:
        change_epoch(connection, open_secret(bench.provider, row), new, ())
    with bench.catalogue.reading() as connection, pytest.raises(DataError, match="nothing is destroyed"):
        read_back(connection, bench.provider, bench.tenant, Root.CONTENT, 1, bench.buckets(PURPOSE))


# Several wraps.


@pytest.mark.parametrize("root", [Root.CONTENT, Root.HOLD])
def test_a_second_wrap_keeps_an_artefact_alive_and_it_dies_with_the_last(bench: Bench, root: Root) -> None:
    new, other = stored_call(bench.store, bench.tenant), stored_call(bench.store, bench.tenant)
    for call in (new, other):
        bench.store.identify(call, [NUMBER])
    further = new_id() if root is Root.HOLD else "training"
    assert bench.keep(new, further, root) == len(new.artefacts)
    assert bench.keep(new, further, root) == 0  # it has them already
    assert bench.found() == [other.call, new.call]
    bench.drop(bench.buckets(PURPOSE))
    assert bench.store.document(bench.tenant, identity_of(new)) == b"identity"
    with bench.store.stream(bench.tenant, audio_of(new)[0].ref.artefact) as stream:
        assert list(stream.read()) == [b"audio"] * 3
    assert bench.found() == [new.call]
    bench.store.identify(new, [Identifier("session_id", "x")])
    assert bench.found(Identifier("session_id", "x")) == [new.call]
    assert_refused(bench.store, other, Erased)
    bench.drop(bench.buckets(further, root), root, swept=False)
    assert_refused(bench.store, new, Expired)
    assert bench.found() == []
    sweep_tree(bench.catalogue, bench.tenant, root, 1)
    assert_refused(bench.store, new, Erased)


def test_a_backup_from_before_opens_what_is_still_held(bench: Bench, tmp_path: Path) -> None:
    held, other = stored_call(bench.store, bench.tenant), stored_call(bench.store, bench.tenant)
    bench.keep(held, new_id(), Root.HOLD)
    copy_data(tmp_path, "before")
    bench.drop(bench.buckets(PURPOSE))
    with open_at(tmp_path, data="before", clock=lambda: BEGAN_S) as restored:
        assert restored.document(bench.tenant, identity_of(held)) == b"identity"
        assert_refused(restored, other, Erased)


def test_the_longer_of_two_times_counts(bench: Bench) -> None:
    new = stored_call(bench.store, bench.tenant)
    bench.keep(new, "training")
    bench.end(PURPOSE, int(BEGAN_S) + 10)
    bench.end("training", int(BEGAN_S) + 20)
    bench.now += 10
    assert bench.store.document(bench.tenant, identity_of(new)) == b"identity"
    bench.now += 10
    assert_refused(bench.store, new, Expired)


def test_what_is_learned_of_a_call_with_two_wraps_is_found_by_either(bench: Bench) -> None:
    new = stored_call(bench.store, bench.tenant)
    bench.keep(new, "training")
    bench.store.identify(new, [NUMBER])
    bench.end(PURPOSE, 0)
    assert bench.found() == [new.call]


def test_a_tombstone_of_one_purpose_refuses_that_wrap_alone_and_a_change_leaves_it_behind(bench: Bench) -> None:
    both, one = stored_call(bench.store, bench.tenant), stored_call(bench.store, bench.tenant)
    for call in (both, one):
        bench.store.identify(call, [NUMBER])
    bench.keep(both, "training")
    with bench.catalogue.writing() as connection:
        for call in (both, one):
            buried = {"artefact": identity_of(call), "purpose": PURPOSE, "tenant": bench.tenant, "call": call.call}
            connection.execute(insert(tombstones), {**buried, "erasure": new_id()})
    assert bench.found() == [both.call]
    assert bench.store.document(bench.tenant, identity_of(both)) == b"identity"
    with pytest.raises(Erased):
        bench.store.document(bench.tenant, identity_of(one))
    with bench.catalogue.reading() as connection:
        row = epoch_row(connection, bench.tenant, Root.CONTENT)
        leaves = set(connection.scalars(select(artefact_keys.c.leaf)))
    assert row is not None
    new = make_epoch(bench.provider, bench.tenant, Root.CONTENT, 1)
    with bench.catalogue.writing() as connection:
        counts = change_epoch(connection, open_secret(bench.provider, row), new, leaves)
    assert counts["keys_rewrapped"] == 2 * len(both.artefacts) + len(one.artefacts) - 2
    with bench.catalogue.reading() as connection:
        assert read_back(connection, bench.provider, bench.tenant, Root.CONTENT, 1) == counts["keys_rewrapped"]
    bench.provider.destroy(provider_key(bench.tenant, Root.CONTENT, 0))
    assert bench.found() == [both.call]
    assert bench.store.document(bench.tenant, identity_of(both)) == b"identity"


def test_nothing_is_kept_further_that_is_not_alive(bench: Bench) -> None:
    new = stored_call(bench.store, bench.tenant)
    bench.end(PURPOSE, 0)
    with pytest.raises(Erased):
        bench.keep(new, "training")


def test_nothing_is_kept_again_for_a_purpose_that_it_was_erased_for(bench: Bench) -> None:
    new = stored_call(bench.store, bench.tenant)
    bench.keep(new, "training")
    bench.store.erasures.erase(bench.tenant, Target.of_purpose("training", [new.call]), "Art. 21", "test")
    with pytest.raises(Erased, match="for the purpose training"):
        bench.keep(new, "training")
    assert bench.keep(new, "quality") == len(new.artefacts)


# Leases.


def seconds_until(stops: type[Exception], read: Callable[[], Iterator[bytes]]) -> float:
    """How long reading again and again goes on until that is raised."""
    began = time.monotonic()
    with pytest.raises(stops):
        while time.monotonic() - began < 10:
            for _ in read():
                time.sleep(0.001)
    return time.monotonic() - began


@pytest.mark.parametrize("by", ["time", "drop"])
def test_a_read_under_way_stops_within_the_lease_when_its_time_is_over(bench: Bench, by: str) -> None:
    bench.life_s = 10
    artefact = audio_of(stored_call(bench.store, bench.tenant))[0].ref.artefact
    with bench.store.stream(bench.tenant, artefact) as stream:
        time.sleep(LEASE_S)
        assert list(stream.read()) == [b"audio"] * 3
        if by == "time":
            bench.now += 10
        else:
            bench.end(PURPOSE, 0)
        assert seconds_until(Expired, stream.read) < LEASE_S + 0.2


@contextmanager
def away(bench: Bench) -> Iterator[None]:
    """No new connection to the catalogue can be made; those of other processes go on."""
    bench.catalogue.close()
    path = bench.root / "data" / "catalogue.sqlite3"
    aside = path.rename(path.with_name("aside"))
    path.mkdir()
    yield
    path.rmdir()
    aside.rename(path)


def test_without_a_renewal_nothing_is_read_and_recording_goes_on(bench: Bench) -> None:
    stored, live = stored_call(bench.store, bench.tenant), save_call(bench.store, bench.tenant)
    streams, spool = audio_of(live), bench.store.spool_folder
    with SpoolWriter(spool, node="n1", file_bytes=1 << 20, commit_s=0.01) as writer:
        for number, artefact in enumerate(streams):
            writer.open(number, artefact.ref, artefact.key)
            writer.release(number)
            writer.append(number, 0, 100, b"before")
        heard = audio_of(stored)[0].ref.artefact
        reader = open_stream(bench.catalogue, bench.tree, bench.store.objects, SpoolIndex(spool), bench.tenant, heard)
        with reader as stream:
            assert list(stream.read()) == [b"audio"] * 3
            with away(bench):
                assert seconds_until(Unavailable, stream.read) < LEASE_S + 0.2
                with pytest.raises(Unavailable):  # nor later on: an answer is what renews it
                    list(stream.read())
                for number in range(len(streams)):
                    writer.append(number, 100, 200, b"while")
                    writer.close(number)
                durable(writer, range(len(streams)))
            assert list(stream.read()) == [b"audio"] * 3
    upload(bench.store)
    for artefact in streams:
        with bench.store.stream(bench.tenant, artefact.ref.artefact) as stream:
            assert list(stream.read()) == [b"before", b"while"]
