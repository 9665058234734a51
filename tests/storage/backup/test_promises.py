"""What was taken away after a backup stays away when it is restored, and what was promised stays promised."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from storage.backup.snapshot import reading_file
from storage.catalogue import Catalogue
from storage.consents import Consent
from storage.egress import Leaving
from storage.erasure import Target
from storage.errors import Erased, NotFound, Tampered
from storage.model import CallId, Kind
from storage.policy.library import profile
from storage.recordings import Recordings
from storage.records import Derived, NewCall
from storage.statistics import Counted
from storage.tables import epochs, policies, unwitnessed
from storage.tokens import Role
from tests.storage.backup.drill import back_up, erase, is_gone, is_whole, lose, restore_at
from tests.storage.stores import ACTOR, GROUND, PURPOSE, audio_of, catalogue_at, open_at, save_call, stored_call
from tests.storage.test_witness import away

TO = {"to": "Stichting Voorbeeld", "ground": "Art. 15(3)"}
CONSENT = Consent("training", "version 3", how="asked by phone")


def leave(store: Recordings, new: NewCall) -> CallId:
    """A copy of a call's audio leaves; the id of its record."""
    (copy,) = store.egress.record(new.tenant, [Leaving(new.call, [audio_of(new)[0].ref.artefact])], TO)
    return copy


def waiting(store: Recordings) -> int:
    """How much the witness has to get yet."""
    with store._catalogue.reading() as connection:
        return connection.scalar(select(func.count()).select_from(unwitnessed)) or 0


def edited(root: Path, act: Callable[[Catalogue], None]) -> None:
    """Somebody works on the database by hand while no server runs."""
    catalogue = catalogue_at(root)
    act(catalogue)
    catalogue.close()


# What was taken away.


def test_revoked_token_stays_revoked_after_restore(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        revoked, stays = (store.tokens.create(tenant, Role.OFFICER, "A. Jansen") for _ in range(2))
        back_up(store, tmp_path)
        bearer = store.tokens.lookup(revoked)
        assert bearer is not None
        store.tokens.revoke(tenant, bearer.token)
        secret = revoked.rpartition("_")[2].encode()
    witnessed = b"".join(path.read_bytes() for path in (tmp_path / "data-witness").rglob("*") if path.is_file())
    assert bearer.token.encode() in witnessed
    assert secret not in witnessed
    lose(tmp_path)
    restored = restore_at(tmp_path)
    assert restored.done_again["revocation"] == 1
    with open_at(tmp_path) as store:
        assert store.tokens.lookup(revoked) is None
        assert store.tokens.lookup(stays) is not None


def test_a_revocation_that_the_witness_missed_goes_there_with_the_next_look(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        token = store.tokens.create(tenant, Role.OFFICER, "")
        back_up(store, tmp_path)
        bearer = store.tokens.lookup(token)
        assert bearer is not None
        with away(tmp_path):
            store.tokens.revoke(tenant, bearer.token)  # people are not kept from revoking
        assert store.safekeeping.tell_witness()
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        assert store.tokens.lookup(token) is None


# What was promised.


def test_a_certificate_after_a_restore_still_names_the_copy_that_left(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = stored_call(store, tenant)
        back_up(store, tmp_path)
        copy = leave(store, new)
    lose(tmp_path)
    restored = restore_at(tmp_path)
    assert (restored.put_back["egress"], restored.calls_whole) == (1, 1)  # a dossier is no call
    with open_at(tmp_path) as store:
        assert store.egress.read(tenant, copy)["to"] == TO["to"]
        erase(store, new)
        certificate = store.certificate(tenant, new.call)
        assert f"1 copies on record as having left: {copy}" in certificate["entries"][1]["body"]["exceptions"]
        assert store.egress.notice(tenant, copy)["calls"] == {new.call: [audio_of(new)[0].ref.artefact]}
        store.egress.told(tenant, copy, ACTOR)
        assert store.egress.waiting(tenant) == []


def test_a_copy_is_in_the_witness_before_its_record_is_given(tmp_path: Path) -> None:
    """So before the first byte leaves: nothing else of this process runs until the restore."""
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = stored_call(store, tenant)
        back_up(store, tmp_path)
        copy = leave(store, new)
        assert waiting(store) == 0
        (tmp_path / "data-witness").rename(tmp_path / "seen")
    lose(tmp_path)
    restore_at(tmp_path, witness="seen")
    (tmp_path / "seen").rename(tmp_path / "data-witness")
    with open_at(tmp_path) as store:
        assert store.egress.read(tenant, copy)


def test_a_copy_leaves_while_the_witness_is_away_and_is_put_there_once_it_is_back(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = stored_call(store, tenant)
        back_up(store, tmp_path)
        with away(tmp_path):
            copies = [leave(store, new) for _ in range(2)]
            store.egress._dossiers.amend(tenant, copies[0], Kind.EGRESS, lambda body: body)
            assert waiting(store) == 2
            assert not store.safekeeping.tell_witness()
        assert store.safekeeping.tell_witness()
        assert waiting(store) == 0
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        assert [store.egress.read(tenant, copy)["to"] for copy in copies] == [TO["to"]] * 2


def test_a_request_and_its_deadline_survive_as_they_were_amended_last(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        older = store.dossiers.open(tenant, Kind.REQUEST, b'{"due": "2026-12-24"}')
        back_up(store, tmp_path)
        newer = store.dossiers.open(tenant, Kind.REQUEST, b'{"due": "2026-12-27"}')
        for dossier in (older, newer):
            store.dossiers.amend(tenant, dossier, Kind.REQUEST, lambda body: body.replace(b"2026-12", b"2027-01"))
        order = store.dossiers.open(tenant, Kind.DISCLOSURE, b"order")
        erase(store, save_call(store, tenant))
        store.erasures.rotate(tenant)  # keys of the statutory root, too
        store.dossiers.amend(tenant, newer, Kind.REQUEST, lambda body: body + b" ")
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        store.resume_erasures()
        assert store.dossiers.read(tenant, older, Kind.REQUEST) == b'{"due": "2027-01-24"}'
        assert store.dossiers.read(tenant, newer, Kind.REQUEST) == b'{"due": "2027-01-27"} '
        assert store.dossiers.read(tenant, order, Kind.DISCLOSURE) == b"order"
        assert [found.id for found in store.dossiers.list(tenant, Kind.REQUEST)] == [newer, older]
        store.erasures.rotate(tenant)
        assert store.dossiers.read(tenant, order, Kind.DISCLOSURE) == b"order"


def test_an_annotation_survives_and_dies_with_its_call(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        right, erased = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, tmp_path)
        lost = stored_call(store, tenant)
        notes = []
        for call in (right, erased, lost):
            who = audio_of(call)[0].ref.participant
            (made,) = store.add_derived(tenant, call.call, (), [Derived(who, Kind.ANNOTATION, PURPOSE, b"wrong")])
            store.amend(tenant, made, lambda body: body + b", it was Tuesday")
            notes.append(made)
        erase(store, erased)
    lose(tmp_path)
    restored = restore_at(tmp_path)
    assert restored.artefacts_lost >= 1  # that of a call that no backup has
    with open_at(tmp_path) as store:
        store.resume_erasures()
        assert store.document(tenant, notes[0]) == b"wrong, it was Tuesday"
        assert is_whole(store, right)
        assert is_gone(store, erased)
        with pytest.raises(Erased):
            store.document(tenant, notes[1])
        with pytest.raises(NotFound):
            store.document(tenant, notes[2])


def test_consent_given_after_the_backup_still_stands_and_its_withdrawal_shreds(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        call, other = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, tmp_path)
        consent = store.consents.record(tenant, call.call, CONSENT, ACTOR)
        store.erasures.erase(tenant, Target.of_purpose(PURPOSE), GROUND, ACTOR)  # only the consent keeps it now
        assert (is_whole(store, call), is_gone(store, other)) == (True, True)
    lose(tmp_path)
    restored = restore_at(tmp_path)
    assert restored.completed == 0
    with open_at(tmp_path) as store:
        store.resume_erasures()
        assert (is_whole(store, call), is_gone(store, other)) == (True, True)
        (found,) = store.consents.of_call(tenant, call.call)
        assert found.given is not None
        assert (found.given["text"], found.given["how"]) == ("version 3", "asked by phone")
        store.consents.withdraw(tenant, call.call, consent, how="by letter", actor=ACTOR)
        assert is_gone(store, call)
        (found,) = store.consents.of_call(tenant, call.call)
        assert found.withdrawn is not None


def test_what_was_published_is_not_published_again(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        back_up(store, tmp_path)
        store.statistics.publish(tenant, "2026-03-01", Counted(10, 20, {"ended": {"answered": 20}}))
    lose(tmp_path)
    assert restore_at(tmp_path).put_back["statistics"] == 1
    with open_at(tmp_path) as store:
        assert store.statistics.periods(tenant) == ["2026-03-01"]
        assert store.statistics.read(tenant, ["2026-03-01"])["2026-03-01"].calls == 20


def test_a_tenant_that_came_after_the_backup_has_its_requests_and_its_policy(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        back_up(store, tmp_path)
        tenant = store.tenant("newcomer")
        store.adopt(tenant, profile("upcall"))
        store.residency.settle(tenant, ["EEA"], ())
        dossier = store.dossiers.open(tenant, Kind.REQUEST, b"when?")
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        assert store.tenant("newcomer") == tenant
        assert store.dossiers.read(tenant, dossier, Kind.REQUEST) == b"when?"
        assert store.policy(tenant).name == profile("upcall").name
        assert store.residency.rules(tenant) == ("EEA",)
        assert is_whole(store, stored_call(store, tenant))


# The witness was away, and a crash came before it had everything.


def ledger_only(store: Recordings) -> None:
    """The witness gets the ledger, and the machine is lost before it gets the batches."""
    source = store.safekeeping._source
    source.witness.copies.publish(source.catalogue)


def test_holds_and_consents_are_complete_after_a_witness_outage(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        held, given, free = (stored_call(store, tenant) for _ in range(3))
        back_up(store, tmp_path)
        with away(tmp_path):
            store.holds.place(tenant, [held.call], "a claim", ACTOR)
            store.consents.record(tenant, given.call, CONSENT, ACTOR)
        ledger_only(store)
    lose(tmp_path)
    assert restore_at(tmp_path).completed == 2
    with open_at(tmp_path) as store:
        assert waiting(store) == 0  # what was wrapped anew is in the witness
        store.erasures.erase(tenant, Target.of_purpose(PURPOSE), GROUND, ACTOR)
        assert [is_whole(store, call) for call in (held, given, free)] == [True, True, False]
        (found,) = store.consents.of_call(tenant, given.call)
        assert found.given is None  # its evidence was nowhere else
    lose(tmp_path)
    assert restore_at(tmp_path).completed == 0
    with open_at(tmp_path) as store:
        assert [is_whole(store, call) for call in (held, given, free)] == [True, True, False]


def test_no_key_is_destroyed_before_the_witness_has_what_a_hold_placed(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        held = stored_call(store, tenant)
        back_up(store, tmp_path)
        with away(tmp_path):
            store.holds.place(tenant, [held.call], "a claim", ACTOR)
        assert waiting(store) == 1
        store.erasures.erase(tenant, Target.of_purpose(PURPOSE), GROUND, ACTOR)
        assert waiting(store) == 0
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        assert is_whole(store, held)


def test_a_record_that_was_erased_before_the_witness_got_it_does_not_go_there(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        call = stored_call(store, tenant)
        who = audio_of(call)[0].ref.participant
        with away(tmp_path):
            store.add_derived(tenant, call.call, (), [Derived(who, Kind.ANNOTATION, PURPOSE, b"wrong")])
        store.erasures.request(tenant, Target.of_call(call.call), GROUND, ACTOR)
        assert store.safekeeping.tell_witness()
        assert waiting(store) == 0
    assert not list((tmp_path / "data-witness" / "keys").rglob("*"))


# What is damaged or deleted in the database by hand.


def test_a_policy_row_that_was_deleted_is_told_and_put_back_from_the_ledger(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        store.adopt(tenant, profile("upcall"))
        assert store.mend_policies() == 0
        with store._catalogue.writing() as connection:
            connection.execute(delete(policies))
        found = store.reconcile(lambda _state, _detail: "")
        assert [name for _, names in found.findings.items() for name in names] == [tenant]
        assert store.mend_policies() == 1
        assert store.policy(tenant).name == profile("upcall").name
        assert store.mend_policies() == 0


def test_a_damaged_epoch_secret_says_what_mends_it_and_that_does(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        call = stored_call(store, tenant)
        folder = back_up(store, tmp_path)
    which = (epochs.c.tenant == tenant, epochs.c.root == "content", epochs.c.n == 0)

    def damage(catalogue: Catalogue) -> None:
        with catalogue.writing() as connection:
            connection.execute(epochs.update().where(*which).values(wrapped=bytes(60)))

    edited(tmp_path, damage)
    with open_at(tmp_path) as store, pytest.raises(Tampered, match=rf"tenant {tenant}, root content, n 0.*backup"):
        is_whole(store, call)

    def mend(catalogue: Catalogue) -> None:
        with reading_file(folder / "catalogue.sqlite3") as backup:
            kept = backup.scalar(select(epochs.c.wrapped).where(*which))
        with catalogue.writing() as connection:
            connection.execute(epochs.update().where(*which).values(wrapped=kept))

    edited(tmp_path, mend)
    with open_at(tmp_path) as store:
        assert is_whole(store, call)


# How much there is.


def test_batches_beside_a_backup_go_with_the_versions_that_need_them(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        oldest = back_up(store, tmp_path)
        store.dossiers.open(tenant, Kind.REQUEST, b"one")
        second = back_up(store, tmp_path)
        store.dossiers.open(tenant, Kind.REQUEST, b"two")
        batches = tmp_path / "backup" / "batches" / "keys"
        assert len(list(batches.rglob("*/*"))) == 1
        shutil.rmtree(oldest)
        taken = store.safekeeping.back_up(tmp_path / "backup")
        assert taken.forgotten_batches == 1
        assert len(list(batches.rglob("*/*"))) == 1
    lose(tmp_path)
    restore_at(tmp_path, second)
    with open_at(tmp_path) as store:
        bodies = [
            store.dossiers.read(tenant, found.id, Kind.REQUEST) for found in store.dossiers.list(tenant, Kind.REQUEST)
        ]
        assert bodies == [b"two", b"one"]
