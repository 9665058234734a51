"""Why something is kept, until when, by which rule; and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from storage.erasure import Target
from storage.errors import Erased, NotFound
from storage.model import ArtefactState, CallState, Kind, Root, TenantId
from storage.placing import Held, Keeping
from storage.policy.explaining import Because
from storage.policy.library import profile
from storage.policy.overrides import Override, overridden
from storage.policy.term import Term
from storage.recordings import Recordings
from storage.records import NewCall
from storage.retained import Retained
from storage.times import day_of
from tests.storage.ages import Clock, aged, at
from tests.storage.stores import ACTOR, GROUND, audio_of, stored_call

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def clock() -> Clock:
    return Clock(at("2026-03-10T12:00"))


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Recordings]:
    with aged(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def tenant(store: Recordings) -> TenantId:
    found = store.tenant("acme")
    store.adopt(found, overridden(profile("speakup"), [], "Europe/Amsterdam"))
    return found


def keep(store: Recordings, call: NewCall, purpose: str, root: Root = Root.CONTENT) -> None:
    """Keeps the call's audio for something else as well."""
    items = [Keeping(one.ref, one.key, purpose, day_of(store._clock()), root) for one in audio_of(call)]

    def place(connection: Connection, held: Held) -> None:
        store._tree.keep(connection, items, held)

    store._tree.write(items, place)


def kinds(store: Recordings, call: NewCall) -> dict[Kind, Retained]:
    return {one.kind: one for one in store.retained(call.tenant, call.call).artefacts}


@pytest.mark.postgresql("one path from end to end")
def test_sp_07_two_purposes_have_each_their_own_date_and_the_later_one_keeps_it(
    store: Recordings, tenant: TenantId, clock: Clock
) -> None:
    rules = [Override("audio", "training", Term.parse("2 months"))]
    store.adopt(tenant, overridden(profile("speakup"), rules, "Europe/Amsterdam"))
    call = stored_call(store, tenant)
    keep(store, call, "training")
    audio = kinds(store, call)[Kind.AUDIO]
    found = {kept.purpose: kept.explanation for kept in audio.kept}
    assert {purpose: one.until_s for purpose, one in found.items()} == {
        "recording": at("2026-07-09T23:00"),
        "training": at("2026-05-09T23:00"),
    }
    assert (found["training"].because, found["training"].source) == (Because.OVERRIDE, "tenant")
    assert (found["recording"].because, found["recording"].source) == (Because.PROFILE, "SP-04")
    assert audio.until_s == at("2026-07-09T23:00")
    assert kinds(store, call)[Kind.CALL_DETAIL].until_s == at("2026-06-09T23:00")
    clock.to("2026-05-10T12:00")
    assert store.expiry.run(store.timekeeper.look()) == 1
    (left,) = kinds(store, call)[Kind.AUDIO].kept
    assert left.purpose == "recording"
    with store.stream(tenant, audio.artefact) as stream:
        assert list(stream.read()) == [b"audio"] * 3
    clock.to("2026-07-10T12:00")
    store.expiry.run(store.timekeeper.look())
    with pytest.raises(Erased):
        store.stream(tenant, audio.artefact)
    gone = store.retained(tenant, call.call)
    assert gone.state is CallState.ERASED and {one.scope for one in gone.erasures} == {"expiry"}


def test_a_held_one_is_kept_without_an_end_and_the_ground_is_told(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    held = store.holds.place(tenant, [call.call], "claim before the court", ACTOR)
    audio = kinds(store, call)[Kind.AUDIO]
    (kept,) = audio.kept
    assert [(one.id, one.ground) for one in audio.holds] == [(held, "claim before the court")]
    assert audio.until_s is None and kept.explanation.because is Because.HOLD
    assert kept.explanation.rule_until_s == at("2026-07-09T23:00")
    assert [one.id for one in kinds(store, call)[Kind.IDENTITY].holds] == [held]


def test_up_02_a_lowered_term_is_told_and_a_raised_one_leaves_the_earlier_promise(
    store: Recordings, tenant: TenantId
) -> None:
    policy = profile("speakup")
    call = stored_call(store, tenant)
    short = overridden(policy, [Override("*", "*", Term.parse("1 month"))], "Europe/Amsterdam")
    store.adopt(tenant, short)
    assert kinds(store, call)[Kind.AUDIO].until_s == at("2026-04-09T23:00")
    assert kinds(store, call)[Kind.AUDIO].kept[0].explanation.because is Because.OVERRIDE
    store.adopt(tenant, overridden(policy, [], "Europe/Amsterdam"))
    assert kinds(store, call)[Kind.AUDIO].until_s == at("2026-04-09T23:00")
    assert kinds(store, call)[Kind.AUDIO].kept[0].explanation.because is Because.EARLIER


def test_of_what_was_erased_it_is_told_when_and_by_which_erasure(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    (first, second) = audio_of(call)
    store.erasures.erase(tenant, Target.of_participant(call.call, first.ref.participant), GROUND, ACTOR)
    found = store.retained(tenant, call.call)
    (erasure,) = found.erasures
    assert (erasure.scope, erasure.at) == ("participant", "2026-03-10T12:00:00Z")
    left = [one.artefact for one in found.artefacts if one.gone is None]
    assert left == [second.ref.artefact]
    store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
    assert [one.scope for one in store.retained(tenant, call.call).erasures] == ["participant", "call"]


def test_what_is_due_and_not_destroyed_yet_is_neither_kept_longer_nor_gone(
    store: Recordings, tenant: TenantId, clock: Clock
) -> None:
    call = stored_call(store, tenant)
    clock.to("2026-07-09T23:00")
    audio = kinds(store, call)[Kind.AUDIO]
    assert audio.until_s == clock.now_s and audio.gone is None and audio.state is ArtefactState.COMPLETE


def test_another_tenants_call_is_not_found(store: Recordings, tenant: TenantId) -> None:
    call = stored_call(store, tenant)
    with pytest.raises(NotFound):
        store.retained(store.tenant("other"), call.call)
