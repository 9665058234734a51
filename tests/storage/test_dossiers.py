"""Dossiers are sealed like recordings, belong to no call, and lose nobody's change."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection

from storage.errors import AlreadyExists, Erased, NotFound, Refused
from storage.model import CallId, CallState, Kind, TenantId, new_id
from storage.recordings import Recordings
from storage.records import SELDOM, Day
from tests.storage.stores import ACTOR, GROUND, files_below, open_at, stored_call, upload

NAME = b"Wilhelmina Rightholder, Keizersgracht 1"


def test_a_record_comes_back_to_its_tenant_and_to_nobody_else(store: Recordings, tenant: TenantId) -> None:
    dossier = store.dossiers.open(tenant, Kind.REQUEST, NAME)
    assert store.dossiers.read(tenant, dossier, Kind.REQUEST) == NAME
    for wrong in ((store.tenant("beta"), dossier, Kind.REQUEST), (tenant, CallId(new_id()), Kind.REQUEST)):
        with pytest.raises(NotFound):
            store.dossiers.read(*wrong)
    with pytest.raises(NotFound):
        store.dossiers.read(tenant, dossier, Kind.EGRESS)
    with pytest.raises(AlreadyExists):
        store.dossiers.open(tenant, Kind.REQUEST, NAME, id=dossier)


def test_only_dossiers_kinds_make_dossiers(store: Recordings, tenant: TenantId) -> None:
    with pytest.raises(Refused):
        store.dossiers.open(tenant, Kind.AUDIO, NAME)


def test_nothing_of_a_record_stands_on_the_disk(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        store.dossiers.open(store.tenant("acme"), Kind.REQUEST, NAME)
        assert NAME not in files_below(tmp_path)
    assert NAME not in files_below(tmp_path)


def test_a_dossier_is_no_call(store: Recordings, tenant: TenantId) -> None:
    first = store.dossiers.open(tenant, Kind.REQUEST, NAME)
    call = stored_call(store, tenant).call
    store.dossiers.open(tenant, Kind.EGRESS, NAME)
    assert [record.id for record in store.calls(tenant)] == [call]
    with pytest.raises(NotFound):
        store.call(tenant, first)
    with pytest.raises(NotFound):
        store.manifest(tenant, first)
    with pytest.raises(NotFound):
        store.erase_call(tenant, first, ground=GROUND, actor=ACTOR)
    assert store.live_calls() == []
    upload(store)  # closes what is due: no dossier is
    audit = store.reconcile(lambda state, detail: "")
    assert CallState.DOSSIER.value not in audit.outcomes
    assert not audit.findings


def test_statistics_do_not_count_dossiers(store: Recordings, tenant: TenantId) -> None:
    store.dossiers.open(tenant, Kind.REQUEST, NAME)
    assert store.statistics.first_day(tenant) is None
    call = stored_call(store, tenant)
    assert len(list(store.statistics.described(tenant, call.day))) == 1
    assert store.statistics.settled(tenant, call.day)


def test_a_dossier_outlives_the_call_that_it_is_about(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    dossier = store.dossiers.open(tenant, Kind.REQUEST, NAME)
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    assert store.dossiers.read(tenant, dossier, Kind.REQUEST) == NAME


def test_they_are_listed_by_kind_newest_first_and_in_pages(store: Recordings, tenant: TenantId) -> None:
    made = [store.dossiers.open(tenant, Kind.REQUEST, b"%d" % number) for number in range(3)]
    other = store.dossiers.open(tenant, Kind.DISCLOSURE, b"order")
    listed = [record.id for record in store.dossiers.list(tenant, Kind.REQUEST)]
    assert listed == made[::-1]
    page = store.dossiers.list(tenant, Kind.REQUEST, limit=1, before=made[2])
    assert [record.id for record in page] == [made[1]]
    assert [record.id for record in store.dossiers.list(tenant, Kind.DISCLOSURE)] == [other]
    assert store.dossiers.list(store.tenant("beta"), Kind.REQUEST) == []
    with pytest.raises(NotFound):
        store.dossiers.list(store.tenant("beta"), Kind.REQUEST, before=made[0])


def test_changes_that_meet_are_all_made(store: Recordings, tenant: TenantId) -> None:
    dossier = store.dossiers.open(tenant, Kind.REQUEST, b"")

    def add(letter: bytes) -> None:
        for _ in range(5):
            store.dossiers.amend(tenant, dossier, Kind.REQUEST, lambda body: body + letter)

    threads = [threading.Thread(target=add, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.dossiers.read(tenant, dossier, Kind.REQUEST)) == sorted(b"aaaaabbbbb")


def test_what_a_change_raises_changes_nothing(store: Recordings, tenant: TenantId) -> None:
    dossier = store.dossiers.open(tenant, Kind.REQUEST, NAME)

    def refuse(body: bytes) -> bytes:
        raise Refused("no")

    with pytest.raises(Refused):
        store.dossiers.amend(tenant, dossier, Kind.REQUEST, refuse)
    assert store.dossiers.read(tenant, dossier, Kind.REQUEST) == NAME


def test_no_bucket_is_prepared_for_what_comes_seldom(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    store.prepare(tenant, ["service"])
    store.dossiers.open(tenant, Kind.REQUEST, NAME)
    store.prepare(tenant, ["service"])
    with sqlite3.connect(tmp_path / "data" / "catalogue.sqlite3") as raw:
        rows = raw.execute("SELECT kind, count(*) FROM buckets GROUP BY kind").fetchall()
    raw.close()
    counts = {Kind(kind): count for kind, count in rows}
    assert counts[Kind.REQUEST] == 1
    assert set(counts) & SELDOM == {Kind.REQUEST}


def test_a_dossier_whose_time_is_over_is_refused_and_becomes_no_call(tmp_path: Path) -> None:
    now = [1_772_366_400.0]

    def two_days(_connection: Connection, _tenant: TenantId, _kind: Kind, _purpose: str, day: Day) -> int:
        return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) + 2 * 86_400

    with open_at(tmp_path, clock=lambda: now[0], due_of=two_days) as store:
        tenant = store.tenant("acme")
        dossier = store.dossiers.open(tenant, Kind.REQUEST, NAME)
        now[0] += 3 * 86_400
        for _ in range(2):  # due, and then destroyed
            with pytest.raises(Erased):
                store.dossiers.read(tenant, dossier, Kind.REQUEST)
            assert store.calls(tenant) == []
            store.expiry.run()
        assert [record.id for record in store.dossiers.list(tenant, Kind.REQUEST)] == [dossier]
