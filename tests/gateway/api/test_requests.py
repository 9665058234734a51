"""Requests over the API: for officers, step by step, and nothing leaves that is not on record and authorised."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.events import Hub
from gateway.outside import Destination
from gateway.rights.deadlines import Deadlines
from gateway.rights.fields import DOCUMENTS, known_fields
from gateway.rights.parts import Part
from storage.model import CallId, TenantId
from storage.notices import verify_notice
from storage.recordings import Recordings
from storage.sealedexport import RecipientKey, opened
from storage.tokens import Role
from tests.gateway.rights.corpus import ALICE, BERT, Kept, session
from tests.gateway.store import opened as opened_store

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()
KEY = RecipientKey.fresh()
TERMS: dict[str, Any] = {
    **{"company": "Example CRM B.V.", "region": "NL", "retention": "90 days", "dpa": date(2026, 1, 1)},
    **{"encryption": "TLS 1.3; sealed for its key", "address": "", "ca_file": None},
}
CRM = Destination(
    name="crm",
    to="CRM of the tenant",
    authorised_by="board",
    authorised_on=date(2026, 1, 1),
    until=None,
    parts=tuple(Part),
    fields={part: tuple(sorted(known_fields(part))) for part in DOCUMENTS},
    key=str(KEY.recipient),
    **TERMS,
)
OLD = CRM.model_copy(update={"name": "old", "until": date(2026, 2, 1)})
NARROW = CRM.model_copy(
    update={"name": "narrow", "parts": (Part.DETAIL,), "fields": {Part.DETAIL: ("started", "duration_ms")}, "key": ""}
)
VAGUE = NARROW.model_copy(update={"name": "vague", "dpa": None})


def one_of(destination: Destination, _tenant: TenantId) -> tuple[Destination, ...]:
    return (destination,)


@dataclass
class Api:
    client: TestClient
    recordings: Recordings
    kept: Kept
    now: list[float]
    context: Context

    def token(self, role: Role = Role.OFFICER, tenant: str = "acme") -> dict[str, str]:
        text = self.recordings.tokens.create(self.recordings.tenant(tenant), role, "test")
        return {"Authorization": f"Bearer {text}"}

    def ask(self, method: str, path: str, body: object = None, status: int = 200, **how: Any) -> Any:
        answer = self.client.request(method, f"/v1{path}", json=body, headers=self.token(**how))
        assert answer.status_code == status, answer.text
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.content

    def open(self, right: str = "access") -> str:
        body = {"right": right, "received": "2026-03-02", "subject": f"{ALICE.name}, letter"}
        return str(self.ask("POST", "/requests", body, 201)["id"])

    def ready(self, **decision: object) -> str:
        """A request that can be exported."""
        request = self.open()
        self.ask("POST", f"/requests/{request}/identity", {"how": "passport at the desk"})
        matches = [f"{self.kept.call}/{self.kept.id_of(ALICE)}"]
        self.ask("POST", f"/requests/{request}/matches", {"matches": matches})
        body = {"words": "original", "reason": "own track alone", **decision}
        self.ask("POST", f"/requests/{request}/decision", body)
        return request


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with opened_store(tmp_path) as recordings:
        tenant = recordings.tenant("acme")
        kept = session(tmp_path, recordings, tenant)
        now = [NOW]
        recordings.register.announce(tenant, [one.entry() for one in (CRM, OLD, NARROW)])
        context = Context(
            *(recordings, recordings.tokens, Hub(), lambda call: None, list, dict),
            zone=lambda tenant: "Europe/Amsterdam",
            clock=lambda: now[0],
            deadlines=lambda tenant: Deadlines(days=14, months=0),
            destinations=lambda tenant: (CRM, OLD, NARROW, VAGUE),
        )
        with TestClient(create_app(context), client=("127.0.0.1", 50000)) as client:
            yield Api(client, recordings, kept, now, context)


def test_up_17_a_request_for_access_from_receipt_to_answer(api: Api) -> None:
    request = api.ready()
    candidates = api.ask("POST", f"/requests/{request}/candidates", {"value": ALICE.number})
    assert candidates["calls"][0]["who"] == [api.kept.id_of(ALICE)]
    archive = api.ask("GET", f"/requests/{request}/export")
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        assert json.loads(file.read("index.json"))["request"] == request
    assert not any(canary in archive for canary in BERT.canaries())
    done = api.ask("POST", f"/requests/{request}/answer", {})
    assert (done["state"], done["done"]) == ("answered", {"calls": 1})
    assert [entry["step"] for entry in done["history"]] == ["identify", "match", "decide", "answer"]
    (listed,) = api.ask("GET", "/requests")["requests"]
    assert (listed["id"], listed["last_day"], listed["overdue"]) == (request, "2026-03-16", False)


def test_cl_08_the_tenants_own_deadline_counts(api: Api) -> None:
    request = api.open()
    assert api.ask("GET", f"/requests/{request}")["due"] == "2026-03-16T23:00:00Z"
    api.now[0] += 20 * 86_400
    assert api.ask("GET", f"/requests/{request}")["overdue"] is True
    api.ask("POST", f"/requests/{request}/extension", {"reason": "many calls"}, 403)


def test_sp_17_an_export_before_the_check_is_refused_and_leaves_no_record(api: Api) -> None:
    request = api.open()
    matches = [f"{api.kept.call}/{api.kept.id_of(ALICE)}"]
    api.ask("POST", f"/requests/{request}/matches", {"matches": matches})
    api.ask("GET", f"/requests/{request}/export", None, 403)
    assert api.ask("GET", "/egress")["copies"] == []


def test_sp_18_a_copy_for_another_organisation_is_sealed_for_it(api: Api) -> None:
    request = api.ready(to="Other Telecom B.V.", key=str(KEY.recipient))
    file = api.ask("GET", f"/requests/{request}/export")
    assert not any(canary in file for canary in ALICE.canaries())
    archive = b"".join(opened(KEY, len(file), lambda start, end: file[start:end]))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened_zip:
        assert opened_zip.testzip() is None
    (copy,) = api.ask("GET", "/egress")["copies"]
    assert (copy["to"], copy["ground"], copy["reference"]) == ("Other Telecom B.V.", "request", request)
    assert copy["sealed_for"] == KEY.recipient.fingerprint.hex()


def test_up_09_ip_04_only_what_is_authorised_by_name_goes_there(api: Api) -> None:
    request = api.ready(destination="crm")
    assert api.ask("GET", f"/requests/{request}")["decision"]["to"] == "CRM of the tenant"
    for wrong in ("old", "vague", "nobody"):
        body = {"words": "original", "reason": "x", "destination": wrong}
        api.ask("POST", f"/requests/{request}/decision", body, 403)
    assert api.context.released == {"egress_refused": 3}
    api.ask("POST", f"/requests/{request}/decision", {"words": "original", "reason": "x", "key": "cvx1"}, 403)


def test_sp_16_to_a_destination_only_the_declared_fields_leave(api: Api) -> None:
    request = api.ready(destination="narrow")
    archive = api.ask("GET", f"/requests/{request}/export")
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        (name, index) = sorted(file.namelist())
        assert (name.rpartition("/")[2], index) == ("detail.json", "index.json")
        assert json.loads(file.read(name)) == {"duration_ms": 2000, "started": "2026-03-01T10:00:00.000Z"}
    assert not any(canary in archive for canary in ALICE.canaries())
    (copy,) = api.ask("GET", "/egress")["copies"]
    assert (copy["destination"], copy["authorised_by"], copy["authorised_on"]) == ("narrow", "board", "2026-01-01")
    assert copy["fields"] == ["detail.duration_ms", "detail.started"]


def test_ct_04_ip_06_what_the_register_lacks_is_refused_at_the_moment_of_leaving(api: Api) -> None:
    request = api.ready(destination="narrow")
    for gone in ("region", "retention", "encryption", "dpa", "company"):
        less = NARROW.model_copy(update={gone: None if gone == "dpa" else ""})
        api.client.app.state.context = replace(api.context, destinations=partial(one_of, less))  # type: ignore[attr-defined]  # an ASGI application in general has none
        assert gone in api.ask("GET", f"/requests/{request}/export", None, 403)["detail"]
    assert api.ask("GET", "/egress")["copies"] == []


def test_up_10_nothing_leaves_before_the_notice_and_its_time(api: Api) -> None:
    tenant = api.recordings.tenant("acme")
    request = api.ready(destination="narrow")
    wider = NARROW.model_copy(update={"fields": {Part.DETAIL: ("started", "duration_ms", "from")}})
    api.client.app.state.context = replace(  # type: ignore[attr-defined]  # an ASGI application in general has none
        api.context, destinations=lambda of: (wider,), processors=lambda of: (wider.entry(),)
    )
    assert "was not told" in api.ask("GET", f"/requests/{request}/export", None, 403)["detail"]
    assert api.ask("GET", "/processors")["processors"][0]["told"] is False
    entries = [one.entry() for one in (CRM, OLD, wider)]
    (notice,) = api.recordings.register.announce(tenant, entries, {"destination:narrow": 1})
    assert "before" in api.ask("GET", f"/requests/{request}/export", None, 403)["detail"]
    (row,) = api.ask("GET", "/processors")["processors"]
    assert (row["notice"], row["told"], row["authorised_by"]) == (notice.seq, True, "board")
    (newest, *_) = api.ask("GET", "/processors/notices?limit=1")["notices"]
    assert (newest["notice"], newest["event"], newest["processor"]) == (
        notice.seq,
        "processor_changed",
        "destination:narrow",
    )
    assert api.ask("GET", "/egress")["copies"] == []
    for path in ("/processors", "/processors/notices"):
        api.ask("GET", path, None, 403, role=Role.AGENT)


def test_cl_06_every_fetch_is_a_copy_and_erasure_asks_for_it_to_be_deleted(api: Api) -> None:
    request = api.ready()
    for _ in range(2):
        api.ask("GET", f"/requests/{request}/export")
    copies = api.ask("GET", "/egress")["copies"]
    assert len(copies) == 2
    assert list(copies[0]["calls"]) == [api.kept.call]
    api.ask("GET", f"/egress/{copies[0]['id']}/notice", None, 409)
    api.ask("POST", f"/calls/{api.kept.call}/erasure", {})
    waiting = api.ask("GET", "/egress")["waiting"]
    assert set(waiting) == {copy["id"] for copy in copies}
    notice = api.ask("GET", f"/egress/{waiting[0]}/notice")
    assert verify_notice(json.dumps(notice).encode(), api.recordings.fingerprint())["calls"].keys() == {api.kept.call}
    told = api.ask("POST", f"/egress/{waiting[0]}/told", {})
    assert api.kept.call in told["told"]
    assert api.ask("GET", "/egress")["waiting"] == waiting[1:]
    api.ask("GET", f"/requests/{request}/export", None, 409)  # nothing is left to send


def test_ct_08_what_is_handed_out_is_counted_by_its_ground(api: Api) -> None:
    api.ask("GET", f"/calls/{api.kept.call}/audio", role=Role.AGENT)
    api.ask("GET", f"/calls/{api.kept.call}/transcript", role=Role.AGENT)
    api.ask("GET", f"/requests/{api.ready()}/export")
    assert api.context.released == {"released_user": 2, "released_request": 1}


def test_up_17_a_correction_is_shown_with_the_transcript_its_words_to_officers(api: Api) -> None:
    request = api.open("rectification")
    api.ask("POST", f"/requests/{request}/identity", {"how": "passport at the desk"})
    person = api.kept.id_of(ALICE)
    api.ask("POST", f"/requests/{request}/matches", {"matches": [f"{api.kept.call}/{person}"]})
    api.ask("POST", f"/requests/{request}/answer", {"statement": "Annevelt with a t"})
    original = api.ask("GET", f"/calls/{api.kept.call}/transcript/original")
    assert original["annotations"][0]["statement"] == "Annevelt with a t"
    redacted = api.ask("GET", f"/calls/{api.kept.call}/transcript", role=Role.AGENT)
    assert redacted["annotations"] == [{"who": person}]


PATHS = ["", "/ID", "/ID/export"]
ACTS = ["identity", "candidates", "matches", "decision", "extension", "refusal", "withdrawal", "answer"]


@pytest.mark.parametrize("role", [Role.AGENT, Role.WHIP])
@pytest.mark.parametrize("path", PATHS)
def test_requests_are_officers_business(api: Api, role: Role, path: str) -> None:
    request = api.open()
    api.ask("GET", f"/requests{path.replace('ID', request)}", None, 403, role=role)
    api.ask("GET", "/egress", None, 403, role=role)


@pytest.mark.parametrize("act", ACTS)
def test_another_tenants_request_is_not_found(api: Api, act: str) -> None:
    bodies: dict[str, dict[str, object]] = {
        "identity": {"how": "x"},
        "candidates": {"value": ALICE.number},
        "matches": {"matches": [f"{api.kept.call}/caller"]},
        "decision": {"words": "original", "reason": "x"},
        "extension": {"reason": "x"},
        "refusal": {"ground": "x"},
    }
    request = api.open()
    api.ask("POST", f"/requests/{request}/{act}", bodies.get(act, {}), 404, tenant="beta")
    for id in (request, "x", "f" * 32):
        api.ask("GET", f"/requests/{id}", None, 404, tenant="beta")
        api.ask("GET", f"/egress/{id}/notice", None, 404, tenant="beta")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"right": "everything", "received": "2026-03-02", "subject": "x"}),
        ("", {"right": "access", "received": "yesterday", "subject": "x"}),
        ("", {"right": "access", "received": "2026-03-02", "subject": ""}),
        ("/ID/matches", {"matches": ["x"]}),
        ("/ID/matches", {"matches": []}),
        ("/ID/matches", {"matches": ["0" * 32 + "/everyone"]}),
        ("/ID/decision", {"words": "some", "reason": "x"}),
        ("/ID/identity", {"how": ""}),
    ],
)
def test_bad_input_gets_a_clear_refusal(api: Api, path: str, body: object) -> None:
    request = api.open()
    assert api.ask("POST", f"/requests{path.replace('ID', request)}", body, 422)["detail"]


def test_a_request_of_as_many_calls_as_may_be_fits_into_a_body(api: Api) -> None:
    request = api.open()
    body = {"matches": [f"{CallId('0' * 32)}/{n:032x}" for n in range(800)]}
    api.ask("POST", f"/requests/{request}/matches", body, 404)  # it was read, and no such call is there
