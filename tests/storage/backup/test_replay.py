"""What happened after a backup happens again when it is restored: erasures of every scope, policies, places."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import storage
from storage.backup.replay import KNOWN
from storage.closings import State
from storage.erasure import Target
from storage.erasure.targets import Drop
from storage.errors import Erased, Refused
from storage.model import Kind, Root, TenantId
from storage.policies import policy_of
from storage.policy.library import profile
from storage.recordings import Recordings
from storage.records import Day, NewCall
from storage.tokens import Role
from tests.storage.backup.drill import back_up, is_gone, is_whole, lose, restore_at
from tests.storage.stores import ACTOR, GROUND, PURPOSE, audio_of, catalogue_at, open_at, stored_call


def _opens(store: Recordings, new: NewCall) -> set[str]:
    """The artefacts of a call that open."""
    found: set[str] = set()
    for artefact in new.artefacts:
        use = store.stream if artefact.ref.kind is Kind.AUDIO else store.document
        try:
            opened = use(new.tenant, artefact.ref.artefact)
        except Erased:
            continue
        if not isinstance(opened, bytes):
            opened.close()
        found.add(artefact.ref.artefact)
    return found


def _of_day(store: Recordings, new: NewCall) -> Target:
    day = Day(store.call(new.tenant, new.call).day)
    return Target.of_expiry([Drop(Root.CONTENT, Kind.AUDIO, PURPOSE, day)])


_TARGETS: dict[str, Callable[[Recordings, NewCall], Target]] = {
    "artefact": lambda _store, new: Target.of_artefacts(new.call, [audio_of(new)[0].ref.artefact]),
    "participant": lambda _store, new: Target.of_participant(new.call, audio_of(new)[0].ref.participant),
    "person": lambda _store, new: Target.of_person([new.call]),
    "purpose of a call": lambda _store, new: Target.of_purpose(PURPOSE, [new.call]),
    "purpose": lambda _store, _new: Target.of_purpose(PURPOSE),
    "expiry": _of_day,
    "tenant": lambda _store, _new: Target.of_tenant(),
}


@pytest.mark.parametrize("scope", _TARGETS)
def test_up_14_an_erasure_of_any_scope_is_done_again(tmp_path: Path, scope: str) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new, neighbour = stored_call(store, tenant), stored_call(store, tenant)
        other = stored_call(store, store.tenant("another"))
        back_up(store, tmp_path)
        certificate = store.erasures.erase(tenant, _TARGETS[scope](store, new), GROUND, ACTOR)
        left = [_opens(store, call) for call in (new, neighbour, other)]
        assert len(left[0]) < 4
    lose(tmp_path)
    restore_at(tmp_path)
    erasure = certificate["entries"][0]["body"]["erasure"]
    with open_at(tmp_path) as store:
        assert [_opens(store, call) for call in (new, neighbour, other)] == left
        store.resume_erasures()
        assert [_opens(store, call) for call in (new, neighbour, other)] == left
        assert store.erasures.certificate(tenant, erasure) == certificate
        assert is_whole(store, other)
        assert is_whole(store, stored_call(store, tenant))


def test_a_lowered_policy_is_lowered_again(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = stored_call(store, tenant)
        back_up(store, tmp_path)
        _adopt(store, tenant, "upcall")
        ends = _ends(tmp_path)
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        assert is_whole(store, new)
    catalogue = catalogue_at(tmp_path)
    with catalogue.reading() as connection:
        assert policy_of(connection, tenant).name == profile("upcall").name
    catalogue.close()
    assert _ends(tmp_path) == ends


def _adopt(store: Recordings, tenant: TenantId, name: str) -> None:
    from storage.policies import adopt

    with store._catalogue.writing() as connection:
        assert adopt(connection, store._ledger, tenant, profile(name), 1_700_000_000.0).changed
    assert store.safekeeping.tell_witness()


def _ends(root: Path) -> Sequence[tuple[str, int | None]]:
    from sqlalchemy import select

    from storage.tables import buckets

    catalogue = catalogue_at(root)
    try:
        with catalogue.reading() as connection:
            rows = connection.execute(select(buckets.c.id, buckets.c.due).order_by(buckets.c.id)).all()
        return [(row.id, row.due) for row in rows]
    finally:
        catalogue.close()


def test_every_type_of_entry_that_is_written_can_be_done_again() -> None:
    """Whoever adds a type to the ledger adds how a restore does it again, or that there is nothing to do."""
    written = set()
    for path in Path(storage.__file__).parent.rglob("*.py"):
        text = path.read_text()
        written |= set(re.findall(r'(?:ledger|ours)\.append\(\s*connection,\s*"(\w+)"', text))
        if re.search(r"ledger\.append\(\s*connection,\s*ENTRY", text):
            written |= set(re.findall(r'^ENTRY = "(\w+)"', text, re.MULTILINE))
    assert written >= {"intent", "keys", "done", "swept", "backup", "restored", "policy"}
    assert written <= KNOWN


def test_gone_is_gone_after_the_tenant_was_closed(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        calls = [stored_call(store, tenant) for _ in range(2)]
        back_up(store, tmp_path)
        store.erasures.erase(tenant, Target.of_tenant(), GROUND, ACTOR)
    lose(tmp_path)
    assert restore_at(tmp_path).calls_whole == 0
    with open_at(tmp_path) as store:
        assert all(is_gone(store, new) for new in calls)


def test_a_tenant_that_left_after_the_backup_has_left(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        gone, stays, back = (store.tenant(name) for name in ("gone", "stays", "back"))
        for tenant, name in ((gone, "cloudtalk"), (stays, "circleloop"), (back, "circleloop")):
            store.adopt(tenant, profile(name))
        calls = [stored_call(store, tenant) for tenant in (gone, stays, back)]
        token = store.tokens.create(gone, Role.OFFICER, "A. Jansen")
        back_up(store, tmp_path)
        closings = [store.closings.close(tenant, GROUND, ACTOR) for tenant in (gone, stays, back)]
        store.closings.reopen(back, GROUND, ACTOR)
        verdict = store.timekeeper.look()
        assert verdict.drop_until_s is not None
        assert store.closings.empty(closings[0], verdict.drop_until_s) is not None
        emptied = store.closings.of(gone)
        assert emptied is not None and store.closings.forget(emptied, verdict.drop_until_s)
        store.safekeeping.tell_witness()
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        found = [store.closings.of(tenant) for tenant in (gone, stays, back)]
        assert found == [replace(emptied, state=State.OVER), closings[1], None]
        assert [bool(_opens(store, call)) for call in calls] == [False, True, True]
        assert store.tokens.lookup(token) is None and store.tenant("gone") != gone
        with pytest.raises(Refused, match="closed"):
            stored_call(store, stays)
        assert is_whole(store, stored_call(store, back))
