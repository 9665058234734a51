"""Whatever an erasure is of: nothing of it opens from a backup of before, and what lives on is excepted and told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storage.consents import Consent
from storage.erasure import Target
from storage.errors import NotFound
from storage.model import NO_PARTICIPANT, ArtefactId, Kind, TenantId
from storage.policy.library import profile
from storage.policy.overrides import Override, overridden
from storage.policy.term import Term
from storage.probe import Asked
from storage.rating import Rating
from storage.recordings import Recordings
from storage.records import Day, Derived, Identifier
from tests.storage.backup.drill import back_up
from tests.storage.erasure.test_expiry import DAY_S, Clock
from tests.storage.probe.probing import assert_dead, erasure_of, ids_of, keep_keys, probe
from tests.storage.stores import ACTOR, GROUND, PURPOSE, audio_of, open_at, stored_call

NUMBER = Identifier("number", "+31201234567")
DEFAULT = profile("default")
POLICY = replace(DEFAULT, purposes=replace(DEFAULT.purposes, allowed=("training", PURPOSE)))
RATED = Rating(Day("2026-11-27"), 60).to_json()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Recordings]:
    with open_at(tmp_path, clock=clock) as opened:
        opened.adopt(opened.tenant("acme"), POLICY)
        yield opened


def kept(store: Recordings, root: Path) -> None:
    """A backup, and yesterday's keyring, from before what follows."""
    back_up(store, root)
    keep_keys(root)


def erase(store: Recordings, tenant: TenantId, target: Target) -> dict[str, Any]:
    return store.erasures.erase(tenant, target, GROUND, ACTOR)


def test_up_16_a_part_of_a_call(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    call = stored_call(store, tenant)
    kept(store, tmp_path)
    audio: set[ArtefactId] = {artefact.ref.artefact for artefact in audio_of(call)}
    certificate = erase(store, tenant, Target.of_artefacts(call.call, sorted(audio)))
    assert_dead(tmp_path, Asked(certificate=certificate), audio)
    whole = probe(tmp_path, call.call, "backup")
    assert {line.split()[0] for line in whole.opened} == {"identity", "call_detail"}  # asked for the call, it lives


def test_a_participant(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    call = stored_call(store, tenant)
    gone, stays = audio_of(call)
    kept(store, tmp_path)
    certificate = erase(store, tenant, Target.of_participant(call.call, gone.ref.participant))
    assert_dead(tmp_path, Asked(erasure=erasure_of(certificate)), ids_of(call) - {stays.ref.artefact})


def test_a_person_but_for_what_was_held(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    first, second, held, _living = (stored_call(store, tenant) for _ in range(4))
    store.holds.place(tenant, [held.call], "claim of 2026", ACTOR)
    kept(store, tmp_path)
    certificate = erase(store, tenant, Target.of_person([first.call, second.call, held.call]))
    proof = assert_dead(tmp_path, Asked(erasure=erasure_of(certificate)), ids_of(first, second))
    assert proof.excepted == {"artefacts that were held then, and left as they are": 4}


@pytest.mark.usefixtures("database")
@pytest.mark.postgresql("one path from end to end of a consent")
def test_up_17_a_consent_that_was_withdrawn(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """Of one participant's track only the wrap for training dies while its own term runs, and all of it afterwards."""
    call, _living = stored_call(store, tenant), stored_call(store, tenant)
    first = audio_of(call)[0].ref
    consent = store.consents.record(tenant, call.call, Consent("training", "1", None, first.participant), ACTOR)
    kept(store, tmp_path)
    certificate = store.consents.withdraw(tenant, call.call, consent, how="by letter", actor=ACTOR)
    asked = Asked(erasure=erasure_of(certificate))
    proof = assert_dead(tmp_path, asked, {first.artefact})
    assert proof.excepted == {f"artefacts that live on for purpose {PURPOSE}": 1}
    assert proof.tried["artefact keys"] > 0
    erase(store, tenant, Target.of_call(call.call))
    assert_dead(tmp_path, call.call, ids_of(call))


def test_a_purpose_of_all_calls(store: Recordings, tenant: TenantId, tmp_path: Path, clock: Clock) -> None:
    calls = [stored_call(store, tenant) for _ in range(2)]
    store.consents.record(tenant, calls[0].call, Consent("training", "1", None, NO_PARTICIPANT), ACTOR)
    kept(store, tmp_path)
    clock.pass_days(1)
    certificate = erase(store, tenant, Target.of_purpose(PURPOSE))
    stored_call(store, tenant)  # of the same purpose, later: not what was erased
    proof = assert_dead(tmp_path, Asked(erasure=erasure_of(certificate)), ids_of(*calls))
    assert proof.artefacts == 8
    assert proof.excepted == {"artefacts that live on for purpose training": 4}


def test_a_hold_and_its_release(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """The backup is of between: the hold alone keeps the call then."""
    call, _living = stored_call(store, tenant), stored_call(store, tenant)
    hold = store.holds.place(tenant, [call.call], "claim of 2026", ACTOR)
    ended = erase(store, tenant, Target.of_purpose(PURPOSE, [call.call]))
    kept(store, tmp_path)
    proof = probe(tmp_path, call.call, "backup")
    assert proof.excepted == {f"artefacts that live on under hold {hold}": 4}
    with pytest.raises(NotFound, match="from before erasure"):
        probe(tmp_path, Asked(erasure=erasure_of(ended)), "backup")
    certificate = store.holds.release(tenant, hold, ACTOR)
    assert_dead(tmp_path, Asked(erasure=erasure_of(certificate)), ids_of(call))
    assert_dead(tmp_path, call.call, ids_of(call))


@pytest.mark.usefixtures("database")
@pytest.mark.postgresql("one path from end to end of an expiry")
def test_sp_04_what_has_expired(store: Recordings, tenant: TenantId, tmp_path: Path, clock: Clock) -> None:
    calls = [stored_call(store, tenant) for _ in range(2)]
    clock.pass_days(60)
    stored_call(store, tenant)
    kept(store, tmp_path)
    clock.pass_days(40)
    assert store.expiry.run() > 0
    certificate = store.certificate(tenant, calls[0].call)
    assert certificate["entries"][0]["body"]["target"]["scope"] == "expiry"
    assert_dead(tmp_path, Asked(certificate=certificate), ids_of(*calls), "backup")
    assert_dead(tmp_path, calls[1].call, ids_of(calls[1]), "backup")


def test_up_02_what_a_lowered_term_ends(store: Recordings, tenant: TenantId, tmp_path: Path, clock: Clock) -> None:
    call = stored_call(store, tenant)
    clock.pass_days(20)
    stored_call(store, tenant)
    kept(store, tmp_path)
    lower = [Override(kind, PURPOSE, Term.parse("14 days")) for kind in (Kind.AUDIO, Kind.IDENTITY, Kind.CALL_DETAIL)]
    assert store.adopt(tenant, overridden(POLICY, lower, POLICY.zone)).ended_earlier > 0
    assert store.expiry.run() > 0
    certificate = store.certificate(tenant, call.call)
    assert_dead(tmp_path, Asked(certificate=certificate), ids_of(call), "backup")


def test_cl_04_a_tenant_that_was_closed(store: Recordings, tenant: TenantId, tmp_path: Path, clock: Clock) -> None:
    """By its name; what a law obliges to keep is told, and a call of another tenant is the control."""
    store.adopt(tenant, profile("cloudtalk"))
    calls = [stored_call(store, tenant) for _ in range(2)]
    source = audio_of(calls[0])[0].ref
    store.add_derived(
        tenant, calls[0].call, [source.artefact], [Derived(source.participant, Kind.RATING, "billing", RATED)]
    )
    other = stored_call(store, store.tenant("another"))
    kept(store, tmp_path)
    closing = store.closings.close(tenant, "contract ended", ACTOR)
    clock.now_s += DAY_S
    store.closings.mark(closing, clock())
    assert store.closings.empty(closing, clock()) is not None
    proof = assert_dead(tmp_path, Asked(tenant="acme"), ids_of(*calls))
    assert proof.control == other.call
    assert proof.excepted == {"records that a law keeps: rating": 1}
    assert probe(tmp_path, Asked(tenant=tenant), "backup").tenant == tenant
    with pytest.raises(NotFound, match="no tenant"):
        probe(tmp_path, Asked(tenant="nobody"), "backup")


@pytest.mark.usefixtures("database")
@pytest.mark.postgresql("one path from end to end of a tenant")
def test_cl_04_a_closed_tenant_of_which_a_hold_keeps_a_call(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    free, held = stored_call(store, tenant), stored_call(store, tenant)
    hold = store.holds.place(tenant, [held.call], "claim of 2026", ACTOR)
    kept(store, tmp_path)
    certificate = erase(store, tenant, Target.of_tenant())
    asked = Asked(erasure=erasure_of(certificate))
    proof = assert_dead(tmp_path, asked, ids_of(free, held))
    assert proof.control == held.call  # what lives on opens by the same code
    assert proof.excepted == {f"artefacts that live on under hold {hold}": 4}
    store.holds.release(tenant, hold, ACTOR)
    after = probe(tmp_path, asked, "backup")
    assert (after.opened, after.excepted, after.control) == ([], {}, None)  # nothing lives


def test_an_erasure_that_nobody_knows_or_another_certificate_proves_nothing(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    call, other = stored_call(store, tenant), stored_call(store, tenant)
    kept(store, tmp_path)
    certificate = erase(store, tenant, Target.of_call(call.call))
    with pytest.raises(NotFound, match="not known"):
        probe(tmp_path, Asked(erasure="0" * 32), "backup")
    certificate["entries"][0]["body"]["target"]["calls"] = [other.call]
    with pytest.raises(NotFound, match="not that of"):
        probe(tmp_path, Asked(certificate=certificate), "backup")


def test_what_still_lives_is_told_of_every_scope(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """A tenant that was never closed: everything of it opens, and the probe says so."""
    calls = [stored_call(store, tenant) for _ in range(2)]
    kept(store, tmp_path)
    proof = probe(tmp_path, Asked(tenant="acme"), "backup")
    assert not proof.holds
    assert {line.split()[1].rstrip(":") for line in proof.opened} == ids_of(*calls)
