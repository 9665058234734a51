"""What has an end is refused from that second on, and one change of epoch destroys it, however much it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from storage.errors import Expired, Refused
from storage.ledger import verify_certificate
from storage.model import CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.recordings import Recordings
from storage.records import Day, Identifier, Wanted
from storage.tables import artefact_keys, drops, epochs, ledger
from tests.storage.erasure.test_scopes import ids, living
from tests.storage.stores import PURPOSE, catalogue_at, copy_data, open_at, spool, stored_call

pytestmark = pytest.mark.usefixtures("database")

DAY_S = 86_400
START_S = 1_800_000_000.0


@dataclass
class Clock:
    """A clock that the test sets."""

    now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s

    def pass_days(self, days: int) -> None:
        self.now_s += days * DAY_S


def after_days(_connection: Connection, _tenant: TenantId, kind: Kind, _purpose: str, day: Day) -> int:
    """Call detail for three days, everything else for four, from the beginning of its day (UTC)."""
    begun = int(START_S // DAY_S) * DAY_S if day == "2027-01-15" else int(START_S // DAY_S + 1) * DAY_S
    return begun + (3 if kind is Kind.CALL_DETAIL else 4) * DAY_S


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Recordings]:
    with open_at(tmp_path, clock=clock, due_of=after_days) as opened:
        yield opened


def counted(root: Path, query: object) -> int:
    catalogue = catalogue_at(root)
    with catalogue.reading() as connection:
        found: int = connection.scalar(query)  # type: ignore[call-overload]  # any count
    catalogue.close()
    return found


def test_reads_are_refused_at_the_second_and_the_rest_of_the_call_lives_on(
    store: Recordings, tenant: TenantId, clock: Clock
) -> None:
    call = stored_call(store, tenant)
    clock.now_s = int(START_S // DAY_S) * DAY_S + 3 * DAY_S - 1
    assert living(store, call) == ids(list(call.artefacts))
    assert store.expiry.run() == 0
    clock.now_s += 1
    with pytest.raises(Expired):
        store.document(tenant, call.find(Kind.CALL_DETAIL).ref.artefact)
    left = ids(list(call.artefacts)) - {call.find(Kind.CALL_DETAIL).ref.artefact}
    assert living(store, call) == left
    assert store.expiry.run() == 1
    assert living(store, call) == left
    assert store.call(tenant, call.call).state is CallState.STORED
    clock.pass_days(1)
    assert living(store, call) == set()
    assert store.expiry.run() == 2  # audio, identity
    assert store.call(tenant, call.call).state is CallState.ERASED
    certificate = store.certificate(tenant, call.call)
    assert verify_certificate(certificate, store.fingerprint())
    target = certificate["entries"][0]["body"]["target"]
    assert sorted(bucket[1] for bucket in target["buckets"]) == ["audio", "identity"]
    assert list(store.objects.list(f"{tenant}/{call.call}/")) == []
    assert store.expiry.run() == 0


@pytest.mark.postgresql("one path from end to end of an expiry")
def test_one_change_of_epoch_whatever_the_number_and_no_survivor_is_rewrapped(
    store: Recordings, tenant: TenantId, clock: Clock, tmp_path: Path
) -> None:
    first = [stored_call(store, tenant) for _ in range(5)]
    clock.pass_days(1)
    survivor = stored_call(store, tenant)
    clock.pass_days(3)
    kept_rows = select(func.count()).select_from(artefact_keys)
    assert store.expiry.run() == 4  # three kinds of the first day, call detail of the second
    assert counted(tmp_path, kept_rows) == len(survivor.artefacts) - 1
    assert counted(tmp_path, select(func.max(epochs.c.n))) == 1
    assert counted(tmp_path, select(func.count()).select_from(drops)) == 4
    assert living(store, *first) == set()
    assert len(living(store, survivor)) == 3
    assert counted(tmp_path, select(func.count()).select_from(ledger)) == 4  # intent, keys, done, swept


def test_a_backup_from_before_the_expiry_opens_nothing(
    store: Recordings, tenant: TenantId, clock: Clock, tmp_path: Path
) -> None:
    call = stored_call(store, tenant)
    copy_data(tmp_path, "backup")
    clock.pass_days(5)
    store.expiry.run()
    never = Clock()  # a restored machine may have any clock
    with open_at(tmp_path, data="backup", clock=never, due_of=after_days) as restored:
        assert living(restored, call) == set()


def test_expiry_goes_on_for_others_where_one_tenants_fails(
    store: Recordings, tenant: TenantId, clock: Clock, tmp_path: Path
) -> None:
    stuck, other = stored_call(store, tenant), stored_call(store, store.tenant("another"))
    (key,) = (tmp_path / "keys").glob(f"{tenant}-content-0.key")
    damaged = key.read_bytes()
    key.write_bytes(damaged[:-1])
    clock.pass_days(5)
    assert store.expiry.run() == 3
    assert living(store, stuck, other) == set()
    key.write_bytes(damaged)
    store.resume_erasures()
    assert verify_certificate(store.certificate(tenant, stuck.call), store.fingerprint())


def test_sp_19_voicemail_has_a_term_and_a_key_of_its_own(tmp_path: Path, clock: Clock) -> None:
    def after(_connection: Connection, _tenant: TenantId, kind: Kind, _purpose: str, _day: Day) -> int:
        return int(START_S) + (2 if kind is Kind.VOICEMAIL else 30) * DAY_S

    with open_at(tmp_path, clock=clock, due_of=after) as store:
        tenant = store.tenant("acme")
        wanted = [Wanted(ParticipantId(new_id()), kind, PURPOSE) for kind in (Kind.VOICEMAIL, Kind.AUDIO)]
        new = store.begin(tenant, CallId(new_id()), wanted)
        store.save([new])
        voicemail, audio = new.artefacts
        assert voicemail.key.reveal() != audio.key.reveal()
        spool(store, [(voicemail, [b"leave a message"]), (audio, [b"audio"] * 3)])
        clock.pass_days(2)
        with pytest.raises(Expired), store.stream(tenant, voicemail.ref.artefact) as stream:
            list(stream.read())
        assert store.expiry.run() == 1
        assert living(store, new) == {audio.ref.artefact}


def test_up_03_evidence_that_outlives_all_logs_names_nobody(
    store: Recordings, tenant: TenantId, clock: Clock, tmp_path: Path
) -> None:
    """Neither certificate nor ledger has a number, a name, or a word of the call; a ground cannot bring one in."""
    canaries = ("+31201234567", "Anna Anneveld", "sip:anna@example.org")
    call = stored_call(store, tenant, identity=json.dumps(canaries).encode())
    store.identify(call, [Identifier("number", canaries[0]), Identifier("uri", canaries[2])])
    for words in ("asked by +31 20 123 45 67", "asked by sip:anna@example.org"):
        with pytest.raises(Refused):
            store.erase_call(tenant, call.call, ground=words, actor="officer")
    certificate = store.erase_call(tenant, call.call, ground="Art. 17(1) GDPR", actor="officer")
    catalogue = catalogue_at(tmp_path)
    with catalogue.reading() as connection:
        evidence = json.dumps(certificate) + "".join(connection.scalars(select(ledger.c.body)))
    catalogue.close()
    assert call.call in evidence
    assert not [canary for canary in (*canaries, "201234567", "anna@") if canary.lower() in evidence.lower()]
