"""Erasing a call kills it in every copy that was ever made, and nothing else; a crash anywhere only delays it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy import delete, func, select

from storage.epochs import epoch_row, open_secret
from storage.erasure import Eraser, Step, Surroundings, Target
from storage.errors import Erased, NotFound, NotReady, Refused, Unavailable
from storage.installation import open_installation
from storage.keys import PROBE_AAD, provider_key
from storage.ledger import Ledger, verify_certificate
from storage.model import ArtefactId, CallId, CallState, Kind, Root, TenantId, new_id
from storage.providers import KeyProvider, open_provider
from storage.rating import Rating
from storage.recordings import Recordings
from storage.records import Derived, Identifier, NewCall
from storage.signing import Signer
from storage.slices import StreamKey
from storage.tables import artefact_keys
from storage.witness import Witness
from tests.storage.killing import killed_at
from tests.storage.recovering import recover
from tests.storage.stores import (
    ACTOR,
    GROUND,
    audio_of,
    catalogue_at,
    catalogue_url,
    copy_data,
    files_below,
    open_at,
    save_call,
    spool,
    stored_call,
    upload,
)

pytestmark = pytest.mark.usefixtures("database")

NUMBER = Identifier("number", "+31201234567")


def found_by(store: Recordings, tenant: TenantId, identifier: Identifier) -> list[CallId]:
    return [record.id for record in store.find(tenant, [identifier])]


def erase(store: Recordings, new: NewCall) -> dict[str, Any]:
    return store.erase_call(new.tenant, new.call, ground=GROUND, actor=ACTOR)


def assert_opens(store: Recordings, new: NewCall, audio: bytes = b"audio") -> None:
    assert store.document(new.tenant, new.find(Kind.IDENTITY).ref.artefact) == b"identity"
    for artefact in audio_of(new):
        with store.stream(new.tenant, artefact.ref.artefact) as stream:
            assert list(stream.read()) == [audio] * 3


def assert_erased(store: Recordings, new: NewCall) -> None:
    for artefact in new.artefacts:
        for use in (store.document, store.stream):
            with pytest.raises(Erased):
                use(new.tenant, artefact.ref.artefact)
    for refused in (store.manifest, store.resume):
        with pytest.raises(Erased):
            refused(new.tenant, new.call)
    record = store.call(new.tenant, new.call)
    assert (record.state, record.artefacts) == (CallState.ERASED, ())


# What dies and what lives.


@pytest.mark.postgresql("one path from end to end")
def test_an_erased_call_does_not_open_and_its_neighbours_do(store: Recordings, tenant: TenantId) -> None:
    erased, neighbour = stored_call(store, tenant), stored_call(store, tenant)
    other = stored_call(store, store.tenant("another"))
    erase(store, erased)
    assert_erased(store, erased)
    for survivor in (neighbour, other, stored_call(store, tenant)):
        assert_opens(store, survivor)
        assert store.manifest(survivor.tenant, survivor.call)["call"] == survivor.call


def test_calls_survive_many_epochs(store: Recordings, tenant: TenantId) -> None:
    survivor = stored_call(store, tenant)
    for _ in range(3):
        erase(store, save_call(store, tenant))
    assert_opens(store, survivor)


def test_its_objects_are_deleted_orphans_too(store: Recordings, tenant: TenantId) -> None:
    erased, neighbour = stored_call(store, tenant), stored_call(store, tenant)
    store.objects.put(f"{tenant}/{erased.call}/{new_id()}", b"an orphan")
    erase(store, erased)
    assert list(store.objects.list(f"{tenant}/{erased.call}/")) == []
    assert list(store.objects.list(f"{tenant}/{neighbour.call}/")) != []


def test_a_live_call_can_be_erased_and_what_it_still_spools_is_passed_over(store: Recordings, tenant: TenantId) -> None:
    live, neighbour = save_call(store, tenant), save_call(store, tenant)
    spool(store, [(audio_of(live)[0], [b"one"]), (audio_of(neighbour)[0], [b"one"])])
    erase(store, live)
    spool(store, [(audio_of(live)[1], [b"two"])])
    upload(store)
    assert_erased(store, live)
    assert list(store.objects.list(f"{tenant}/{live.call}/")) == []
    with store.stream(tenant, audio_of(neighbour)[0].ref.artefact) as stream:
        assert list(stream.read()) == [b"one"]
    with pytest.raises(Erased):
        store.put_documents(live, {live.find(Kind.IDENTITY).ref.artefact: b"late"}, CallState.ENDED)


def test_nothing_is_derived_from_an_erased_call(store: Recordings, tenant: TenantId) -> None:
    erased = stored_call(store, tenant)
    source = audio_of(erased)[0].ref
    erase(store, erased)
    items = [Derived(source.participant, Kind.TRANSCRIPT, "transcription", b"x" * size) for size in (10, 100_000)]
    with pytest.raises(Erased):
        store.add_derived(tenant, erased.call, [source.artefact], items)
    assert list(store.objects.list(f"{tenant}/{erased.call}/")) == []


def test_its_jobs_are_dropped(store: Recordings, tenant: TenantId) -> None:
    new = save_call(store, tenant)
    store.put_documents(new, {}, CallState.ENDED, ["transcribe"])
    erase(store, new)
    assert store.outbox_pending() == []


def test_a_rating_under_the_statutory_root_outlives_its_call_and_is_named(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    source = audio_of(new)[0].ref
    sealed = Rating(new.day, 60).to_json()
    items = [Derived(source.participant, Kind.RATING, "billing", sealed)]
    (rating,) = store.add_derived(tenant, new.call, [source.artefact], items)
    certificate = erase(store, new)
    assert store.document(tenant, rating) == sealed
    assert "excepted: 1 records kept under the statutory root" in verify_certificate(certificate, store.fingerprint())


# Who may ask, and what is answered.


def test_another_tenants_call_is_not_found(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    for stranger, call in [(store.tenant("another"), new.call), (tenant, CallId(new_id()))]:
        with pytest.raises(NotFound):
            store.erase_call(stranger, call, ground=GROUND, actor=ACTOR)
        with pytest.raises(NotFound):
            store.certificate(stranger, call)
    assert_opens(store, new)


def test_a_ground_that_names_somebody_is_refused_before_anything_happens(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    with pytest.raises(Refused):
        store.erase_call(tenant, new.call, ground="bob@example.org asked", actor=ACTOR)
    assert_opens(store, new)


def test_erasing_again_gives_the_same_certificate(store: Recordings, tenant: TenantId) -> None:
    new = stored_call(store, tenant)
    certificate = erase(store, new)
    assert erase(store, new) == certificate == store.certificate(tenant, new.call)
    assert verify_certificate(certificate, store.fingerprint())
    store.check()


@pytest.mark.postgresql("writers at once")
def test_calls_erased_at_once_are_all_erased(store: Recordings, tenant: TenantId) -> None:
    survivor = stored_call(store, tenant)
    doomed = [save_call(store, tenant) for _ in range(4)]
    certificates: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda new=new: certificates.append(erase(store, new))) for new in doomed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(certificates) == 4
    for certificate in certificates:
        assert verify_certificate(certificate, store.fingerprint())
    for new in doomed:
        assert_erased(store, new)
    assert_opens(store, survivor)


# Backups.


@pytest.mark.postgresql("a dump as the backup")
def test_a_backup_and_todays_keyring_open_nothing_of_it(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    erased, live = stored_call(store, tenant), save_call(store, tenant)
    spool(store, [(audio_of(live)[0], [b"still in the spool"])])
    backup = copy_data(tmp_path, "backup")
    for new in (erased, live):
        erase(store, new)
    with open_at(tmp_path, data=backup.name) as restored:
        for new in (erased, live):
            for artefact in new.artefacts:
                for use in (restored.document, restored.stream):
                    with pytest.raises(Erased):
                        use(tenant, artefact.ref.artefact)
            (key,) = restored.slices.artefact_keys([new.artefacts[0].ref.artefact]).values()
            assert isinstance(key, Erased)
        with pytest.raises(Unavailable, match="old backup"):
            save_call(restored, tenant)


def test_the_backup_opens_as_long_as_the_old_keyring_is_there(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    """The control of the test before: what refuses there is the key's destruction, and nothing else."""
    new = stored_call(store, tenant)
    copy_data(tmp_path, "backup")
    (tmp_path / "old").mkdir(mode=0o700)
    for path in (tmp_path / "keys").iterdir():
        (tmp_path / "old" / path.name).write_bytes(path.read_bytes())
    erase(store, new)
    backup = tmp_path / "backup"
    url = catalogue_url(tmp_path, backup.name)
    with Recordings.open(
        backup, f"file:{tmp_path}/old", f"file:{backup}/objects", node="n1", catalogue_url=url
    ) as restored:
        assert_opens(restored, new)


@pytest.mark.postgresql("dumps of before and after")
def test_no_path_to_the_key_is_left(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    """Everything from before and everything of today, tried by hand against each other."""
    erased, survivor = stored_call(store, tenant), stored_call(store, tenant)
    copy_data(tmp_path, "before")
    provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    assert recover(tmp_path, ["before"], provider, erased) == {artefact.ref.artefact for artefact in erased.artefacts}
    erase(store, erased)
    copy_data(tmp_path, "after")
    assert not provider.exists(provider_key(tenant, Root.CONTENT, 0))
    assert recover(tmp_path, ["before", "after"], provider, erased) == set()
    alive = {artefact.ref.artefact for artefact in survivor.artefacts}
    assert recover(tmp_path, ["before", "after"], provider, survivor) == alive


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # see scrub of PostgreSQL: not there
def test_no_wrapped_key_is_left_in_the_database_or_its_log(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    calls = [stored_call(store, tenant)]
    for _ in range(20):
        batch = [save_call(store, tenant) for _ in range(10)]
        calls += batch
    for doomed in (calls[0], calls[57], calls[113]):
        before = _wrapped_of(tmp_path, tenant)
        assert all(wrapped in files_below(tmp_path / "data") for wrapped in before[:5])
        erase(store, doomed)
        still_used = set(_wrapped_of(tmp_path, tenant))
        everything = files_below(tmp_path / "data")
        over = [wrapped for wrapped in before if wrapped not in still_used]
        assert len(over) > len(calls)
        assert [wrapped for wrapped in over if wrapped in everything] == []


def _wrapped_of(root: Path, tenant: TenantId) -> list[bytes]:
    with sqlite3.connect(root / "data" / "catalogue.sqlite3") as connection:
        rows = connection.execute("SELECT wrapped FROM artefact_keys UNION SELECT wrapped FROM nodes").fetchall()
        for table in ("buckets", "epochs"):
            rows += connection.execute(f"SELECT wrapped FROM {table} WHERE tenant = ?", (tenant,)).fetchall()
    connection.close()
    return [row[0] for row in rows]


# Crashes.


@pytest.mark.parametrize("step", Step)
@pytest.mark.postgresql("a crash between transactions")
def test_killed_after_any_step_the_next_start_finishes(tmp_path: Path, step: Step) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        erased, neighbour = stored_call(store, tenant), stored_call(store, tenant)
        for new in (erased, neighbour):
            store.identify(new, [NUMBER])
        copy_data(tmp_path, "backup")
    killed_at(step, tmp_path, lambda store: store.erase_call(tenant, erased.call, ground=GROUND, actor=ACTOR))
    with open_at(tmp_path) as store:
        assert_erased(store, erased)
        assert_opens(store, neighbour)
        during = stored_call(store, tenant)
        assert found_by(store, tenant, NUMBER) == [neighbour.call]
        assert store.resume_erasures() == (0 if step is Step.SWEEP else 1)
        assert store.resume_erasures() == 0
        assert verify_certificate(store.certificate(tenant, erased.call), store.fingerprint())
        assert list(store.objects.list(f"{tenant}/{erased.call}/")) == []
        assert_erased(store, erased)
        assert_opens(store, neighbour)
        assert_opens(store, during)
        assert found_by(store, tenant, NUMBER) == [neighbour.call]
        store.check()
    with open_at(tmp_path, data="backup") as restored, pytest.raises(Erased):
        restored.document(tenant, erased.find(Kind.IDENTITY).ref.artefact)


def test_an_erasure_left_half_done_is_finished_before_the_next_of_its_tenant(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        first, second, neighbour = (stored_call(store, tenant) for _ in range(3))
    killed_at(Step.REWRAP, tmp_path, lambda store: store.erase_call(tenant, first.call, ground=GROUND, actor=ACTOR))
    with open_at(tmp_path) as store:
        with pytest.raises(NotReady):
            store.certificate(tenant, first.call)
        erase(store, second)
        assert verify_certificate(store.certificate(tenant, first.call), store.fingerprint())
        store.resume_erasures()
        for erased in (first, second):
            assert_erased(store, erased)
        assert_opens(store, neighbour)
    assert not list((tmp_path / "keys").glob("*-content-0.key"))
    assert not list((tmp_path / "keys").glob("*-content-1.key"))


# Things that fail.


def test_with_the_provider_away_reads_are_refused_and_a_later_start_finishes(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = stored_call(store, tenant)
        (tmp_path / "keys").rename(tmp_path / "away")
        with pytest.raises(Unavailable):
            erase(store, new)
        assert_erased(store, new)
        assert store.resume_erasures() == 0
        (tmp_path / "away").rename(tmp_path / "keys")
        assert store.resume_erasures() == 1
        assert verify_certificate(store.certificate(tenant, new.call), store.fingerprint())


def test_with_the_objects_away_the_key_is_destroyed_and_they_are_swept_later(tmp_path: Path) -> None:
    objects, aside = tmp_path / "data" / "objects", tmp_path / "aside"

    def take_away(step: Step) -> None:
        if step is Step.DONE:
            objects.rename(aside)
            objects.symlink_to(objects)  # a folder that cannot be entered, not even by root

    with open_at(tmp_path, on_step=take_away) as store:
        tenant = store.tenant("acme")
        new = stored_call(store, tenant)
        assert verify_certificate(erase(store, new), store.fingerprint())
        assert_erased(store, new)
        assert store.resume_erasures() == 0
        objects.unlink()
        aside.rename(objects)
        assert list(store.objects.list(f"{tenant}/{new.call}/"))
        assert store.resume_erasures() == 1
        assert not list(store.objects.list(f"{tenant}/{new.call}/"))


def test_one_missing_survivor_and_nothing_is_destroyed(tmp_path: Path) -> None:
    def lose_a_key(step: Step) -> None:
        if step is Step.REWRAP:
            catalogue = catalogue_at(tmp_path)
            with catalogue.writing() as connection:
                newest = select(func.max(artefact_keys.c.serial)).scalar_subquery()
                connection.execute(delete(artefact_keys).where(artefact_keys.c.serial == newest))
            catalogue.close()

    with open_at(tmp_path, on_step=lose_a_key) as store:
        tenant = store.tenant("acme")
        erased, _survivor = stored_call(store, tenant), stored_call(store, tenant)
        with pytest.raises(Unavailable, match="nothing is destroyed"):
            erase(store, erased)
        assert list((tmp_path / "keys").glob("*-content-0.key"))
        assert_erased(store, erased)


class _Unfaithful:
    """A keyring whose `destroy` only says that it did, or does it and does not say so."""

    def __init__(self, real: KeyProvider, *, destroys: bool) -> None:
        self._real = real
        self._destroys = destroys
        self.finality, self.region, self.non_extractable = real.finality, real.region, real.non_extractable
        self.create, self.wrap, self.unwrap = real.create, real.wrap, real.unwrap
        self.exists, self.check, self.clock = real.exists, real.check, real.clock

    def behind(self, _name: str) -> Self:
        return self

    def destroy(self, name: str) -> str:
        if self._destroys:
            self._real.destroy(name)
            raise Unavailable("the line went dead")
        return "destroyed"


def unfaithful_eraser(store: Recordings, root: Path, *, destroys: bool) -> Eraser:
    provider = _Unfaithful(open_provider(f"file:{root}/keys", root / "data"), destroys=destroys)
    witness = Witness.open(f"file:{root}/data-witness")
    ledger = Ledger(Signer(open_installation(store._catalogue, provider).ledger))
    locks = root / "data" / "locks"
    return Eraser(Surroundings(store._catalogue, provider, store.objects, ledger, locks, time.time, witness))


def test_a_provider_that_lies_about_destroying_gets_no_certificate(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    new = stored_call(store, tenant)
    eraser = unfaithful_eraser(store, tmp_path, destroys=False)
    for _ in range(2):
        with pytest.raises(Unavailable, match="still opens"):
            eraser.erase(tenant, Target.of_call(new.call), GROUND, ACTOR)
        with pytest.raises(NotReady):
            store.certificate(tenant, new.call)
    assert_erased(store, new)


def test_a_provider_that_goes_away_after_destroying_is_asked_again(
    store: Recordings, tenant: TenantId, tmp_path: Path
) -> None:
    new, neighbour = stored_call(store, tenant), stored_call(store, tenant)
    with pytest.raises(Unavailable, match="line went dead"):
        unfaithful_eraser(store, tmp_path, destroys=True).erase(tenant, Target.of_call(new.call), GROUND, ACTOR)
    assert_opens(store, neighbour)
    assert store.resume_erasures() == 1
    assert store.certificate(tenant, new.call)["entries"][1]["body"]["keys"][0]["answer"] == "file: no such key"
    assert_opens(store, neighbour)


# Other processes.

_READ_IN_CHILD = """
import sys, time
from pathlib import Path
from storage.errors import Erased
from tests.storage.stores import open_at

with open_at(Path(sys.argv[1])) as store, store.stream(sys.argv[2], sys.argv[3]) as stream:
    print("reading", flush=True)
    try:
        while True:
            for _ in stream.read():
                time.sleep(0.001)
    except Erased:
        print(time.monotonic(), flush=True)
"""


@pytest.mark.postgresql("a reader in another process")
def test_a_read_under_way_in_another_process_is_refused_within_a_second(tmp_path: Path) -> None:
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        new = stored_call(store, tenant)
        artefact = audio_of(new)[0].ref.artefact
        command = [sys.executable, "-c", _READ_IN_CHILD, str(tmp_path), tenant, artefact]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "reading\n"
            time.sleep(0.2)
            asked_at = time.monotonic()
            erase(store, new)
            assert float(child.stdout.readline()) - asked_at < 1.0


_SAVE_IN_CHILD = """
import sys
from pathlib import Path
from tests.storage.stores import begin_call, open_at

with open_at(Path(sys.argv[1])) as store:
    tenant = store.tenant("acme")
    store.prepare(tenant, ["recording"])
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(60):
        batch = [begin_call(store, tenant) for _ in range(5)]
        store.save(batch)
        for new in batch:
            for artefact in new.artefacts:
                print(artefact.ref.artefact, artefact.key.reveal().hex(), flush=True)
"""


@pytest.mark.postgresql("writers at once")
def test_calls_that_begin_while_epochs_change_are_not_lost(tmp_path: Path) -> None:
    """Another process goes on saving calls under prepared keys, while here one epoch follows the other."""
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        doomed = [stored_call(store, tenant) for _ in range(3)]
        command = [sys.executable, "-c", _SAVE_IN_CHILD, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            lines: list[str] = []
            reader = threading.Thread(target=lambda: lines.extend(child.stdout or ()))
            reader.start()
            child.stdin.write("\n")
            child.stdin.flush()
            for new in doomed:
                erase(store, new)
            reader.join()
        assert len(lines) == 60 * 5 * 4
        for line in lines:
            artefact, key = line.split()
            (found,) = store.slices.artefact_keys([ArtefactId(artefact)]).values()
            assert isinstance(found, StreamKey)
            assert found.key.reveal().hex() == key


def test_the_probe_opens_before_the_erasure_and_not_after(store: Recordings, tenant: TenantId, tmp_path: Path) -> None:
    new = stored_call(store, tenant)
    copy_data(tmp_path, "before")
    provider = open_provider(f"file:{tmp_path}/keys", tmp_path / "data")
    catalogue = catalogue_at(tmp_path, "before")
    with catalogue.reading() as connection:
        row = epoch_row(connection, tenant, Root.CONTENT)
    catalogue.close()
    assert row is not None
    name = provider_key(tenant, Root.CONTENT, 0)
    assert provider.unwrap(name, row.probe, PROBE_AAD)
    assert open_secret(provider, row)
    erase(store, new)
    with pytest.raises(Erased):
        provider.unwrap(name, row.probe, PROBE_AAD)
