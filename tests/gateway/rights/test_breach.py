"""Breach cases: the 72-hour clock, what was within reach and whether it opens, and the report for each tenant."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.events import Hub
from gateway.operations.alarms import Alarm, Alarms
from gateway.operations.metrics import Metrics, Snapshot
from gateway.rights.breach import Breach, Step, checked_scope
from gateway.rights.breaches import Breaches
from gateway.rights.orders import OPERATOR
from gateway.rights.watching import Watch
from storage.errors import Malformed, Refused
from storage.exposure import Reach, opens
from storage.ledger import entries_of
from storage.model import CallId, Kind, TenantId
from storage.recordings import Recordings
from storage.tokens import Role
from tests.gateway.rights.corpus import ALICE, session
from tests.gateway.store import opened, recorded

HOUR = 3600.0
NOW = 1_800_000_000.0
WORDS = "Backup disk of Anneveld was left on the train"


@pytest.fixture
def breaches(store: Recordings) -> Breaches:
    return Breaches(store)


def scope(*reached: str, **narrowed: object) -> dict[str, object]:
    return {"reached": reached, **narrowed}


def open_case(breaches: Breaches, *reached: str, aware_s: float = NOW, hours: int = 72, **narrowed: object) -> CallId:
    made = checked_scope(scope(*(reached or ("backup",)), **narrowed))
    return breaches.open(made, WORDS, aware_s=aware_s, now_s=NOW, by="a1", hours=hours)


def test_up_20_a_case_starts_a_clock_of_72_hours_from_when_it_became_known(breaches: Breaches) -> None:
    case = breaches.read(open_case(breaches, aware_s=NOW - 10 * HOUR))
    assert case.due_s == NOW + 62 * HOUR
    assert [case.overdue(NOW + hours * HOUR) for hours in (61.9, 62)] == [False, True]
    for aware_s in (NOW + 1, NOW - 367 * 24 * HOUR):
        with pytest.raises(Refused, match="became known"):
            open_case(breaches, aware_s=aware_s)
    with pytest.raises(Refused, match="72 hours"):
        open_case(breaches, hours=73)


def test_up_20_warnings_and_the_missed_deadline_are_told_once_and_an_alarm_stands(
    store: Recordings, caplog: pytest.LogCaptureFixture
) -> None:
    breaches, alarms, now = Breaches(store), Alarms(), [NOW]
    id = open_case(breaches)
    watch = Watch(store, list, alarms, lambda: now[0])
    assert watch.look() == [] and watch.breaches == {"open": 1, "overdue": 0, "due_s": 72 * 3600}
    with caplog.at_level(logging.WARNING):
        now[0] = NOW + 36 * HOUR
        assert [due.share for due in watch.look()] == [0.5]
        assert Alarm.BREACH_OVERDUE not in alarms
        now[0] = NOW + 72 * HOUR
        assert [due.share for due in watch.look()] == [0.8, 1.0]
        assert watch.look() == []
    assert "breach deadline broken" in caplog.messages and "Anneveld" not in caplog.text
    assert Alarm.BREACH_OVERDUE in alarms
    assert watch.counters == {"breach_warnings": 2, "breach_deadlines_broken": 1}
    text = Metrics().render(Snapshot(breaches=watch.breaches)).decode()
    assert "callvault_breaches_overdue 1.0" in text and "callvault_breach_due_seconds 0.0" in text
    with pytest.raises(Refused, match="late"):
        breaches.take(id, Step.NOTIFY, now_s=now[0], by="a1", to="AP")
    breaches.take(id, Step.NOTIFY, now_s=now[0], by="a1", to="AP", reason="the disk was missed on Monday")
    watch.look()
    assert Alarm.BREACH_OVERDUE not in alarms


def test_up_20_the_clock_is_stopped_by_telling_the_authority_or_by_a_reason(breaches: Breaches) -> None:
    told, closed = open_case(breaches), open_case(breaches)
    case = breaches.take(told, Step.NOTIFY, now_s=NOW + HOUR, by="a1", to="AP", reference="26-1")
    assert case.due(NOW + 100 * HOUR) == [] and not case.overdue(NOW + 100 * HOUR)
    with pytest.raises(Refused, match="no risk"):
        breaches.take(closed, Step.CLOSE, now_s=NOW, by="a1")
    breaches.take(closed, Step.CLOSE, now_s=NOW, by="a1", reason="it was found, unopened")
    with pytest.raises(Refused, match="closed"):
        breaches.take(closed, Step.DESCRIBE, now_s=NOW, by="a1", causes="none")


def test_a_case_is_read_as_it_was_written_and_what_is_none_is_malformed(breaches: Breaches) -> None:
    id = open_case(breaches, "objects", "keys", first="2026-01-01", last="2026-02-01", region="NL-AMS")
    for step, facts in (
        (Step.DESCRIBE, {"causes": "a key was copied", "effects": "none known"}),
        (Step.TELL, {"to": "acme"}),
        (Step.PEOPLE, {"to": "all customers of acme"}),
    ):
        breaches.take(id, step, now_s=NOW, by="a1", **facts)
    case = breaches.read(id)
    assert Breach.parse(case.to_json()) == case
    assert case.texts == {"what": WORDS, "causes": "a key was copied", "effects": "none known"}
    for body in (
        b"",
        b"{}",
        b"[]",
        case.to_json().replace(b"breach v1", b"breach v2"),
        b'{"format": "callvault breach v1"}',
    ):
        with pytest.raises(Malformed):
            Breach.parse(body)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (scope(), "what was within reach"),
        (scope("keys", calls=["x"]), "by their ids"),
        (scope("keys", first="2026-02-31"), "YYYY-MM-DD"),
        (scope("keys", first="2026-02-01", last="2026-01-01"), "end after they begin"),
        (scope("keys", region="UK"), "write GB"),
        (scope("keys", tenants=[f"{number:032x}" for number in range(501)]), "more are all"),
    ],
)
def test_a_scope_that_is_none_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why):
        checked_scope(wrong)


@pytest.mark.parametrize(
    ("reached", "rows", "sound", "own"),
    [
        ("objects", False, False, False),
        ("catalogue", False, False, False),
        ("backup objects catalogue spool queue witness", False, False, False),
        ("keys", False, False, False),
        ("keys objects", False, False, False),
        ("keys catalogue", True, False, False),
        ("keys backup", True, True, False),
        ("keys catalogue objects", True, True, False),
        ("tenant-keys catalogue objects", False, False, True),
        ("machine", True, True, True),
        ("transcription", True, True, True),
    ],
)
def test_up_20_data_opens_only_where_keys_rows_and_bytes_were_within_reach(
    reached: str, rows: bool, sound: bool, own: bool
) -> None:
    places = [Reach(name) for name in reached.split()]
    assert opens(places, own=False, in_bytes=False) is rows
    assert opens(places, own=False, in_bytes=True) is sound
    assert opens(places, own=True, in_bytes=True) is own


class Office:
    """A server of two tenants with calls, and an operator's way to it."""

    def __init__(self, folder: Path, store: Recordings) -> None:
        self.store = store
        self.tenants = {name: store.tenant(name) for name in ("acme", "beta")}
        self.acme = session(folder, store, self.tenants["acme"])
        self.beta, _ = recorded(folder, store, self.tenants["beta"], 1.0)
        context = Context(store, store.tokens, Hub(), lambda call: None, list, dict, tenants=lambda: self.tenants)
        self.client = TestClient(create_app(context))
        self.operator = store.tokens.create(store.tenant(OPERATOR), Role.OPERATOR, "test")
        self.officer = store.tokens.create(self.tenants["acme"], Role.ADMIN, "test")

    def ask(self, path: str, body: object = None, *, token: str = "", code: int = 200) -> object:
        headers = {"Authorization": f"Bearer {token or self.operator}"}
        method = "GET" if body is None else "POST"
        answer = self.client.request(method, f"/v1/breaches{path}", json=body, headers=headers)
        assert answer.status_code == code, answer.text
        return answer.json() if "json" in answer.headers["content-type"] else answer.text

    def open(self, *reached: str, **narrowed: object) -> str:
        made = self.ask("", {"what": WORDS, "scope": scope(*reached, **narrowed)}, code=201)
        assert isinstance(made, dict)
        return str(made["id"])

    def report(self, case: str, query: str = "") -> dict[str, object]:
        made = self.ask(f"/{case}/report{query}")
        assert isinstance(made, dict)
        return made


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path) as store:
        yield Office(tmp_path, store)


def of(report: dict[str, object], tenant: str) -> dict[str, object]:
    tenants = report["tenants"]
    assert isinstance(tenants, list)
    found = [one for one in tenants if one["tenant"] == tenant]
    return dict(found[0]) if found else {}


def test_up_20_the_report_tells_tenants_people_kinds_span_and_bytes(office: Office) -> None:
    report = office.report(office.open("backup"))
    acme, beta = of(report, "acme"), of(report, "beta")
    record = office.store.call(office.tenants["acme"], office.acme.call)
    assert acme["calls"] == beta["calls"] == 1
    people = {artefact.ref.participant for artefact in record.find(Kind.AUDIO)}
    assert acme["people_at_most"] == max(2, len(people)) and beta["people_at_most"] == 2
    assert acme["first_day"] == acme["last_day"] == record.day
    kinds = {row["kind"]: row for row in acme["kinds"]}  # type: ignore[attr-defined]  # a list of rows
    held = office.store.inventory().tenants[office.tenants["acme"]]
    assert kinds.keys() == {kind for kind in held if kind in set(Kind)}
    for kind, row in kinds.items():
        found = held[kind]
        assert (row["artefacts"], row["objects"], row["object_bytes"], row["row_bytes"]) == (
            *(found.artefacts, found.objects, found.object_bytes),
            row["row_bytes"],
        )
        assert row["rows"] <= found.rows and row["row_bytes"] <= found.row_bytes  # an inventory has slices' rows, too
    assert "not yet" in str(office.ask(f"/{office.open('backup')}/report?format=md"))


def test_up_20_whether_keys_were_exposed_decides_on_article_34_3_a(office: Office) -> None:
    sealed, read = office.report(office.open("backup")), office.report(office.open("catalogue", "keys"))
    assert sealed["unintelligible"] is True and "Art. 34(3)(a) applies" in str(sealed["article_34"])
    assert read["keys_exposed"] is True and "does not apply" in str(read["article_34"])
    opened = {row["kind"]: row["readable"] for row in of(read, "acme")["kinds"]}  # type: ignore[attr-defined]
    assert opened["identity"] is True and opened["call_detail"] is True
    store = office.store
    certificate = store.erase_call(office.tenants["beta"], office.beta, ground="Art. 17(1) GDPR", actor="a1")
    assert certificate
    later = office.report(office.open("objects", since="2020-01-01T00:00:00Z"))
    assert of(later, "beta")["calls_erased_since"] == 1 and of(later, "beta")["calls"] == 0


def test_up_20_each_tenant_gets_a_report_of_its_own_share_alone(office: Office) -> None:
    case = office.open("backup")
    office.ask(f"/{case}/describe", {"causes": "a bag was stolen", "effects": "none", "taken": "all keys rotated"})
    report = office.report(case, "?tenant=acme")
    assert [one["tenant"] for one in report["tenants"]] == ["acme"]  # type: ignore[attr-defined]
    assert office.tenants["beta"] not in json.dumps(report) and "beta" not in json.dumps(report)
    text = str(office.ask(f"/{case}/report?tenant=beta&format=md"))
    assert "a bag was stolen" in text and "all keys rotated" in text and "acme" not in text
    office.ask(f"/{case}/report?tenant=gamma", code=404)


def test_up_20_scope_is_by_tenant_call_day_and_region(office: Office) -> None:
    assert of(office.report(office.open("backup", tenants=["acme"])), "beta") == {}
    calls = office.report(office.open("backup", calls=[office.beta]))
    assert of(calls, "beta")["calls"] == 1 and of(calls, "acme") == {}
    assert office.report(office.open("backup", last="2020-01-01"))["totals"]["calls"] == 0  # type: ignore[index]
    office.ask("", {"what": WORDS, "scope": scope("backup", tenants=["nobody"])}, code=404)


def test_up_20_the_ledger_has_every_step_and_no_word_of_the_case(office: Office) -> None:
    case = office.open("backup")
    report = office.report(case)
    office.ask(f"/{case}/notify", {"to": "Autoriteit Persoonsgegevens", "reference": "AP-2027"})
    with office.store._catalogue.reading() as connection:
        entries = entries_of(connection, "breach")
    assert [entry.body["step"] for entry in entries] == ["open", "report", "notify"]
    assert entries[0].body["places"] == "backup" and len(entries[1].body["sha256"]) == 64
    text = json.dumps([entry.body for entry in entries])
    for secret in (WORDS, "Anneveld", "Autoriteit", "AP-2027", ALICE.number, "acme"):
        assert secret not in text
    assert report["breach"] == case


def test_up_20_no_tenants_token_reaches_a_case(office: Office) -> None:
    case = office.open("backup")
    for path, body in (("", None), (f"/{case}", None), (f"/{case}/report", None), (f"/{case}/close", {"reason": "x"})):
        office.ask(path, body, token=office.officer, code=403)
    office.ask("/" + "0" * 32, code=404)


def test_up_20_the_strictest_promise_of_the_tenants_concerned_counts(office: Office) -> None:
    tenant: TenantId = office.tenants["beta"]
    policy = office.store.policy(tenant)
    office.store.adopt(tenant, replace(policy, breach=replace(policy.breach, hours=24)))
    shown = office.ask(f"/{office.open('backup')}")
    assert isinstance(shown, dict) and 23.9 < shown["hours_left"] <= 24
    shown = office.ask(f"/{office.open('backup', tenants=['acme'])}")
    assert isinstance(shown, dict) and 71.9 < shown["hours_left"] <= 72
