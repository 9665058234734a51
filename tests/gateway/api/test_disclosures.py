"""Disclosure orders: four eyes, exactly their scope, hidden where they are gagged, and always in the book."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.events import Hub
from gateway.rights.order import TABLE, Order, State, Step
from gateway.rights.orders import OPERATOR
from gateway.rights.parts import Part
from gateway.rights.share import Matched
from storage.errors import Malformed, Refused
from storage.model import CallId, TenantId, new_id
from storage.recordings import Recordings
from storage.sealedexport import RecipientKey
from storage.tokens import Role
from tests.gateway.rights.corpus import ALICE, BERT, Kept, plain, session
from tests.gateway.store import opened
from tests.storage.stores import files_below

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC).timestamp()
AUTHORITY = "Politie, district Zuidwest, case 4711-B"
SCOPE: dict[str, Any] = {
    "tenant": "acme",
    "authority": AUTHORITY,
    "ground": "Art. 126n Sv",
    "first": "2026-03-01T00:00:00Z",
    "last": "2026-03-02T00:00:00Z",
    "until": "2026-04-30",
    "parts": ["audio", "transcript", "identity"],
}


@dataclass
class Api:
    client: TestClient
    recordings: Recordings
    kept: Kept
    now: list[float]
    folder: Path

    def token(self, role: Role = Role.OPERATOR, tenant: str = OPERATOR) -> dict[str, str]:
        text = self.recordings.tokens.create(self.recordings.tenant(tenant), role, "test")
        return {"Authorization": f"Bearer {text}"}

    def ask(self, method: str, path: str, body: object = None, status: int = 200, who: Any = None) -> Any:
        answer = self.client.request(method, f"/v1{path}", json=body, headers=who or self.token())
        assert answer.status_code == status, answer.text
        return answer.json() if answer.headers["content-type"] == "application/json" else answer.content

    def enter(self, *, approved: bool = True, **scope: object) -> str:
        order = str(self.ask("POST", "/disclosures", {**SCOPE, **scope}, 201)["id"])
        if approved:
            self.ask("POST", f"/disclosures/{order}/approval")
        return order

    def export(self, order: str) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(self.ask("GET", f"/disclosures/{order}/export"))) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    @property
    def officer(self) -> dict[str, str]:
        return self.token(Role.OFFICER, "acme")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with opened(tmp_path) as recordings:
        tenant = recordings.tenant("acme")
        kept, now = session(tmp_path, recordings, tenant), [NOW]
        context = Context(
            *(recordings, recordings.tokens, Hub(), lambda call: None, list, dict),
            clock=lambda: now[0],
            tenants=lambda: {"acme": tenant},
        )
        with TestClient(create_app(context), client=("127.0.0.1", 50000)) as client:
            yield Api(client, recordings, kept, now, tmp_path)


def test_sp_14_four_eyes_before_anything_leaves(api: Api) -> None:
    first, second = api.token(), api.token()
    order = api.ask("POST", "/disclosures", {**SCOPE, "calls": [api.kept.call]}, 201, first)["id"]
    api.ask("GET", f"/disclosures/{order}/export", None, 403)
    api.ask("POST", f"/disclosures/{order}/approval", None, 403, first)
    api.ask("POST", f"/disclosures/{order}/approval", None, 200, second)
    assert api.export(order)
    history = api.ask("GET", f"/disclosures/{order}")["history"]
    assert [(entry["step"], entry.get("calls")) for entry in history] == [("approve", None), ("execute", 1)]


def test_sp_14_exactly_the_scope_leaves(api: Api) -> None:
    other = session(api.folder, api.recordings, api.recordings.tenant("acme"))
    found = api.export(api.enter(calls=[api.kept.call]))
    assert {Path(name).name for name in found} == {
        *("identity.json", "transcript.json", "track-0.wav", "track-1.wav", "index.json")
    }
    assert not any(other.call in name for name in found)
    index = json.loads(found["index.json"])
    assert (index["authority"], index["ground"]) == (AUTHORITY, "Art. 126n Sv")


def test_cl_07_ip_05_an_order_on_a_number_is_about_that_number_alone(api: Api) -> None:
    tenant = api.recordings.tenant("acme")
    outside = session(api.folder, api.recordings, tenant, day_text="2026-03-05T10:00:00.000Z")
    called, _ = plain(api.folder, api.recordings, tenant, caller=BERT, called=ALICE)
    order = api.enter(number=ALICE.number)
    archive = api.ask("GET", f"/disclosures/{order}/export")
    for canary in BERT.canaries():
        assert canary not in archive
    for canary in ALICE.canaries():
        assert canary in archive
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        index = json.loads(file.read("index.json"))
    calls = {entry["call"] for entry in index["calls"]}
    assert calls == {api.kept.call, called}
    assert outside.call not in calls
    assert index["unclear"] == []
    wavs = [entry["name"] for entry in index["files"] if entry["name"].endswith(".wav")]
    assert wavs == [f"calls/{api.kept.call}/{api.kept.id_of(ALICE)}/track-0.wav"]


def test_sp_14_a_gagged_order_leaves_no_trace_that_its_tenant_sees(api: Api) -> None:
    before = [api.ask("GET", path, who=api.officer) for path in ("/egress", "/calls", "/requests")]
    order = api.enter(calls=[api.kept.call], gagged=True)
    assert api.export(order)
    after = [api.ask("GET", path, who=api.officer) for path in ("/egress", "/calls", "/requests")]
    assert after == before
    for path in ("/disclosures", f"/disclosures/{order}", f"/disclosures/{order}/export"):
        api.ask("GET", path, None, 403, api.token(Role.ADMIN, "acme"))
    api.ask("GET", f"/requests/{order}", None, 404, api.officer)
    certificate = api.ask("POST", f"/calls/{api.kept.call}/erasure", {}, 200, api.officer)
    assert order not in json.dumps(certificate)
    assert api.ask("GET", "/egress", who=api.officer)["waiting"] == []


def test_sp_14_the_operators_book_has_every_order_and_copy_sealed(api: Api) -> None:
    order = api.enter(calls=[api.kept.call], gagged=True)
    api.export(order)
    operator = api.recordings.tenant(OPERATOR)
    (copy,) = api.recordings.egress.records(operator)
    about = api.recordings.egress.read(operator, copy.id)
    assert (about["to"], about["ground"], about["reference"]) == (AUTHORITY, "order", order)
    assert [entry["step"] for entry in api.ask("GET", "/disclosures")["orders"][0]["history"]] == ["approve", "execute"]
    assert b"Zuidwest" not in files_below(api.folder)


def test_ct_08_an_order_without_gag_is_among_the_tenants_copies(api: Api) -> None:
    order = api.enter(calls=[api.kept.call])
    api.export(order)
    (copy,) = api.ask("GET", "/egress", who=api.officer)["copies"]
    assert (copy["ground"], copy["to"], copy["reference"]) == ("order", AUTHORITY, order)


def test_sp_14_the_transparency_report_has_numbers_alone(api: Api) -> None:
    api.export(api.enter(calls=[api.kept.call], gagged=True))
    api.export(api.enter(number=ALICE.number))
    api.ask("POST", f"/disclosures/{api.enter(approved=False, calls=[api.kept.call])}/rejection")
    report = api.ask("GET", "/disclosures/report?year=2026")
    assert report == {
        **{"year": 2026, "entered": 3, "gagged": 1, "carried_out": 2, "calls": 2, "tenants": 1},
        **{"rejected": 1, "revoked": 0},
    }
    assert api.ask("GET", "/disclosures/report?year=2025")["entered"] == 0


def test_an_order_that_is_over_or_revoked_hands_nothing_out(api: Api) -> None:
    order = api.enter(calls=[api.kept.call])
    api.ask("POST", f"/disclosures/{order}/revocation")
    api.ask("GET", f"/disclosures/{order}/export", None, 403)
    late = api.enter(calls=[api.kept.call])
    api.now[0] += 40 * 86_400
    api.ask("GET", f"/disclosures/{late}/export", None, 403)


def test_a_call_outside_of_the_window_or_of_another_tenant_is_refused(api: Api) -> None:
    api.ask("POST", "/disclosures", {**SCOPE, "calls": [api.kept.call], "last": "2026-03-01T09:00:00Z"}, 403)
    api.ask("POST", "/disclosures", {**SCOPE, "calls": [new_id()]}, 404)
    api.ask("POST", "/disclosures", {**SCOPE, "calls": [api.kept.call], "tenant": "beta"}, 404)


@pytest.mark.parametrize(
    "wrong",
    [
        {},  # neither calls nor a number
        {"calls": ["0" * 32], "number": "+31201111101"},
        {"calls": ["x"]},
        {"number": "+31201111101", "last": "2026-02-01T00:00:00Z"},
        {"number": "+31201111101", "key": "cvx1"},
    ],
)
def test_an_order_that_is_none_is_refused(api: Api, wrong: dict[str, object]) -> None:
    assert api.ask("POST", "/disclosures", {**SCOPE, **wrong}, 403)["detail"]


def test_an_order_may_be_sealed_for_the_authority(api: Api) -> None:
    key = RecipientKey.fresh()
    order = api.enter(calls=[api.kept.call], key=str(key.recipient))
    file = api.ask("GET", f"/disclosures/{order}/export")
    assert not any(canary in file for canary in ALICE.canaries())


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
def test_orders_are_the_operators_alone(api: Api, role: Role) -> None:
    api.ask("POST", "/disclosures", {**SCOPE, "calls": [api.kept.call]}, 403, api.token(role, "acme"))
    api.ask("GET", "/disclosures", None, 403, api.token(role, "acme"))
    api.ask("GET", "/disclosures", None, 403, api.token(role, OPERATOR))  # not by its tenant alone


def test_a_tenants_token_of_that_role_is_not_the_operators(api: Api) -> None:
    api.ask("GET", "/disclosures", None, 403, api.token(Role.OPERATOR, "acme"))


def test_the_operators_token_opens_no_tenants_calls(api: Api) -> None:
    for path in ("/calls", f"/calls/{api.kept.call}/audio", "/requests", "/egress", "/events"):
        api.ask("GET", path, None, 403)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("step", list(Step))
def test_what_the_table_does_not_name_is_refused(state: State, step: Step) -> None:
    order = an_order(state)
    if step in TABLE[state]:
        assert order.take(step, NOW, "second").state is TABLE[state][step]
    else:
        with pytest.raises(Refused):
            order.take(step, NOW, "second")


def test_a_record_comes_back_as_it_was() -> None:
    order = an_order(State.APPROVED).take(Step.EXECUTE, NOW, "third", calls=1)
    assert Order.parse(order.to_json()) == order
    for none in (b"", b"[]", b"{}", b'{"format": "callvault disclosure order v1"}'):
        with pytest.raises(Malformed):
            Order.parse(none)


def an_order(state: State) -> Order:
    return Order(
        *(TenantId(new_id()), AUTHORITY, "Art. 126n Sv", NOW - 10, NOW),
        *(datetime(2026, 4, 30, tzinfo=UTC).date(), "first", int(NOW), (Part.AUDIO,)),
        calls=(Matched(CallId(new_id()), "everyone"),),
        state=state,
    )
