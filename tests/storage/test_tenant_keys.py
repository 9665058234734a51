"""A tenant's own key provider: its keys are there and nowhere else, and what befalls it befalls that tenant alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.errors import Erased, Unavailable, WrongProvider
from storage.model import NO_PARTICIPANT, CallId, Kind, TenantId, new_id
from storage.probe import Today, prove
from storage.providers import open_provider
from storage.rating import BILLING
from storage.recordings import Recordings
from storage.records import Wanted
from tests.storage.keyservers import OpenBao
from tests.storage.stores import ACTOR, GROUND, PURPOSE, audio_of, begin_call, copy_data, save_call, stored_call

DAY_S = 86_400.0


@pytest.fixture
def bao(openbao: OpenBao) -> str:
    """The URL of a tenant's own engine."""
    return f"{openbao.url(openbao.mount())}&finality=14d&region=NL"


@contextmanager
def opened(
    root: Path, keys: Mapping[str, str], clock: Callable[[], float] = time.time, data: str = "data"
) -> Iterator[Recordings]:
    folder = root / data
    where = (folder, f"file:{root}/keys?finality=1d", f"file:{folder}/objects")
    with Recordings.open(*where, node="n1", tenant_keys=keys, clock=clock) as store:
        yield store


def plays(store: Recordings, tenant: TenantId, artefact: str) -> list[bytes]:
    with store.stream(tenant, artefact) as stream:  # type: ignore[arg-type]  # an id that we were given
        return list(stream.read())


def test_a_tenants_keys_are_at_its_own_provider_alone(tmp_path: Path, bao: str) -> None:
    with opened(tmp_path, {"own": bao}) as store:
        own, other = store.tenant("own"), store.tenant("other")
        mine, theirs = stored_call(store, own), stored_call(store, other)
        assert open_provider(bao, tmp_path).exists(f"{own}-content-0")
        assert sorted(path.name for path in (tmp_path / "keys").glob("*.key")) == [
            *([f"{other}-content-0.key", "installation.key"]),
        ]
        for new in (mine, theirs):
            assert plays(store, new.tenant, audio_of(new)[0].ref.artefact) == [b"audio"] * 3
        found = {}
        for new in (mine, theirs):
            done = store.erase_call(new.tenant, new.call, ground=GROUND, actor=ACTOR)["entries"][1]["body"]
            found[new.tenant] = (done["finality"], done["keys"][0]["answer"].partition(":")[0])
        assert found == {own: ("14d", "openbao"), other: ("1d", "file")}


def test_up_15_one_tenants_provider_is_away_and_the_others_go_on(tmp_path: Path, bao: str, openbao: OpenBao) -> None:
    with opened(tmp_path, {"own": bao}) as store:
        own, other = store.tenant("own"), store.tenant("other")
        mine, theirs = stored_call(store, own), stored_call(store, other)
        store.prepare(own, [PURPOSE])
        store.prepare(other, [PURPOSE])
        with openbao.away():
            with pytest.raises(Unavailable):
                store.prepare(own, [PURPOSE])
            with pytest.raises(Unavailable):
                store.erase_call(own, mine.call, ground=GROUND, actor=ACTOR)
            save_call(store, own)  # under what was prepared
            store.check()
            troubles = store.own_providers()
            assert isinstance(troubles[own], Unavailable)
            assert store.key_operations()["unwrap"].failed > 0
            # The other tenant: prepared, recorded, read, erased.
            store.prepare(other, [PURPOSE])
            further = stored_call(store, other)
            assert plays(store, other, audio_of(further)[0].ref.artefact) == [b"audio"] * 3
            assert store.erase_call(other, theirs.call, ground=GROUND, actor=ACTOR)
            with opened(tmp_path, {"own": bao}) as again:  # a process that begins meanwhile
                assert plays(again, other, audio_of(further)[0].ref.artefact) == [b"audio"] * 3
                with pytest.raises(Unavailable):
                    again.prepare(own, [PURPOSE])
        assert store.own_providers() == {own: None}
        store.prepare(own, [PURPOSE])
        assert store.resume_erasures() == 1
        assert store.certificate(own, mine.call)["entries"][1]["body"]["finality"] == "14d"


def test_a_process_that_was_not_told_of_a_tenants_provider_takes_nothing_for_erased(
    tmp_path: Path, bao: str, openbao: OpenBao
) -> None:
    with opened(tmp_path, {"own": bao}) as store:
        own = store.tenant("own")
        new = stored_call(store, own)
    changed = openbao.url(openbao.mount())
    with opened(tmp_path, {}) as untold:
        with pytest.raises(WrongProvider):
            plays(untold, own, audio_of(new)[0].ref.artefact)
        with pytest.raises(WrongProvider):
            untold.erase_call(own, new.call, ground=GROUND, actor=ACTOR)
        with pytest.raises(WrongProvider):
            untold.prepare(own, [PURPOSE])
    with opened(tmp_path, {"own": changed}) as moved:
        with pytest.raises(WrongProvider):
            moved.prepare(own, [PURPOSE])
        assert moved.resume_erasures() == 0
        assert not open_provider(changed, tmp_path).exists(f"{own}-content-0"), "no new keys are made silently"
    with opened(tmp_path, {"own": bao}) as store:
        assert store.resume_erasures() == 1
        with pytest.raises(Erased):
            plays(store, own, audio_of(new)[0].ref.artefact)


def test_a_tenant_that_has_keys_cannot_be_given_another_provider(tmp_path: Path, bao: str) -> None:
    with opened(tmp_path, {}) as store:
        tenant = store.tenant("acme")
        new = stored_call(store, tenant)
    with opened(tmp_path, {"acme": bao}) as store, pytest.raises(WrongProvider):
        store.prepare(tenant, [PURPOSE])
    with opened(tmp_path, {"acme": bao}) as store, pytest.raises(WrongProvider):
        plays(store, tenant, audio_of(new)[0].ref.artefact)
    with opened(tmp_path, {}) as store:
        assert plays(store, tenant, audio_of(new)[0].ref.artefact) == [b"audio"] * 3


def test_a_backup_from_before_does_not_open_with_the_tenants_own_provider(tmp_path: Path, bao: str) -> None:
    with opened(tmp_path, {"own": bao}) as store:
        own = store.tenant("own")
        new = stored_call(store, own)
        backup = copy_data(tmp_path, "backup")
        store.erase_call(own, new.call, ground=GROUND, actor=ACTOR)
        kept = stored_call(store, own)
        later = copy_data(tmp_path, "later")
    data, witness = tmp_path / "data", f"file:{tmp_path}/data-witness"
    today = Today(data, f"file:{tmp_path}/keys", f"file:{data}/objects", witness, "", (bao,))
    proof = prove(new.call, [backup, later], today)
    assert (proof.opened, proof.control, proof.holds) == ([], kept.call, True)


def test_prepared_keys_last_for_two_days_and_no_longer_without_the_provider(
    tmp_path: Path, bao: str, openbao: OpenBao
) -> None:
    """On a clock that runs ahead: who closes its key service to us stops new recordings by the third day."""
    ahead_s = 0.0
    with opened(tmp_path, {"own": bao}, lambda: time.time() + ahead_s) as store:
        own, other = store.tenant("own"), store.tenant("other")
        assert not store.ready(own)
        for tenant in (own, other):
            store.prepare(tenant, [PURPOSE, BILLING])
        with openbao.away():
            for days in (0, 1, 2):
                ahead_s = days * DAY_S
                assert store.ready(own)
                save_call(store, own)
                detail = [Wanted(NO_PARTICIPANT, Kind.RATING, BILLING)]  # of another root, prepared as well
                store.save([store.begin(own, CallId(new_id()), detail)])
            ahead_s = 4 * DAY_S
            assert not store.ready(own)
            with pytest.raises(Unavailable):
                store.save([begin_call(store, own)])
            save_call(store, other)
        store.prepare(own, [PURPOSE])
        assert store.ready(own)
        save_call(store, own)
