"""What was held, restricted or withdrawn after the backup is so after the restore, and a release is one, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.consents import Consent
from storage.erasure import Target
from storage.errors import OnHold
from storage.model import TenantId
from storage.recordings import Recordings
from storage.records import NewCall
from tests.storage.backup.drill import back_up, erase, is_gone, is_whole, lose, restore_at
from tests.storage.stores import ACTOR, GROUND, PURPOSE, open_at, save_call, stored_call

WHY = "order of a court"


def hold(store: Recordings, tenant: TenantId, new: NewCall) -> str:
    """Holds all of a call."""
    return store.holds.place(tenant, [new.call], WHY, ACTOR)


def test_up_14_a_hold_placed_after_the_backup_is_still_a_hold(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        held, free = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, tmp_path)
        hold(store, tenant, held)
        erase(store, save_call(store, tenant))
        store.erasures.erase(tenant, Target.of_purpose(PURPOSE), GROUND, ACTOR)  # only the hold keeps it from here on
        assert (is_whole(store, held), is_gone(store, free)) == (True, True)
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        store.resume_erasures()
        assert (is_whole(store, held), is_gone(store, free)) == (True, True)
        with pytest.raises(OnHold, match=WHY):
            erase(store, held)


def test_up_14_a_release_after_the_backup_is_done_again(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        held = stored_call(store, tenant)
        found = hold(store, tenant, held)
        back_up(store, tmp_path)
        store.erasures.erase(tenant, Target.of_release(found), GROUND, ACTOR)
        erase(store, held)
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        assert is_gone(store, held)
        store.resume_erasures()
        assert is_gone(store, held)


def test_up_14_restrictions_and_withdrawals_are_made_again(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        call, withdrawn = stored_call(store, tenant), stored_call(store, tenant)
        consent = store.consents.record(tenant, withdrawn.call, Consent("training", "version 3"), ACTOR)
        store.erasures.erase(tenant, Target.of_purpose(PURPOSE, [withdrawn.call]), GROUND, ACTOR)
        back_up(store, tmp_path)
        store.restrictions.place(tenant, call.call, "Art. 18(1)", ACTOR)
        store.consents.withdraw(tenant, withdrawn.call, consent, how="by letter", actor=ACTOR)
        later = store.consents.record(tenant, call.call, Consent("training", "version 3"), ACTOR)
        store.safekeeping.tell_witness()
        assert is_gone(store, withdrawn)
    lose(tmp_path)
    restore_at(tmp_path)
    with open_at(tmp_path) as store:
        assert is_gone(store, withdrawn)
        assert store.call(tenant, call.call).restricted
        (found,) = store.consents.of_call(tenant, withdrawn.call)
        assert (found.id, found.erasure is not None) == (consent, True)
        assert found.withdrawn is not None
        assert found.withdrawn["how"] == "by letter"
        (given,) = store.consents.of_call(tenant, call.call)
        assert given.id == later
        assert given.given is not None
        assert given.given["text"] == "version 3"
        store.restrictions.lift(tenant, call.call, ACTOR)
        assert is_whole(store, call)
