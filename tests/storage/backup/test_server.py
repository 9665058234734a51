"""A store whose catalogue is on a server is backed up into a file, and restored to a server or to a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.consents import Consent
from storage.errors import Refused
from storage.model import Kind
from storage.probe import Today, prove
from storage.recordings import Recordings
from storage.tokens import Role
from tests.storage.backup.drill import back_up, erase, is_gone, is_whole, lose, restore_at
from tests.storage.postgres import Cluster, needs_postgres
from tests.storage.stores import ACTOR, catalogue_url, open_at, put_catalogue, stored_call

pytestmark = needs_postgres


def test_up_14_a_catalogue_on_a_server_comes_back_without_the_erased(tmp_path: Path, postgres: Cluster) -> None:
    put_catalogue(tmp_path, postgres)
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        erased, living = stored_call(store, tenant), stored_call(store, tenant)
        back_up(store, tmp_path)
        erase(store, erased)
        token = store.tokens.create(tenant, Role.OFFICER, "")
        back_up(store, tmp_path)
        store.tokens.revoke(tenant, token[3:35])
        request = store.dossiers.open(tenant, Kind.REQUEST, b"due")
        store.dossiers.amend(tenant, request, Kind.REQUEST, lambda body: body + b" soon")
        consent = store.consents.record(tenant, living.call, Consent("training", "version 3"), ACTOR)
        data, keys, witness = tmp_path / "data", f"file:{tmp_path}/keys", f"file:{tmp_path}/data-witness"
        today = Today(data, keys, f"file:{data}/objects", witness, catalogue_url(tmp_path))
        proof = prove(erased.call, [tmp_path / "backup"], today)
        assert (proof.opened, proof.control, proof.holds) == ([], living.call, True)
    lose(tmp_path)
    with pytest.raises(Refused, match="not empty"):
        restore_at(tmp_path, catalogue=today.catalogue_url)
    lose(tmp_path)
    assert restore_at(tmp_path, catalogue="").calls_whole == 1  # into a file
    (tmp_path / "data.catalogue").unlink()
    with open_at(tmp_path) as store:
        assert (is_whole(store, living), is_gone(store, erased)) == (True, True)
        second = stored_call(store, tenant)
        back_up(store, tmp_path)
    lose(tmp_path)
    fresh = postgres.url(postgres.fresh("made"))
    assert restore_at(tmp_path, catalogue=fresh).calls_whole == 2  # and back to a server
    objects = f"file:{data}/objects"
    with Recordings.open(data, keys, objects, node="n1", witness=witness, catalogue_url=fresh) as store:
        store.resume_erasures()
        for call in (living, second, stored_call(store, tenant)):
            assert is_whole(store, call)
        assert is_gone(store, erased)
        assert store.tokens.lookup(token) is None
        assert store.dossiers.read(tenant, request, Kind.REQUEST) == b"due soon"
        assert [found.id for found in store.consents.of_call(tenant, living.call)] == [consent]
        later = store.dossiers.open(tenant, Kind.REQUEST, b"later")  # rows are numbered on after those put back
        assert [found.id for found in store.dossiers.list(tenant, Kind.REQUEST)] == [later, request]
        store.check()
    postgres.drop()
