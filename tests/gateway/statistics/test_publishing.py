"""Statistics are published when a period is over, once, and outlive what they were counted from."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.api.server import ApiServer
from gateway.calls.call import track_document
from gateway.cli import main
from gateway.events import Hub
from gateway.policy import Tenant
from gateway.statistics import publishing
from gateway.statistics.cells import TABLES
from gateway.statistics.disclosure import COUNT_MIN
from gateway.statistics.publishing import publish_due, shown
from storage.errors import AlreadyExists, NotFound, NotReady, Refused
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, new_id
from storage.records import NewCall, Wanted
from storage.statistics import Counted
from storage.tokens import Role
from tests.gateway.statistics.test_cells import track
from tests.storage.stores import files_below, open_at

CALLER = "+31201234567"
ACME = Tenant.model_validate({"name": "acme"})


class Store:
    """A store whose clock the test sets, and calls in it."""

    def __init__(self, folder: Path) -> None:
        self.now_s = at("2026-11-03")
        self.recordings = open_at(folder, clock=lambda: self.now_s)
        self.tenant = self.recordings.tenant("acme")

    def call(self, *, lost: int = 0, state: CallState = CallState.ENDED, closed: bool = True) -> NewCall:
        person = ParticipantId(new_id())
        wanted = [Wanted(NO_PARTICIPANT, Kind.CALL_DETAIL, "quality"), Wanted(person, Kind.AUDIO, "quality")]
        new = self.recordings.begin(self.tenant, CallId(new_id()), wanted)
        detail = json.dumps({"from": CALLER, "duration_ms": 20_000}).encode()
        audio = new.find(Kind.AUDIO, person).ref.artefact
        facts = track_document(0, "0", track(packets=1000 - lost, lost=lost).to_json())
        self.recordings.save([new])
        documents = {new.find(Kind.CALL_DETAIL).ref.artefact: detail, audio: facts}
        self.recordings.put_documents(new, documents, state)
        if closed:
            self.recordings.slices.complete_stream(audio, interrupted=False)
            self.recordings.store_manifest(self.tenant, new.call)
        return new

    def publish(self, now: str, policy: Tenant = ACME) -> list[str]:
        self.now_s = at(now)
        return publish_due(self.recordings, policy, self.now_s)


def at(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.recordings.close()


def test_a_day_is_published_when_it_is_over(store: Store) -> None:
    for _ in range(12):
        store.call()
    for _ in range(3):
        store.call(lost=30)
    assert store.publish("2026-11-03T23:59:59") == ["2026-11-01", "2026-11-02"]
    assert store.publish("2026-11-04T00:00:00") == ["2026-11-03"]
    found = shown(store.recordings, store.tenant, "2026-11-03")
    assert found["calls"] == 10
    assert found["tables"]["outcome"] == dict.fromkeys(TABLES["outcome"]) | {"stored": 10}
    assert found["tables"]["loss_percent"]["<0.1"] == 10
    assert found["tables"]["loss_percent"]["2-5"] is None


def test_erasure_of_the_call_and_publishing_again_change_nothing(store: Store) -> None:
    calls = [store.call() for _ in range(COUNT_MIN)]
    store.publish("2026-11-04")
    before = shown(store.recordings, store.tenant, "2026-11-03")
    assert before["calls"] == COUNT_MIN
    for new in calls[:2]:
        store.recordings.erase_call(store.tenant, new.call, ground="Art. 17(1)(a)", actor="test")
    assert store.publish("2026-11-05") == ["2026-11-04"]
    assert shown(store.recordings, store.tenant, "2026-11-03") == before
    with pytest.raises(AlreadyExists):
        store.recordings.statistics.publish(store.tenant, "2026-11-03", Counted(10, 0, {}))


def test_an_erased_call_is_not_counted_by_what_is_published_later(store: Store) -> None:
    calls = [store.call() for _ in range(COUNT_MIN)]
    store.recordings.erase_call(store.tenant, calls[0].call, ground="Art. 17(1)(a)", actor="test")
    store.publish("2026-11-04")
    assert shown(store.recordings, store.tenant, "2026-11-03")["calls"] is None


def test_cl_05_statistics_outlive_every_key_of_the_tenant(store: Store, tmp_path: Path) -> None:
    for _ in range(COUNT_MIN):
        store.call()
    store.publish("2026-11-04")
    before = shown(store.recordings, store.tenant, "2026-11-03")
    for key in (tmp_path / "keys").glob(f"{store.tenant}-*"):
        key.unlink()
    with open_at(tmp_path) as again:
        assert shown(again, store.tenant, "2026-11-03") == before


def test_a_day_without_calls_looks_like_one_with_few(store: Store) -> None:
    store.call()
    store.publish("2026-11-06")
    few, none = (shown(store.recordings, store.tenant, f"2026-11-0{day}") for day in (3, 4))
    assert {**few, "period": ""} == {**none, "period": ""}


def test_sp_13_ip_07_nothing_personal_is_in_them_or_in_any_file_in_clear(store: Store, tmp_path: Path) -> None:
    """A known caller cannot be found in what has no place for him: names of cells, and tens."""
    for _ in range(23):
        store.call()
    store.publish("2026-11-04")
    (counted,) = store.recordings.statistics.read(store.tenant, ["2026-11-03"]).values()
    assert {name: tuple(table) for name, table in counted.tables.items()} == dict(TABLES)
    numbers = [counted.calls, *(n for table in counted.tables.values() for n in table.values())]
    assert all(type(n) is int and n % COUNT_MIN == 0 for n in numbers)
    assert max(numbers) == 20
    assert b"loss_percent" not in files_below(tmp_path / "data")


@pytest.mark.parametrize("length", [8, 12, 16, 64])
def test_ct_06_a_hashed_number_does_not_pass(store: Store, length: int) -> None:
    """Whoever has the hash has the number: trying all of a thousand takes a millisecond, all of 10⁹ a quarter hour."""

    def hashed(number: str) -> str:
        return hashlib.sha256(number.encode()).hexdigest()[:length]

    told = hashed(CALLER)
    assert [n for n in (f"{CALLER[:-3]}{last:03}" for last in range(1000)) if hashed(n) == told] == [CALLER]
    for name in (told, CALLER, CALLER[1:], CALLER[-5:]):
        for tables in ({name: {"stored": 10}}, {"caller": {name: 10}}):
            with pytest.raises(Refused):
                store.recordings.statistics.publish(store.tenant, "2026-11-03", Counted(10, 10, tables))


@pytest.mark.parametrize(
    "counted", [Counted(10, 9, {}), Counted(10, 10, {"codec": {"PCMA": 7}}), Counted(1, 3, {}), Counted(10, -10, {})]
)
def test_counts_that_are_no_tens_do_not_pass(store: Store, counted: Counted) -> None:
    with pytest.raises(Refused):
        store.recordings.statistics.publish(store.tenant, "2026-11-03", counted)


def test_a_call_that_goes_on_keeps_its_day_waiting_but_not_for_ever(store: Store) -> None:
    store.call(closed=False)
    assert store.publish("2026-11-05") == ["2026-11-01", "2026-11-02"]
    with pytest.raises(NotReady):
        shown(store.recordings, store.tenant, "2026-11-03")
    assert store.publish("2026-11-06") == ["2026-11-03", "2026-11-04", "2026-11-05"]


def test_what_fails_for_one_tenant_is_tried_again_and_stops_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def publish(_: object, tenant: Tenant, now_s: float) -> list[str]:
        seen.append(tenant.name)
        if tenant.name == "faulty":
            raise RuntimeError
        return []

    async def go() -> None:
        tenants = [Tenant.model_validate({"name": "faulty"}), ACME]
        keeping = asyncio.create_task(publishing.keep_published(store.recordings, lambda: tenants))
        async with asyncio.timeout(10):
            while len(seen) < 4:
                await asyncio.sleep(0.001)
        assert not keeping.done()
        keeping.cancel()

    monkeypatch.setattr(publishing, "EVERY_S", 0.001)
    monkeypatch.setattr(publishing, "publish_due", publish)
    asyncio.run(go())
    assert seen[:4] == ["faulty", "acme"] * 2
    assert "statistics could not be published" in caplog.text


def test_a_month_of_days_is_the_days_added_up(store: Store) -> None:
    for day in ("2026-11-03", "2026-11-07"):
        store.now_s = at(day)
        for _ in range(16):
            store.call()
    store.publish("2026-11-30")
    with pytest.raises(NotReady):
        shown(store.recordings, store.tenant, "2026-11")
    store.publish("2026-12-01")
    found = shown(store.recordings, store.tenant, "2026-11")
    assert found["calls"] == 20
    assert found["tables"]["duration_s"]["10-30"] == 20


def test_a_tenant_of_few_calls_publishes_months_and_no_day_of_them(store: Store) -> None:
    monthly = Tenant.model_validate({"name": "acme", "statistics": "month"})
    for day in ("2026-11-03", "2026-11-07", "2026-11-29"):
        store.now_s = at(day)
        for _ in range(8):
            store.call()
    assert store.publish("2026-11-30", monthly) == []
    assert store.publish("2026-12-01", monthly) == ["2026-11"]
    assert shown(store.recordings, store.tenant, "2026-11")["calls"] == 20
    with pytest.raises(NotFound):
        shown(store.recordings, store.tenant, "2026-11-07")
    assert store.publish("2026-12-03") == ["2026-12-01", "2026-12-02"]  # by days from here on: no call is in two
    assert store.publish("2027-02-01", monthly) == [f"2026-12-{day:02}" for day in range(3, 32)] + ["2027-01"]


def test_officers_read_them_of_their_own_tenant(store: Store) -> None:
    for _ in range(COUNT_MIN):
        store.call()
    store.publish("2026-11-04")
    recordings = store.recordings
    context = Context(recordings, recordings.tokens, Hub(), lambda call: None, list, dict)
    with TestClient(create_app(context), client=("127.0.0.1", 50000)) as client:

        def ask(role: Role, period: str = "2026-11-03", tenant: str = "acme") -> int:
            headers = {"Authorization": f"Bearer {recordings.tokens.create(recordings.tenant(tenant), role, 'test')}"}
            answer = client.get("/v1/statistics", params={"period": period}, headers=headers)
            if answer.status_code == 200:
                assert answer.json()["calls"] == COUNT_MIN
                listed = client.get("/v1/statistics", headers=headers).json()
                assert listed == {"periods": ["2026-11-01", "2026-11-02", "2026-11-03"], "count_min": COUNT_MIN}
            return answer.status_code

        assert [ask(role) for role in (Role.OFFICER, Role.ADMIN, Role.AGENT, Role.WHIP)] == [200, 200, 403, 403]
        assert ask(Role.OFFICER, tenant="beta") == 409
        assert [ask(Role.OFFICER, period) for period in ("2026-11-04", "2026-11", "2026-10-31")] == [409, 409, 404]
        assert [ask(Role.OFFICER, period) for period in ("2026-11-31", "2026-13", "2026", "today")] == [422] * 4


def test_the_command_shows_the_periods_and_one_of_them(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(13):
        store.call()
    store.publish("2026-11-04")
    recordings = store.recordings
    context = Context(recordings, recordings.tokens, Hub(), lambda call: None, list, dict)
    token = recordings.tokens.create(store.tenant, Role.OFFICER, "test")

    async def work() -> None:
        api = ApiServer(create_app(context), ("127.0.0.1", 0))
        serving = asyncio.create_task(api.serve())
        await api.ready()
        asked = ("--url", f"http://127.0.0.1:{api.port}", "--token", token)
        try:
            assert await asyncio.to_thread(main, ["statistics", *asked]) == 0
            assert await asyncio.to_thread(main, ["statistics", "2026-11-03", *asked]) == 0
            assert await asyncio.to_thread(main, ["statistics", "2026-11-05", *asked]) == 1
        finally:
            api.should_exit = True
            await serving

    asyncio.run(work())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [["2026-11-01"], ["2026-11-02"], ["2026-11-03"], ["calls", "10"]]
    assert ["outcome", "stored", "10"] in lines
    assert ["outcome", "interrupted", "under", "10"] in lines
