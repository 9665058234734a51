"""Holds, restrictions and consents over the API and the command line: who may, what they answer, what others see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.calls.identifiers import Sort
from gateway.events import Hub, LiveEvent
from storage.erasure import Target
from storage.ledger import verify_certificate
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, new_id
from storage.recordings import Recordings
from storage.records import Identifier, NewCall, Wanted
from storage.tokens import Role
from tests.gateway.store import opened, recorded

ANNA = "+31201234567"
CLAIM = "claim 2026-7 before the court"


class Heard(Hub):
    """A hub that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[LiveEvent] = []

    def publish(self, event: LiveEvent) -> None:
        self.events.append(event)
        super().publish(event)


@dataclass
class Api:
    """The API over a store, and what subscribers heard."""

    client: TestClient
    store: Recordings
    folder: Path
    hub: Heard
    ended: list[CallId] = field(default_factory=list)

    def ask(
        self, method: str, path: str, body: Any = None, role: Role = Role.OFFICER, tenant: str = "acme"
    ) -> httpx2.Response:
        token = self.store.tokens.create(self.store.tenant(tenant), role, "test")
        return self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})

    def done(self, method: str, path: str, body: Any = None, role: Role = Role.OFFICER) -> Any:
        answer = self.ask(method, path, body, role)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def call(self, state: CallState | None = CallState.ENDED) -> NewCall:
        """A call with a text of one participant, found by a number."""
        tenant, people = self.store.tenant("acme"), [ParticipantId(new_id()), NO_PARTICIPANT, NO_PARTICIPANT]
        kinds = (Kind.SPANS, Kind.IDENTITY, Kind.CALL_DETAIL)
        wanted = [Wanted(who, kind, "quality") for who, kind in zip(people, kinds, strict=True)]
        begun = self.store.begin(tenant, CallId(new_id()), wanted)
        found = (Identifier(Sort.NUMBER.value, ANNA),)
        new = NewCall(tenant, begun.call, begun.day, begun.artefacts, found)
        self.store.save([new])
        documents = {
            new.find(Kind.IDENTITY).ref.artefact: b"{}",
            new.find(Kind.CALL_DETAIL).ref.artefact: json.dumps({"from": ANNA}).encode(),
            new.artefacts[0].ref.artefact: b"text",
        }
        self.store.put_documents(new, documents, state)
        return new

    def named(self) -> list[str]:
        return [event.name for event in self.hub.events]

    def found(self, role: Role) -> list[str]:
        rows = self.done("POST", "/v1/calls/search", {"by": "number", "value": ANNA}, role)["calls"]
        return [row["id"] for row in rows]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    hub = Heard()
    with opened(tmp_path) as store:
        ended: list[CallId] = []
        context = Context(store, store.tokens, hub, ended.append, list, dict)
        with TestClient(create_app(context), client=("127.0.0.1", 50000)) as client:
            yield Api(client, store, tmp_path, hub, ended)


def test_up_19_a_hold_refuses_erasure_with_its_ground_and_ends_no_live_call(api: Api) -> None:
    live = api.call(state=None)
    hold = api.done("POST", "/v1/holds", {"calls": [live.call], "ground": CLAIM})["id"]
    refused = api.ask("POST", f"/v1/calls/{live.call}/erasure", {})
    assert (refused.status_code, CLAIM in refused.text, api.ended) == (409, True, [])
    (found,) = api.done("GET", "/v1/holds")["holds"]
    assert (found["id"], found["ground"], found["calls"], found["actor"]) == (hold, CLAIM, [live.call], "officer")
    assert api.done("GET", f"/v1/calls/{live.call}")["held"] is True
    certificate = api.done("POST", f"/v1/holds/{hold}/release", {})
    assert verify_certificate(certificate, api.store.fingerprint())
    assert api.done("POST", f"/v1/holds/{hold}/release", {}) == certificate
    assert api.done("GET", "/v1/holds")["holds"] == []
    assert api.done("GET", "/v1/holds?released=true")["holds"][0]["released"] is True


def test_what_only_a_hold_keeps_is_there_for_officers_alone(api: Api) -> None:
    tenant = api.store.tenant("acme")
    call, _ = recorded(api.folder, api.store, tenant, 0.5)
    other = api.call()
    hold = api.done("POST", "/v1/holds", {"calls": [call, other.call], "ground": CLAIM})["id"]
    api.store.erasures.erase(tenant, Target.of_purpose("quality"), "its time is over", "test")
    for role, status in ((Role.OFFICER, 200), (Role.AGENT, 410)):
        assert api.ask("GET", f"/v1/calls/{call}/audio", role=role).status_code == status
        assert api.ask("GET", f"/v1/calls/{call}/audio/concealed", role=role).status_code == status
        row = api.done("GET", f"/v1/calls/{call}", role=role)
        assert (row["detail"] is None, row["tracks"][0]["track"] is None) == (status == 410, status == 410)
    assert (api.found(Role.OFFICER), api.found(Role.AGENT)) == ([other.call], [])
    api.done("POST", f"/v1/holds/{hold}/release", {})
    assert api.ask("GET", f"/v1/calls/{call}/audio").status_code == 410
    assert api.named() == ["call_erased", "call_erased"]


def test_up_17_restriction_answers_423_shows_no_detail_and_tells_when_it_is_lifted(api: Api) -> None:
    call, _ = recorded(api.folder, api.store, api.store.tenant("acme"), 0.5)
    id = api.done("POST", f"/v1/calls/{call}/restriction", {"ground": "Art. 18(1)(a) GDPR"})["id"]
    assert api.ask("POST", f"/v1/calls/{call}/restriction", {}).status_code == 409
    for path in ("audio", "audio/concealed", "audio/opus"):
        assert api.ask("GET", f"/v1/calls/{call}/{path}").status_code == 423, path
    (row,) = api.done("GET", "/v1/calls")["calls"]
    assert row["restricted"] is True and "detail" not in row
    assert api.done("GET", f"/v1/calls/{call}")["tracks"] == []
    assert [one["id"] for one in api.done("GET", "/v1/restrictions")["restrictions"]] == [id]
    assert api.done("DELETE", f"/v1/calls/{call}/restriction") == {"id": id}
    assert api.ask("DELETE", f"/v1/calls/{call}/restriction").status_code == 404
    assert api.ask("GET", f"/v1/calls/{call}/audio").status_code == 200
    assert api.named() == ["call_restricted", "restriction_lifted"]
    assert api.hub.events[1].fields() == {"call": call, "restriction": id}


def test_a_restricted_call_is_found_by_officers_without_its_detail(api: Api) -> None:
    call, other = api.call(), api.call()
    api.done("POST", f"/v1/calls/{call.call}/restriction", {})
    assert (api.found(Role.OFFICER), api.found(Role.AGENT)) == ([other.call, call.call], [other.call])
    rows = api.done("POST", "/v1/calls/search", {"by": "number", "value": ANNA})["calls"]
    assert ["detail" in row for row in rows] == [True, False]
    page = api.done("POST", "/v1/calls/search", {"by": "number", "value": ANNA, "limit": 1}, Role.AGENT)
    assert len(page["calls"]) == 1
    certificate = api.done("POST", f"/v1/calls/{call.call}/erasure", {})
    assert verify_certificate(certificate, api.store.fingerprint())


def test_cl_15_consents_are_recorded_listed_and_withdrawn(api: Api) -> None:
    call = api.call()
    path = f"/v1/calls/{call.call}/consents"
    who = call.artefacts[0].ref.participant
    given = {
        "purpose": "training",
        "text": "version 3",
        "participant": who,
        "at": "2026-03-01T12:00:00Z",
        "how": "by key",
    }
    consent = api.done("POST", path, given)["id"]
    assert api.ask("POST", path, given).status_code == 409
    assert api.ask("POST", path, given | {"purpose": "advertising"}).status_code == 403
    assert api.ask("POST", path, given | {"at": "2026-03-01T12:00:00"}).status_code == 422
    certificate = api.done("POST", f"{path}/{consent}/withdrawal", {"how": "by letter"})
    assert verify_certificate(certificate, api.store.fingerprint())
    (found,) = api.done("GET", path)["consents"]
    assert found["given"]["given_at"] == "2026-03-01T12:00:00Z"
    assert (found["given"]["text"], found["withdrawn"]["how"]) == ("version 3", "by letter")
    assert api.store.document(call.tenant, call.artefacts[0].ref.artefact) == b"text"
    assert api.named() == ["consent_withdrawn"]
    assert api.ask("POST", f"{path}/{new_id()}/withdrawal", {}).status_code == 404


def test_withdrawing_the_consent_to_a_live_calls_recording_ends_it_first(api: Api) -> None:
    live = api.call(state=None)
    path = f"/v1/calls/{live.call}/consents"
    consent = api.done("POST", path, {"purpose": "quality", "text": "version 3"})["id"]

    def end(call: CallId) -> None:
        api.ended.append(call)
        api.store.put_documents(live, {}, CallState.NO_MEDIA)

    context: Context = api.client.app.state.context  # type: ignore[attr-defined]  # starlette types it as a callable
    object.__setattr__(context, "end_call", end)
    api.done("POST", f"{path}/{consent}/withdrawal", {})
    assert api.ended == [live.call]
    assert api.store.call(live.tenant, live.call).state is CallState.ERASED
    assert api.named() == ["consent_withdrawn", "call_erased"]


@pytest.mark.parametrize("role", [Role.AGENT, Role.WHIP])
def test_officers_only(api: Api, role: Role) -> None:
    call = api.call().call
    for method, path, body in (
        ("POST", "/v1/holds", {"calls": [call], "ground": CLAIM}),
        ("GET", "/v1/holds", None),
        ("POST", f"/v1/holds/{new_id()}/release", {}),
        ("POST", f"/v1/calls/{call}/restriction", {}),
        ("DELETE", f"/v1/calls/{call}/restriction", None),
        ("GET", "/v1/restrictions", None),
        ("POST", f"/v1/calls/{call}/consents", {"purpose": "training", "text": "3"}),
        ("GET", f"/v1/calls/{call}/consents", None),
        ("POST", f"/v1/calls/{call}/consents/{new_id()}/withdrawal", {}),
    ):
        assert api.ask(method, path, body, role).status_code == 403, path


def test_another_tenants_call_is_not_found(api: Api) -> None:
    call = api.call().call
    hold = api.done("POST", "/v1/holds", {"calls": [call], "ground": CLAIM})["id"]
    for method, path, body in (
        ("POST", "/v1/holds", {"calls": [call], "ground": CLAIM}),
        ("POST", f"/v1/holds/{hold}/release", {}),
        ("POST", f"/v1/calls/{call}/restriction", {}),
        ("DELETE", f"/v1/calls/{call}/restriction", None),
        ("POST", f"/v1/calls/{call}/consents", {"purpose": "training", "text": "3"}),
        ("GET", f"/v1/calls/{call}/consents", None),
        ("POST", f"/v1/calls/{call}/consents/{new_id()}/withdrawal", {}),
    ):
        assert api.ask(method, path, body, tenant="other").status_code == 404, path
    assert api.done("GET", "/v1/holds")["holds"][0]["released"] is False
    assert api.ended == []
