"""A tenant leaves: nothing new comes, its policy's grace runs, and then what is left of it is what has to be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gateway.operations.alarms import Alarm, Alarms
from gateway.operations.sweeper import Sweeper, Swept, sweep
from gateway.statistics.publishing import shown
from storage.closings import AHEAD_S, Closing, State
from storage.errors import Erased, Refused
from storage.ledger import verify_certificate
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, TenantId, new_id
from storage.policy.library import profile
from storage.policy.overrides import overridden
from storage.rating import BILLING, Direction, Rating
from storage.recordings import Recordings
from storage.records import NewCall, Wanted
from storage.tables import ledger, outbox, tenants
from storage.tokens import Role
from tests.storage.ages import DAY_S, Clock, aged, at
from tests.storage.stores import ACTOR, GROUND, copy_data, open_at, stored_call

CLOSED = "2026-03-10T12:00"
WHY = "the contract has ended"


@dataclass
class Vault:
    """A store with one tenant under a profile; `now` sweeps at a time."""

    store: Recordings
    clock: Clock
    root: Path
    tenant: TenantId

    def sweep(self, moment: str = "", configured: bool = False) -> Swept:
        if moment:
            self.clock.to(moment)
        return sweep(self.store, lambda: {self.tenant} if configured else set())

    def close(self) -> Closing:
        return self.store.closings.close(self.tenant, WHY, ACTOR)

    def state(self) -> State | None:
        found = self.store.closings.of(self.tenant)
        return None if found is None else found.state

    def keys(self) -> set[str]:
        """Provider keys that there are of the tenant."""
        return {file.stem.partition("-")[2] for file in (self.root / "keys").glob(f"{self.tenant}-*.key")}

    def rated(self) -> NewCall:
        """A call with a rating."""
        wanted = [Wanted(NO_PARTICIPANT, Kind.CALL_DETAIL, "service"), Wanted(NO_PARTICIPANT, Kind.RATING, BILLING)]
        new = self.store.begin(self.tenant, CallId(new_id()), wanted)
        detail = json.dumps({"from": "+31201234567", "duration_ms": 20_000}).encode()
        self.store.save([new], {new.find(Kind.CALL_DETAIL).ref.artefact: detail})
        rating = Rating(new.day, 60, Direction.IN, "").to_json()
        self.store.put_documents(new, {new.find(Kind.RATING).ref.artefact: rating}, CallState.NOT_RECORDED)
        self.store.store_manifest(self.tenant, new.call)
        return new

    def hold(self, call: NewCall, ground: str) -> None:
        self.store.holds.place(self.tenant, [call.call], ground, "officer")

    def entries(self, *types: str) -> list[dict[str, object]]:
        with self.store._catalogue.reading() as connection:
            bodies = connection.scalars(select(ledger.c.body).order_by(ledger.c.seq)).all()
        return [body for body in map(json.loads, bodies) if body["type"] in types]

    def certificate(self) -> dict[str, object]:
        """Of the tenant's erasure."""
        (intent,) = [one for one in self.entries("intent") if one["target"] == {"scope": "tenant"}]
        certificate = self.store.erasures.certificate(self.tenant, str(intent["erasure"]))
        assert verify_certificate(certificate, self.store.fingerprint())
        body: dict[str, object] = certificate["entries"][1]["body"]
        return body


def reads(store: Recordings, call: NewCall) -> bool:
    try:
        return bool(store.document(call.tenant, call.find(Kind.CALL_DETAIL).ref.artefact))
    except Erased:
        return False


@pytest.fixture
def vault(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Vault]:
    clock = Clock(at(CLOSED))
    with aged(tmp_path, clock) as store:
        tenant = store.tenant("acme")
        store.adopt(tenant, overridden(profile(request.param), [], "UTC"))
        store.prepare(tenant, ["service"])
        yield Vault(store, clock, tmp_path, tenant)


def under(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vault", [name], indirect=True)


@under("circleloop")
def test_cl_04_ninety_days_after_closing_everything_is_destroyed_in_one_act(vault: Vault) -> None:
    calls = [stored_call(vault.store, vault.tenant) for _ in range(3)]
    copy_data(vault.root, "backup")
    vault.close()
    vault.sweep("2026-06-08T11:59:59")
    assert vault.state() is State.CLOSED and all(reads(vault.store, call) for call in calls), (
        "officers read in the grace"
    )
    vault.clock.to("2026-06-08T12:00")
    assert not any(reads(vault.store, call) for call in calls), "refused at the second, before any sweep"
    assert vault.sweep().emptied == 1
    assert vault.keys() == set(), "the keys of all epochs, the newest too"
    assert list(vault.store.objects.list(f"{vault.tenant}/")) == []
    assert {vault.store.call(vault.tenant, call.call).state for call in calls} == {CallState.ERASED}
    done = vault.certificate()
    assert done["survivors"] == {"statutory": 0, "held": {}, "others": {}}
    with open_at(vault.root, data="backup", clock=lambda: at(CLOSED)) as restored:
        assert not any(reads(restored, call) for call in calls)


@under("circleloop")
def test_cl_04_the_certificate_excepts_what_is_held_and_what_a_law_keeps(vault: Vault) -> None:
    held, rated, gone = stored_call(vault.store, vault.tenant), vault.rated(), stored_call(vault.store, vault.tenant)
    vault.hold(held, "claim before the court")
    vault.close()
    vault.sweep("2026-06-08T12:00")
    done = vault.certificate()
    assert done["survivors"] == {"statutory": 1, "held": {"claim before the court": 4}, "others": {}}
    exceptions = done["exceptions"]
    assert isinstance(exceptions, list)
    assert {"1 records kept under the statutory root", "4 artefacts held, ground: claim before the court"} <= set(
        exceptions
    )
    assert (reads(vault.store, held), reads(vault.store, rated), reads(vault.store, gone)) == (True, False, False)
    assert [one.seconds for one in vault.store.ratings.of_month(vault.tenant, "2026-03")] == [60]
    assert vault.keys() == {"hold-0", "statutory-0"}
    assert vault.sweep().emptied == 0, "once"


@under("circleloop")
def test_cl_05_statistics_survive_the_closing_and_what_was_settled_is_in_them(vault: Vault) -> None:
    for _ in range(12):
        vault.rated()
    vault.close()
    vault.sweep("2026-06-08T11:30")
    assert vault.store.statistics.periods(vault.tenant)[-1] == "2026-06-08", "no period is left open"
    vault.sweep("2026-06-08T12:00")
    assert vault.state() is State.OVER
    assert shown(vault.store, vault.tenant, "2026-03-10")["calls"] == 10


@under("cloudtalk")
def test_cl_05_of_a_tenant_without_a_grace_the_day_of_closing_is_published_before_it_ends(vault: Vault) -> None:
    for _ in range(12):
        vault.rated()
    vault.close()
    vault.sweep()
    assert vault.state() is State.OVER
    assert shown(vault.store, vault.tenant, "2026-03-10")["calls"] == 10


@under("cloudtalk")
def test_ct_05_closing_shreds_at_once_live_calls_and_jobs_too(vault: Vault) -> None:
    call = stored_call(vault.store, vault.tenant)
    vault.store.put_documents(call, {}, jobs=["transcribe"])
    wanted = [
        Wanted(NO_PARTICIPANT, Kind.CALL_DETAIL, "service"),
        Wanted(ParticipantId(new_id()), Kind.AUDIO, "service"),
    ]
    live = vault.store.begin(vault.tenant, CallId(new_id()), wanted)
    vault.store.save([live])
    ended: list[TenantId] = []
    vault.close()
    sweeper = Sweeper(vault.store, Alarms(), set, lambda _closed: None, ended.append, vault.clock)
    asyncio.run(sweeper.heed())
    assert ended == [vault.tenant]
    swept = asyncio.run(sweeper.sweep())
    assert swept.emptied == 1 and sweeper.figures.emptied == 1
    assert vault.state() is State.OVER, "account data goes at once, too"
    assert vault.keys() == set()
    assert {vault.store.call(vault.tenant, one.call).state for one in (call, live)} == {CallState.ERASED}
    with vault.store._catalogue.reading() as connection:
        assert connection.execute(select(outbox)).all() == []
    with pytest.raises(Refused):
        vault.store.put_documents(live, {live.find(Kind.CALL_DETAIL).ref.artefact: b"more"})


@under("upcall")
def test_up_04_calls_keep_their_own_clock_and_account_data_goes_after_two_years(vault: Vault) -> None:
    call, rated = stored_call(vault.store, vault.tenant), vault.rated()
    officer = vault.store.tokens.create(vault.tenant, Role.OFFICER, "A. Jansen")
    vault.close()
    vault.sweep("2027-03-09T12:00")
    assert reads(vault.store, call) and vault.state() is State.CLOSED
    vault.sweep("2027-03-11T12:00")
    vault.sweep()
    assert not reads(vault.store, call)
    assert vault.state() is State.EMPTIED and vault.keys() == {"statutory-0"}
    vault.sweep("2028-03-10T11:59")
    assert vault.store.tokens.lookup(officer) is not None
    vault.sweep("2028-03-10T12:00")
    assert vault.state() is State.OVER and vault.store.tokens.lookup(officer) is None
    assert vault.store.tokens.list(vault.tenant) == []
    assert [one.seconds for one in vault.store.ratings.of_month(vault.tenant, "2026-03")] == [60]
    vault.sweep("2033-03-12T12:00")
    vault.sweep()
    assert vault.keys() == set(), "what the law kept has ended, and no key is left"
    assert rated.tenant == vault.tenant


@under("ipcallme")
def test_ip_01_account_data_goes_after_six_months_and_calls_keep_their_own_clock(vault: Vault) -> None:
    call = stored_call(vault.store, vault.tenant)
    vault.store.tokens.create(vault.tenant, Role.OFFICER, "A. Jansen")
    vault.close()
    vault.sweep("2026-06-09T23:00")
    assert reads(vault.store, call), "three months of its own, not the thirty days of what has none"
    vault.sweep("2026-06-10T12:00")
    vault.sweep("2026-09-10T11:59")
    assert not reads(vault.store, call) and vault.state() is State.EMPTIED
    assert len(vault.store.tokens.list(vault.tenant)) == 1
    vault.sweep("2026-09-10T12:00")
    assert vault.state() is State.OVER and vault.store.tokens.list(vault.tenant) == []
    with vault.store._catalogue.reading() as connection:
        tag = connection.scalar(select(tenants.c.tag).where(tenants.c.id == vault.tenant))
    assert tag is not None and tag.startswith(b"gone ")
    with open_at(vault.root, clock=vault.clock) as again:
        assert again.tenant("acme") != vault.tenant, "nobody knows any more who it was"


@under("circleloop")
def test_cl_02_erase_by_the_customer_at_any_time(vault: Vault) -> None:
    first, second = stored_call(vault.store, vault.tenant), stored_call(vault.store, vault.tenant)
    vault.store.erase_call(vault.tenant, first.call, ground=GROUND, actor=ACTOR)
    assert (reads(vault.store, first), reads(vault.store, second)) == (False, True)
    vault.close()
    vault.clock.now_s += 30 * DAY_S
    vault.store.erase_call(vault.tenant, second.call, ground=GROUND, actor=ACTOR)
    assert not reads(vault.store, second)
    vault.sweep("2026-06-08T12:00")
    assert vault.state() is State.OVER and vault.keys() == set()


@under("circleloop")
def test_a_closed_tenant_has_no_new_calls_and_one_that_closes_later_has(vault: Vault) -> None:
    vault.store.closings.close(vault.tenant, WHY, ACTOR, at("2026-03-12T00:00"))
    stored_call(vault.store, vault.tenant)
    assert vault.store.closings.standing() == [] and not vault.store.closings.is_closed(vault.tenant)
    vault.clock.to("2026-03-12T00:00")
    assert vault.store.closings.is_closed(vault.tenant)
    with pytest.raises(Refused, match="closed"):
        stored_call(vault.store, vault.tenant)
    stored_call(vault.store, vault.store.tenant("other"))


@under("circleloop")
def test_it_is_reopened_within_the_grace_with_all_that_it_had(vault: Vault) -> None:
    call = stored_call(vault.store, vault.tenant)
    vault.close()
    vault.clock.now_s += 89 * DAY_S
    vault.sweep()
    with pytest.raises(Refused, match="already"):
        vault.close()
    vault.store.closings.reopen(vault.tenant, "they stay", ACTOR)
    assert vault.state() is None
    stored_call(vault.store, vault.tenant)
    vault.sweep("2027-03-10T12:00")
    assert reads(vault.store, call)
    assert [entry["type"] for entry in vault.entries("closing", "reopening")] == ["closing", "reopening"]
    vault.close()
    assert vault.state() is State.CLOSED


@under("circleloop")
def test_in_the_last_hour_it_is_not_reopened(vault: Vault) -> None:
    stored_call(vault.store, vault.tenant)
    closing = vault.close()
    vault.clock.now_s = closing.reopens_until_s
    assert closing.reopens_until_s == at("2026-06-08T12:00") - AHEAD_S
    with pytest.raises(Refused, match="grace is over"):
        vault.store.closings.reopen(vault.tenant, "they stay", ACTOR)


@under("circleloop")
def test_what_is_refused_of_a_closing(vault: Vault) -> None:
    with pytest.raises(Refused, match="later"):
        vault.store.closings.close(vault.tenant, WHY, ACTOR, at("2026-03-01T00:00"))
    with pytest.raises(Refused):
        vault.store.closings.close(vault.tenant, "asked for by +31 20 123 4567", ACTOR)
    assert vault.state() is None and vault.entries("closing") == []


@under("cloudtalk")
def test_clocks_in_doubt_destroy_no_tenant_and_refuse_what_has_ended(vault: Vault) -> None:
    call = stored_call(vault.store, vault.tenant)
    vault.sweep()
    vault.close()
    vault.clock.ahead_s = 2 * DAY_S
    alarms = Alarms()
    sweeper = Sweeper(vault.store, alarms, set, lambda _closed: None, lambda _tenant: None, vault.clock)
    assert asyncio.run(sweeper.sweep()).verdict.drop_until_s is None
    assert alarms.standing() == [Alarm.CLOCK_JUMPED]
    assert not sweeper.figures.may_drop and sweeper.figures.since_s is None
    assert not reads(vault.store, call) and vault.keys() == {"content-0", "statutory-0"}


@under("cloudtalk")
def test_a_provider_that_is_away_and_a_crash_in_between_are_made_up_for(vault: Vault) -> None:
    stored_call(vault.store, vault.tenant)
    vault.close()
    (vault.root / "keys").rename(vault.root / "aside")
    assert vault.sweep().emptied == 0
    assert vault.state() is State.CLOSED
    (vault.root / "aside").rename(vault.root / "keys")
    real = vault.store.closings._provider

    class Gone(Exception):
        """As kill -9 is."""

    def die(name: str) -> str:
        if name.endswith("-content-1"):
            raise Gone
        return real.destroy(name)

    dying: Any = _Dying(real, die)
    vault.store.closings._provider = dying
    with pytest.raises(Gone):
        vault.sweep()
    vault.store.closings._provider = real
    assert vault.state() is State.EMPTIED
    vault.sweep()
    assert vault.keys() == set() and vault.state() is State.OVER
    assert len([entry for entry in vault.entries("retired") if str(entry["key"]).endswith("content-1")]) == 1


@under("cloudtalk")
def test_while_the_configuration_names_it_it_is_not_forgotten_and_somebody_is_told(vault: Vault) -> None:
    alarms = Alarms()
    vault.close()
    sweeper = Sweeper(vault.store, alarms, lambda: {vault.tenant}, lambda _closed: None, lambda _t: None, vault.clock)
    asyncio.run(sweeper.sweep())
    asyncio.run(sweeper.sweep())
    assert vault.state() is State.EMPTIED and Alarm.CLOSED_CONFIGURED in alarms
    with pytest.raises(Refused):
        stored_call(vault.store, vault.tenant)


@under("speakup")
def test_the_service_sweeps_and_tells_who_has_left_until_it_is_cancelled(vault: Vault) -> None:
    stored_call(vault.store, vault.tenant)
    vault.close()
    told: list[set[TenantId]] = []
    sweeper = Sweeper(vault.store, Alarms(), set, lambda closed: told.append(set(closed)), lambda _t: None, vault.clock)

    async def scenario() -> None:
        running = asyncio.create_task(sweeper.run(every_s=0.01, closings_every_s=0.01))
        async with asyncio.timeout(30):
            while sweeper.figures.since_s is None or len(told) < 3:
                await asyncio.sleep(0.01)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(scenario())
    assert told[-1] == {vault.tenant}
    assert sweeper.figures.may_drop and sweeper.figures.buckets_due == 0


class _Dying:
    """A provider whose `destroy` is another's."""

    def __init__(self, real: Any, destroy: Callable[[str], str]) -> None:
        self._real = real
        self.destroy = destroy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
