"""A hold that was placed after the backup is still a hold after the restore, and its release is one, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection

from storage.erasure import Target
from storage.errors import OnHold
from storage.model import Root, TenantId, new_id
from storage.placing import Held, Keeping
from storage.recordings import Recordings
from storage.records import Day, NewCall
from storage.tables import holds
from tests.storage.backup.drill import back_up, erase, is_gone, is_whole, lose, restore_at
from tests.storage.stores import ACTOR, GROUND, PURPOSE, open_at, save_call, stored_call

WHY = "order of a court"


def hold(store: Recordings, tenant: TenantId, new: NewCall) -> str:
    """Holds all of a call, as whoever places holds does: rows and entry, then the witness."""
    found = new_id()
    day = Day(store.call(tenant, new.call).day)
    items = [Keeping(artefact.ref, artefact.key, found, day, Root.HOLD) for artefact in new.artefacts]
    tree, ledger = store._tree, store._ledger

    def keep(connection: Connection, epochs: Held) -> None:
        assert tree.keep(connection, items, epochs) == len(items)

    tree.write(items, keep)
    with store._catalogue.writing() as connection:
        connection.execute(holds.insert(), {"id": found, "tenant": tenant, "ground": WHY, "released": False})
        ledger.append(connection, "hold", 1_700_000_000.0, {"hold": found, "tenant": tenant, "ground": WHY})
    store.safekeeping.keep_hold(tenant, found)
    return found


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
