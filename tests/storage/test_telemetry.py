"""Telemetry under a rotating id: found by its call for some days, then by nobody, whatever they have and know."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.calls.telemeter import classes, prefix_of
from storage.envelope import length_prefixed
from storage.errors import Refused
from storage.ledger import entries_of
from storage.model import CallId, TenantId, new_id
from storage.recordings import Recordings
from storage.tables import telemetry, telemetry_days
from storage.telemetry import TAG_BYTES, Noted, Point
from tests.storage.ages import Clock, aged, at

GOOD = {"codec": "PCMA", "mos": "4.3-", "loss_percent": "0-0.1", "jitter_ms": "0-5.0", "network": "192.0.2.0/24"}
BAD = {**GOOD, "mos": "0-2.6", "loss_percent": "5.0-"}
NUMBER, ADDRESS = "+31201234567", "192.0.2.33"


@pytest.fixture
def clock() -> Clock:
    return Clock(at("2026-03-01T12:00"))


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Recordings]:
    with aged(tmp_path, clock) as recordings:
        yield recordings


def note(store: Recordings, tenant: TenantId, values: dict[str, str], count: int) -> list[CallId]:
    calls = [CallId(new_id()) for _ in range(count)]
    store.telemetry.note([Point(tenant, call, 0, values) for call in calls])
    return calls


def rows(store: Recordings) -> list[tuple[bytes | None, bytes]]:
    with store._catalogue.reading() as connection:
        return [(row.tag, row.sealed) for row in connection.execute(select(telemetry))]


def test_ct_09_a_call_finds_its_telemetry_until_its_days_are_over_and_nobody_afterwards(
    store: Recordings, clock: Clock, tmp_path: Path
) -> None:
    tenant = store.tenant("acme")
    common, (odd,) = note(store, tenant, GOOD, 23), note(store, tenant, BAD, 1)
    assert [noted.values for noted in store.telemetry.of_call(tenant, odd)] == [BAD]
    assert store.telemetry.of_call(store.tenant("beta"), odd) == []
    with store._catalogue.reading() as connection:
        wrapped = bytes(connection.scalars(select(telemetry_days.c.wrapped)).one())
    keys = set((tmp_path / "keys").glob("*telemetry*"))
    clock.now_s += 6 * 86_400
    assert store.telemetry.rotate(lambda _tenant: 7) == 0 and store.telemetry.of_call(tenant, odd)
    before = tmp_path / "backup"
    shutil.copytree(tmp_path / "data", before)
    clock.now_s += 86_400
    assert store.telemetry.rotate(lambda _tenant: 7) == 1
    assert [store.telemetry.of_call(tenant, call) for call in (*common, odd)] == [[]] * 24
    # What stays: one count in tens of what many had, and no id; what one had alone is gone.
    assert store.telemetry.all(tenant) == [Noted(store.telemetry.all(tenant)[0].day, "", 20, GOOD)]
    assert [tag for tag, _ in rows(store)] == [None]
    assert len(keys) == 1 and not any(path.exists() for path in keys)
    assert wrapped not in (tmp_path / "data" / "catalogue.sqlite3").read_bytes()
    with store._catalogue.reading() as connection:
        (entry,) = entries_of(connection, "telemetry")
    assert (entry.body["rows"], entry.body["kept"], entry.body["tenant"]) == (24, 1, tenant)
    assert store.telemetry.rotate(lambda _tenant: 7) == 0


def test_ct_09_re_identification_fails_with_a_backup_every_call_id_number_and_address(
    tmp_path: Path, clock: Clock
) -> None:
    """Who has a copy of everything from before, today's keys, and all ids, numbers and addresses there are."""
    with aged(tmp_path, clock) as store:
        tenant = store.tenant("acme")
        calls = note(store, tenant, BAD, 3)
        old_rows = rows(store)
        with store._catalogue.reading() as connection:
            secret = bytes(connection.scalars(select(telemetry_days.c.wrapped)).one())
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        clock.now_s += 8 * 86_400
        store.telemetry.rotate(lambda _tenant: 7)
        assert store.telemetry.all(tenant) == []
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "copy", tmp_path / "data")
    with aged(tmp_path, clock) as store:  # yesterday's catalogue with today's key provider
        assert len(rows(store)) == 3
        assert [store.telemetry.of_call(tenant, call) for call in calls] == [[]] * 3
        assert store.telemetry.all(tenant) == []
        store.telemetry.rotate(lambda _tenant: 7)
        assert rows(store) == []
    tags = {tag for tag, _ in old_rows}
    network = ipaddress.ip_network("192.0.2.0/24")
    guesses = [call.encode() for call in calls] + [NUMBER.encode()] + [str(one).encode() for one in network]
    guesses += [f"+3120{number:07}".encode() for number in range(0, 10_000_000, 997)]
    tried = set()
    for guess in guesses:
        tried.add(hashlib.sha256(guess).digest()[:TAG_BYTES])
        for key in (b"", secret, tenant.encode()):
            tried.add(hmac.digest(key, length_prefixed(guess, b"0"), "sha256")[:TAG_BYTES])
    assert not tags & tried
    for _, sealed in old_rows:
        assert ADDRESS.encode() not in sealed and b"PCMA" not in sealed


def test_ct_09_no_number_and_no_whole_address_can_be_noted(store: Recordings) -> None:
    tenant = store.tenant("acme")
    for wrong in (
        {**GOOD, "network": ADDRESS},
        {**GOOD, "network": f"{ADDRESS}/32"},
        {**GOOD, "from": NUMBER},
        {**GOOD, "codec": "a text in words"},
    ):
        with pytest.raises(Refused):
            note(store, tenant, wrong, 1)
    assert rows(store) == []
    assert prefix_of(ADDRESS) == "192.0.2.0/24" and prefix_of("2001:db8:1:2::3") == "2001:db8:1::/48"
    assert prefix_of("sbc.example.net") == "none"
    assert classes({}, "none") is None


def test_ct_09_all_rows_look_alike_and_a_tenant_that_left_or_switched_it_off_has_none(store: Recordings) -> None:
    acme, beta = store.tenant("acme"), store.tenant("beta")
    note(store, acme, GOOD, 2)
    note(store, beta, {"codec": "several"}, 1)
    assert len({len(sealed) for _, sealed in rows(store)}) == 1
    assert store.telemetry.rotate(lambda of: 7 if of == acme else 0) == 1
    assert store.telemetry.all(beta) == [] and len(store.telemetry.all(acme)) == 2


def test_noting_again_changes_nothing_and_another_process_uses_the_same_secret(
    store: Recordings, tmp_path: Path, clock: Clock
) -> None:
    tenant, call = store.tenant("acme"), CallId(new_id())
    with aged(tmp_path, clock) as other:
        for recordings, track in ((store, 0), (other, 0), (other, 1), (store, 1)):
            recordings.telemetry.note([Point(tenant, call, track, GOOD)])
        assert len(other.telemetry.of_call(tenant, call)) == len(store.telemetry.of_call(tenant, call)) == 2
    assert json.dumps([noted.values for noted in store.telemetry.all(tenant)]) == json.dumps([GOOD, GOOD])
