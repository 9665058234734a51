"""A witness in a bucket with versions and object lock: records go there, and what the lock keeps stays."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from minio.commonconfig import COMPLIANCE
from minio.objectlockconfig import DAYS, ObjectLockConfig

from storage.backup import take as taking
from storage.backup.restore import Place, restore
from storage.model import Kind, new_id
from storage.recordings import Recordings
from storage.tokens import Role
from tests.storage.backup.drill import back_up, lose
from tests.storage.servers import moto


def test_a_locked_witness_keeps_what_was_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, keys = tmp_path / "data", f"file:{tmp_path}/keys"
    with moto(tmp_path / "moto") as server:
        bucket = new_id()
        server.client.make_bucket(bucket, object_lock=True)
        server.client.set_object_lock_config(bucket, ObjectLockConfig(COMPLIANCE, 3, DAYS))
        witness = server.url(bucket)

        def opened() -> Recordings:
            return Recordings.open(data, keys, f"file:{data}/objects", node="n1", witness=witness)

        with opened() as store:
            tenant = store.tenant("acme")
            token = store.tokens.create(tenant, Role.OFFICER, "")
            back_up(store, tmp_path)
            request = store.dossiers.open(tenant, Kind.REQUEST, b"due")
            store.dossiers.amend(tenant, request, Kind.REQUEST, lambda body: body + b" soon")
            store.dossiers.amend(tenant, request, Kind.REQUEST, lambda body: body + b", really")
            store.tokens.revoke(tenant, token[3:35])
        lose(tmp_path)
        restored = restore(tmp_path / "backup", Place(data, keys, f"file:{data}/objects", witness, "", {}, time.time))
        assert (restored.done_again["keys"], restored.done_again["revocation"]) == (3, 1)
        with opened() as store:
            assert store.dossiers.read(tenant, request, Kind.REQUEST) == b"due soon, really"
            assert store.tokens.lookup(token) is None
            monkeypatch.setattr(taking, "BATCHES_KEPT", -taking.BATCHES_KEPT)  # all of them are old
            assert store.safekeeping.back_up(tmp_path / "backup").pruned == 3
            versions = list(server.client.list_objects(bucket, prefix="keys/", recursive=True, include_version=True))
            assert len([found for found in versions if not found.is_delete_marker]) == 3  # the lock keeps them
