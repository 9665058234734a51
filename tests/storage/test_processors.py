"""Tenants are told of who gets their data, durably and before any of it goes there."""

from __future__ import annotations

import os
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from storage.backup.replay import Replay
from storage.backup.replay import replay as replay_entry
from storage.errors import Malformed, Refused
from storage.ledger import entries_of
from storage.model import TenantId
from storage.processors import DAY_S, ENTRIES_MAX, Processor
from storage.recordings import Recordings
from storage.tables import processors
from tests.storage.stores import open_at

NOW = 1_772_452_800.0
STORE = Processor(
    *("example-storage", "Example Storage B.V.", "NL-AMS", ("objects", "witness"), (), "30 days"),
    *("sealed by us; TLS 1.3", "2026-01-01", "s3.example.com"),
)
CRM = replace(STORE, name="destination:crm", company="Example CRM Inc.", region="US", gets=("detail",))


def forked(root: Path, kill_before_commit: bool) -> None:
    """Announces in a process that is killed (-9): with the notice written and not committed, or just after that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: none of ours is running
        child = os.fork()
    if child == 0:
        try:
            with open_at(root) as store:
                tenant = store.tenant("acme")
                register = store.register
                if kill_before_commit:
                    tell = register._tell

                    def told(*given: Any) -> None:
                        tell(*given)
                        os.kill(os.getpid(), signal.SIGKILL)

                    register._tell = told  # type: ignore[method-assign, assignment]  # in the transaction
                register.announce(tenant, [CRM])
                if not kill_before_commit:
                    os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_up_10_a_new_entry_is_told_once_and_signed(store: Recordings, tenant: TenantId) -> None:
    (notice,) = store.register.announce(tenant, [STORE])
    assert (notice.event, notice.facts["processor"]) == ("processor_announced", "example-storage")
    assert store.register.announce(tenant, [STORE]) == []
    assert store.register.notices(tenant) == [notice]
    with store._catalogue.reading() as connection:
        (entry,) = entries_of(connection, "processor")
        store._ledger.verify(connection)
    assert (entry.seq, entry.body["entry"]["region"]) == (notice.seq, "NL-AMS")
    assert store.register.notices(store.tenant("beta")) == [] == list(store.register.told(store.tenant("beta")))


def test_up_10_every_change_and_every_end_is_told(store: Recordings, tenant: TenantId) -> None:
    store.register.announce(tenant, [STORE, CRM])
    for changed in (
        replace(CRM, region="IE"),
        replace(CRM, fields=("detail.from",)),
        replace(CRM, retention="1 year"),
        replace(CRM, dpa="2026-02-01"),
    ):
        (notice,) = store.register.announce(tenant, [STORE, changed])
        assert (notice.event, notice.facts["processor"]) == ("processor_changed", "destination:crm")
    (ended,) = store.register.announce(tenant, [STORE])
    assert (ended.event, ended.facts["entry"]) == ("processor_ended", None)
    (again,) = store.register.announce(tenant, [STORE, CRM])
    assert again.event == "processor_announced"
    seqs = [notice.seq for notice in store.register.notices(tenant)]
    assert seqs == sorted(seqs, reverse=True) and len(seqs) == 8


def test_up_10_data_flows_only_after_the_notice_and_its_days(tmp_path: Path) -> None:
    now = [NOW]
    with open_at(tmp_path, clock=lambda: now[0]) as store:
        tenant = store.tenant("acme")
        with pytest.raises(Refused, match="not told"):
            store.register.check(tenant, CRM)
        store.register.announce(tenant, [CRM], {CRM.name: 30})
        with pytest.raises(Refused, match="before 2026-04-01T12:00:00Z"):
            store.register.check(tenant, CRM)
        now[0] += 30 * DAY_S
        store.register.check(tenant, CRM)
        with pytest.raises(Refused, match="not told"):
            store.register.check(tenant, replace(CRM, fields=("detail.from",)))
        with pytest.raises(Refused, match="not told"):
            store.register.check(store.tenant("beta"), CRM)
        store.register.announce(tenant, [])
        with pytest.raises(Refused, match="not told"):
            store.register.check(tenant, CRM)


def test_up_10_a_crash_before_the_notice_leaves_nothing_that_data_could_follow(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
    forked(tmp_path, kill_before_commit=True)
    with open_at(tmp_path) as store:
        assert store.register.notices(tenant) == []
        with pytest.raises(Refused):
            store.register.check(tenant, CRM)
        assert len(store.register.announce(tenant, [CRM])) == 1


def test_up_10_a_crash_after_the_notice_loses_it_not_and_tells_it_not_twice(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
    forked(tmp_path, kill_before_commit=False)
    with open_at(tmp_path) as store:
        assert [notice.event for notice in store.register.notices(tenant)] == ["processor_announced"]
        assert store.register.announce(tenant, [CRM]) == []
        store.register.check(tenant, CRM)


@pytest.mark.parametrize("lacks", ["company", "region", "retention", "encryption", "dpa"])
def test_ct_04_an_incomplete_entry_gets_nothing_even_where_it_was_told(
    store: Recordings, tenant: TenantId, lacks: str
) -> None:
    less = Processor.parse({**CRM.to_json(), lacks: ""})
    store.register.announce(tenant, [less])
    with pytest.raises(Refused, match=lacks):
        store.register.check(tenant, less)


def test_what_names_somebody_or_is_too_much_is_refused(store: Recordings, tenant: TenantId) -> None:
    for wrong in (
        [replace(STORE, company="jan@example.com")],
        [replace(STORE, encryption="call 0612345678")],
        [STORE, STORE],
        [replace(STORE, name=str(number)) for number in range(ENTRIES_MAX + 1)],
        [replace(STORE, fields=("x" * 100,) * 400)],
    ):
        with pytest.raises(Refused):
            store.register.announce(tenant, wrong)
    assert store.register.notices(tenant) == []


def test_an_entry_is_what_was_written() -> None:
    assert Processor.parse(CRM.to_json()) == CRM
    wrongs: tuple[object, ...] = ({}, [], {**CRM.to_json(), "more": 1})
    for wrong in wrongs:
        with pytest.raises(Malformed):
            Processor.parse(wrong)


def test_inside_or_outside_the_area_is_told_by_the_region() -> None:
    assert STORE.in_eea
    assert not CRM.in_eea
    assert not replace(CRM, region="").in_eea


def test_a_restore_tells_again_what_was_told_after_the_backup(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        store.register.announce(tenant, [STORE, CRM], {CRM.name: 7})
        store.register.announce(tenant, [STORE])
        with store._catalogue.writing() as connection:
            before = connection.execute(select(processors).order_by(processors.c.serial)).all()
            entries = entries_of(connection, "processor")
            connection.execute(processors.delete())
            state = Replay([], store._ledger, 0)
            for entry in entries:
                replay_entry(connection, entry, state)
            after = connection.execute(select(processors).order_by(processors.c.serial)).all()
    assert [tuple(row)[1:] for row in after] == [tuple(row)[1:] for row in before]
