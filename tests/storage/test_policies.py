"""A change of policy is signed; what it shortens applies to what is stored, what it lengthens only to what is new."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text

from storage.catalogue import Catalogue
from storage.clocks import Doubt, Reading
from storage.errors import Refused
from storage.heartbeat import host_reading, last, look
from storage.installation import open_installation
from storage.ledger import Ledger
from storage.model import Kind, Root, TenantId, is_id, new_id
from storage.policies import Adopted, adopt, due_at_once, due_of, policy_of
from storage.policy.library import profile
from storage.policy.model import Policy
from storage.policy.overrides import Override, overridden
from storage.policy.term import Term
from storage.providers import open_provider
from storage.recordings import Recordings
from storage.records import Day
from storage.signing import Signer
from storage.tables import buckets, ledger, policies, tenants
from tests.storage.stores import open_at

NOW = 1_780_000_000.0  # 2026-05-28
REASON = "the regulator asks for two years"


def speakup(*overrides: Override, zone: str = "Europe/Amsterdam") -> Policy:
    return overridden(profile("speakup"), overrides, zone)


def own(term: str, kind: str = "audio", purpose: str = "*", reason: str = "") -> Override:
    return Override(kind, purpose, Term.parse(term), reason)


def entries(store: Recordings) -> list[dict[str, Any]]:
    with store._catalogue.reading() as connection:
        bodies = connection.scalars(select(ledger.c.body).order_by(ledger.c.seq)).all()
    return [body for body in map(json.loads, bodies) if body["type"] == "policy"]


def test_a_policy_is_adopted_once_and_signed(store: Recordings, tenant: TenantId) -> None:
    assert store.policy(tenant) == profile("default")
    assert store.adopt(tenant, speakup()) == Adopted(changed=True)
    assert store.adopt(tenant, speakup()) == Adopted(changed=False)
    assert store.policy(tenant) == speakup()
    (entry,) = entries(store)
    assert entry["tenant"] == tenant and entry["profile"] == "speakup" and entry["zone"] == "Europe/Amsterdam"
    assert entry["lowered"] == entry["raised"] == entry["reasons"] == []
    with store._catalogue.reading() as connection:
        row = connection.execute(select(policies)).one()
    assert (row.digest, row.entry) == (entry["policy"], entry["seq"])
    store.check()  # the chain holds


def test_a_policy_outlives_the_process(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        store.adopt(tenant, speakup())
    with open_at(tmp_path) as store:
        assert store.policy(tenant) == speakup()
        assert not store.adopt(tenant, speakup()).changed


def test_up_02_a_longer_term_is_in_the_ledger_with_its_reason(store: Recordings, tenant: TenantId) -> None:
    store.adopt(tenant, overridden(profile("upcall"), [], "UTC"))
    adopted = store.adopt(tenant, overridden(profile("upcall"), [own("2 years", reason=REASON)], "UTC"))
    assert [str(one) for one in adopted.raised] == ["audio/*: 12 months -> 2 years"]
    entry = entries(store)[-1]
    assert entry["raised"] == ["audio/*: 12 months -> 2 years"]
    assert entry["lowered"] == [] and entry["reasons"] == [REASON]


def test_what_was_lowered_and_which_other_lines_changed_are_in_the_ledger(store: Recordings, tenant: TenantId) -> None:
    store.adopt(tenant, overridden(profile("upcall"), [], "UTC"))
    store.adopt(tenant, speakup())
    entry = entries(store)[-1]
    assert "audio/*: 12 months -> 4 months" in entry["lowered"] and "rating/*: 7 years -> 10 years" in entry["raised"]
    assert "logs.term: 90 days -> 30 days" in entry["lines"] and "zone: UTC -> Europe/Amsterdam" in entry["lines"]


def test_a_reason_that_names_somebody_is_refused_and_nothing_changes(store: Recordings, tenant: TenantId) -> None:
    store.adopt(tenant, speakup())
    for reason in ("Jan on +31612345678 asked for it", "jan@example.org asked for it"):
        with pytest.raises(Refused):
            store.adopt(tenant, speakup(own("2 years", reason=reason)))
    assert store.policy(tenant) == speakup() and len(entries(store)) == 1


def test_policies_of_two_tenants_do_not_touch_each_other(store: Recordings) -> None:
    one, other = store.tenant("one"), store.tenant("other")
    store.adopt(one, speakup())
    store.adopt(other, overridden(profile("circleloop"), [], "Europe/London"))
    day = Day("2026-01-31")
    with store._catalogue.reading() as connection:
        assert policy_of(connection, one).name == "speakup"
        assert due_of(connection, one, Kind.AUDIO, "quality", day) is not None
        assert due_of(connection, other, Kind.AUDIO, "quality", day) is None
        assert due_of(connection, store.tenant("third"), Kind.AUDIO, "quality", day) is not None  # the default


def test_sp_05_call_detail_is_due_a_month_before_the_recording_of_its_day(store: Recordings, tenant: TenantId) -> None:
    store.adopt(tenant, speakup(zone="UTC"))
    with store._catalogue.reading() as connection:
        ends = [due_of(connection, tenant, kind, "quality", Day("2026-06-15")) for kind in Kind]
    found = dict(zip(Kind, ends, strict=True))
    assert found[Kind.CALL_DETAIL] == found[Kind.IDENTITY] == 1_789_430_400  # 2026-09-15
    assert found[Kind.AUDIO] == 1_792_022_400  # 2026-10-15


@pytest.fixture
def books(tmp_path: Path) -> Any:
    catalogue = Catalogue(tmp_path)
    yield (
        catalogue,
        Ledger(Signer(open_installation(catalogue, open_provider(f"file:{tmp_path}-keys", tmp_path)).ledger)),
    )
    catalogue.close()


def bucket(tenant: str, kind: Kind, day: str, due: int | None, root: Root = Root.CONTENT) -> dict[str, object]:
    row: dict[str, object] = {
        "id": new_id(),
        "tenant": tenant,
        "root": root.value,
        "epoch": 0,
        "kind": kind.value,
        "purpose": "quality",
    }
    row |= {"day": day, "due": due, "wrapped": b"w", "part": 0}
    return {name: value for name, value in row.items() if name in buckets.c}


def adopted(connection: Any, book: Ledger, policy: Policy, rows: Sequence[dict[str, object]]) -> Adopted:
    connection.execute(text("DELETE FROM buckets"))
    if rows:
        connection.execute(insert(buckets), rows)
    return adopt(connection, book, TenantId(str(rows[0]["tenant"])), policy, NOW)


def test_up_02_a_lowered_term_applies_to_what_is_stored_and_a_raised_one_does_not(books: Any) -> None:
    catalogue, book = books
    mine, other = new_id(), new_id()
    with catalogue.writing() as connection:
        for tenant in (mine, other):
            connection.execute(insert(tenants), {"id": tenant, "tag": tenant.encode(), "fence": 0, "turn": 0})
        upcall = overridden(profile("upcall"), [], "UTC")
        adopt(connection, book, TenantId(mine), upcall, NOW)
        ends = due_of(connection, TenantId(mine), Kind.AUDIO, "quality", Day("2026-05-01"))
        rows = [bucket(mine, Kind.AUDIO, "2026-05-01", ends), bucket(other, Kind.AUDIO, "2026-05-01", ends)]
        rows += [bucket(mine, Kind.AUDIO, "2026-05-02", 0), bucket(mine, Kind.TRANSCRIPT, "2026-05-01", None)]
        rows += [
            bucket(mine, Kind.AUDIO, "2026-05-01", None, Root.HOLD),
            bucket(mine, Kind.TRANSCRIPT, "2026-05-02", 7),
        ]
        lowered = adopted(connection, book, overridden(profile("upcall"), [own("1 month", "*")], "UTC"), rows)
        found = list(connection.scalars(select(buckets.c.due).order_by(buckets.c.serial)))
        month = 1_780_272_000  # 2026-06-01
        assert found == [month, ends, 0, month, None, 7]
        assert lowered.ended_earlier == 2
        raised = adopt(connection, book, TenantId(mine), upcall, NOW)
        assert raised.ended_earlier == 0 and raised.raised
        assert list(connection.scalars(select(buckets.c.due).order_by(buckets.c.serial))) == found


def test_how_much_a_lower_term_would_end_at_once_is_known_beforehand(books: Any) -> None:
    catalogue, book = books
    mine = new_id()
    with catalogue.writing() as connection:
        connection.execute(insert(tenants), {"id": mine, "tag": mine.encode(), "fence": 0, "turn": 0})
        days = [f"2026-{month:02}-01" for month in (1, 2, 3, 4, 5)]
        adopted(connection, book, profile("upcall"), [bucket(mine, Kind.AUDIO, day, None) for day in days])
        lower = [overridden(profile("upcall"), [own(term)], "UTC") for term in ("12 months", "3 months", "1 month")]
        after = [due_at_once(connection, TenantId(mine), policy, NOW) for policy in lower]
        assert after == [0, 2, 4]


def test_a_machine_tells_its_uptime_and_which_start_of_it_this_is() -> None:
    one, other = (host_reading(NOW + passed, provider_s=7) for passed in (0, 1))
    assert one.boot == other.boot and is_id(one.boot)
    assert 0 <= other.uptime_s - one.uptime_s <= 60
    assert (one.host_s, one.database_s, one.provider_s) == (int(NOW), None, 7)


def test_the_last_look_at_the_clocks_is_kept(tmp_path: Path) -> None:
    boot = new_id()
    for _ in range(2):
        catalogue = Catalogue(tmp_path)
        with catalogue.writing() as connection:
            beat = last(connection)
            second = 1_800_000_000 if beat is None else beat.host_s + 60
            assert look(connection, Reading(second, second - 1_799_999_000, boot)).may_drop
        catalogue.close()
    catalogue = Catalogue(tmp_path)
    with catalogue.writing() as connection:
        verdict = look(connection, Reading(1_900_000_000, 1_120, boot))
        assert verdict.doubts == (Doubt.JUMPED,)
        assert last(connection) == verdict.beat
    catalogue.close()
