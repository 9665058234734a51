"""Every copy that left is on record before it leaves, is counted at erasure, and its recipient asked to delete it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from storage.egress import CALLS_AT_ONCE, NAMED_MAX, Copy, Leaving, copies_of
from storage.erasure import Target
from storage.errors import Malformed, NotFound, NotReady, Refused, Tampered, WrongKey
from storage.ledger import verify_certificate
from storage.model import ArtefactId, CallId, CallState, Kind, TenantId, new_id
from storage.notices import verify_notice
from storage.policy.library import profile
from storage.policy.overrides import Override, overridden
from storage.policy.term import Term, Unit
from storage.recordings import Recordings
from storage.records import NewCall
from storage.tables import egress
from tests.storage.stores import ACTOR, GROUND, PURPOSE, files_below, open_at, stored_call

DAY_S = 86_400
TO = "Pietersen Advocaten, Lange Voorhout 1"
ABOUT = {"to": TO, "ground": "Art. 15", "parts": ["audio"]}


def leaving(call: NewCall) -> Leaving:
    return Leaving(call.call, [artefact.ref.artefact for artefact in call.artefacts])


def copies(store: Recordings, call: CallId, name: str = "acme") -> list[Copy]:
    with store._catalogue.reading() as connection:
        return copies_of(connection, store.tenant(name), [call])


def test_cl_06_a_copy_is_counted_at_erasure_and_its_recipient_asked_to_delete(
    store: Recordings, tenant: TenantId
) -> None:
    call, other = stored_call(store, tenant), stored_call(store, tenant)
    (copy,) = store.egress.record(tenant, [leaving(call), leaving(other)], ABOUT)
    assert [found.id for found in copies(store, call.call)] == [copy]
    with pytest.raises(NotReady):
        store.egress.notice(tenant, copy)
    assert store.egress.waiting(tenant) == []
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    assert [found.id for found in copies(store, call.call)] == [copy]
    assert [found.id for found in store.egress.waiting(tenant)] == [copy]
    text = json.dumps(store.egress.notice(tenant, copy)).encode()
    notice = verify_notice(text, store.fingerprint())
    assert notice["to"] == TO
    assert notice["calls"] == {call.call: [artefact.ref.artefact for artefact in call.artefacts]}
    store.egress.told(tenant, copy, "officer")
    assert store.egress.waiting(tenant) == []
    store.erase_call(tenant, other.call, ground=GROUND, actor=ACTOR)
    assert [found.id for found in store.egress.waiting(tenant)] == [copy]  # of another call now


def test_what_is_told_is_looked_at_no_more_and_a_crash_in_between_heals(store: Recordings, tenant: TenantId) -> None:
    made = []
    for _ in range(3):
        call = stored_call(store, tenant)
        made += store.egress.record(tenant, [leaving(call)], ABOUT)
        store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    store.egress.told(tenant, made[0], "officer")
    with store._catalogue.writing() as connection:  # as if the record, and not the row, had been written
        connection.execute(egress.update().where(egress.c.id == made[0]).values(settled=False))
    assert {copy.id for copy in store.egress.waiting(tenant)} == set(made[1:])
    with store._catalogue.reading() as connection:
        settled = connection.execute(select(egress.c.id).where(egress.c.settled)).scalars().all()
    assert settled == [made[0]]


def test_of_a_copy_only_the_calls_that_its_recipient_was_told_of_are_told(store: Recordings, tenant: TenantId) -> None:
    first, second = stored_call(store, tenant), stored_call(store, tenant)
    (copy,) = store.egress.record(tenant, [leaving(first), leaving(second)], ABOUT)
    for call in (first, second):
        store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    store.egress.told(tenant, copy, "sent", [first.call])  # the second was erased while it was sent
    assert [found.id for found in store.egress.waiting(tenant)] == [copy]
    store.egress.told(tenant, copy, "sent", [second.call])
    assert store.egress.waiting(tenant) == []


def test_cl_06_the_certificate_lists_the_copies_and_nobody(store: Recordings, tenant: TenantId) -> None:
    call, other = stored_call(store, tenant), stored_call(store, tenant)
    made = sorted(store.egress.record(tenant, [leaving(call)], ABOUT)[0] for _ in range(2))
    certificate = store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    findings = verify_certificate(certificate, store.fingerprint())
    assert f"excepted: 2 copies on record as having left: {made[0]}, {made[1]}" in findings
    assert "Pietersen" not in json.dumps(certificate)
    certificate = store.erase_call(tenant, other.call, ground=GROUND, actor=ACTOR)
    assert "on record" not in json.dumps(certificate)


def test_cl_06_certificates_of_persons_and_tenants_count_copies_too(store: Recordings, tenant: TenantId) -> None:
    calls = [stored_call(store, tenant) for _ in range(3)]
    copies = [store.egress.record(tenant, [leaving(call)], ABOUT)[0] for call in calls]
    both = store.erasures.erase(tenant, Target.of_person([call.call for call in calls[:2]]), GROUND, ACTOR)
    (said,) = [line for line in both["entries"][1]["body"]["exceptions"] if "on record" in line]
    assert said.startswith("2 copies") and all(copy in said for copy in copies[:2]) and copies[2] not in said
    everything = store.erasures.erase(tenant, Target.of_tenant(), GROUND, ACTOR)
    assert "3 copies on record as having left" in everything["entries"][1]["body"]["exceptions"]


def said_of_copies(store: Recordings, tenant: TenantId, erasure: str) -> list[str]:
    certificate = store.erasures.certificate(tenant, erasure)
    assert verify_certificate(certificate, store.fingerprint())
    return [line for line in certificate["entries"][1]["body"]["exceptions"] if "on record" in line]


def test_cl_06_a_days_expiry_lists_the_copies_of_what_it_ends_and_no_others(tmp_path: Path) -> None:
    now_s = [1_800_000_000.0]
    with open_at(tmp_path, clock=lambda: now_s[0]) as store:
        tenant, other = store.tenant("acme"), store.tenant("beta")
        for of in (tenant, other):
            store.adopt(of, overridden(profile("speakup"), [Override("*", "*", Term(Unit.DAYS, 3))], "UTC"))
        ending, uncopied = stored_call(store, tenant), stored_call(store, tenant)
        (copy,) = store.egress.record(tenant, [leaving(ending)], ABOUT)
        store.egress.record(other, [leaving(stored_call(store, other))], ABOUT)
        now_s[0] += DAY_S
        (stays,) = store.egress.record(tenant, [leaving(stored_call(store, tenant))], ABOUT)
        now_s[0] += 2 * DAY_S
        assert store.expiry.run()
        assert store.call(tenant, uncopied.call).state is CallState.ERASED
        erasure = store.certificate(tenant, ending.call)["entries"][0]["body"]["erasure"]
        assert said_of_copies(store, tenant, erasure) == [f"1 copies on record as having left: {copy}"]
        assert [waits.id for waits in store.egress.waiting(tenant)] == [copy]
        now_s[0] += DAY_S
        assert store.expiry.run()
        assert [waits.id for waits in store.egress.waiting(tenant)] == [copy, stays]


def test_cl_06_a_purpose_that_falls_away_lists_the_copies_of_what_it_ends(store: Recordings, tenant: TenantId) -> None:
    (copy,) = store.egress.record(tenant, [leaving(stored_call(store, tenant))], ABOUT)
    ends = store.erasures.request(tenant, Target.of_purpose(PURPOSE), GROUND, ACTOR)
    nothing = store.erasures.request(tenant, Target.of_purpose("training"), GROUND, ACTOR)
    store.erasures.run(ends)
    assert said_of_copies(store, tenant, ends) == [f"1 copies on record as having left: {copy}"]
    assert said_of_copies(store, tenant, nothing) == []


def test_a_certificate_names_a_thousand_copies_and_counts_the_rest(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant).call
    rows = [{"id": f"{n:032x}", "tenant": tenant, "call": call, "day": "2026-01-01"} for n in range(NAMED_MAX + 2)]
    with store._catalogue.writing() as connection:
        connection.execute(egress.insert(), rows)
    erasure = store.erasures.request(tenant, Target.of_purpose(PURPOSE), GROUND, ACTOR)
    store.erasures.run(erasure)
    (said,) = said_of_copies(store, tenant, erasure)
    assert said.startswith(f"{NAMED_MAX + 2} copies") and said.endswith(f"{NAMED_MAX - 1:032x} and 2 more")
    assert len(said) < 40 * NAMED_MAX


def test_a_notice_that_was_changed_or_is_anothers_is_refused(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    (copy,) = store.egress.record(tenant, [leaving(call)], ABOUT)
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    text = json.dumps(store.egress.notice(tenant, copy)).encode()
    with pytest.raises(Tampered):
        verify_notice(text.replace(b"Pietersen", b"Jansen"), store.fingerprint())
    with pytest.raises(WrongKey):
        verify_notice(text, "0" * 64)
    for none in (b"{}", b"[]", b"x"):
        with pytest.raises(Malformed):
            verify_notice(none, store.fingerprint())


def test_ct_08_a_copy_says_what_to_whom_when_and_on_what_ground(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    (copy,) = store.egress.record(tenant, [leaving(call)], ABOUT)
    found = store.egress.read(tenant, copy)
    assert (found["to"], found["ground"], found["parts"]) == (TO, "Art. 15", ["audio"])
    assert found["calls"] == {call.call: [artefact.ref.artefact for artefact in call.artefacts]}
    assert found["at"].endswith("Z")
    assert [record.id for record in store.egress.records(tenant)] == [copy]
    with pytest.raises(NotFound):
        store.egress.read(store.tenant("beta"), copy)


def test_to_whom_stands_nowhere_in_clear(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    store.egress.record(tenant, [leaving(stored_call(store, tenant))], ABOUT)
    assert b"Pietersen" not in files_below(tmp_path)


def test_a_hidden_copy_has_no_clear_row(store: Recordings, tenant: TenantId) -> None:
    call, operator = stored_call(store, tenant), store.tenant("+operator")
    (copy,) = store.egress.record(operator, [leaving(call)], ABOUT, hidden=True)
    assert copies(store, call.call) == []
    assert store.egress.records(tenant) == []
    assert store.egress.read(operator, copy)["to"] == TO


def test_a_copy_of_many_calls_has_several_records(store: Recordings, tenant: TenantId) -> None:
    many = [Leaving(CallId(new_id()), [ArtefactId(new_id())] * 10) for _ in range(CALLS_AT_ONCE + 1)]
    made = store.egress.record(tenant, many, ABOUT)
    assert [len(store.egress.read(tenant, copy)["calls"]) for copy in made] == [CALLS_AT_ONCE, 1]
    assert len(store.dossiers.list(tenant, Kind.EGRESS)) == 2
    with pytest.raises(Refused):
        store.egress.record(tenant, [], ABOUT)
