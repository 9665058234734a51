"""Erasing by person, part and purpose over the API: what would go is shown first, and only that goes."""

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
from gateway.events import Hub
from storage.confirmation import VALID_S
from storage.evidence import verify_file
from storage.ledger import verify_certificate
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, ParticipantId, new_id
from storage.recordings import Recordings
from storage.records import Identifier, NewCall, Wanted
from storage.tokens import Role

ANNA, BERT, LINE = "+31201234567", "+31207654321", "+442079460456"


@dataclass
class Clock:
    now_s: float = 1.8e9

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Api:
    """The API over a store with a clock of its own, and what it was told to end."""

    client: TestClient
    store: Recordings
    clock: Clock
    ended: list[CallId] = field(default_factory=list)

    def post(self, path: str, body: dict[str, Any], role: Role = Role.OFFICER, tenant: str = "acme") -> httpx2.Response:
        token = self.store.tokens.create(self.store.tenant(tenant), role, "test")
        return self.client.post(f"/v1/erasures{path}", json=body, headers={"Authorization": f"Bearer {token}"})

    def match(self, value: str, **more: Any) -> dict[str, Any]:
        answer = self.post("/match", {"by": "number", "value": value}, **more)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def call(
        self, caller: str, name: str = "", called: str = LINE, state: CallState | None = CallState.ENDED
    ) -> CallId:
        tenant, people = self.store.tenant("acme"), [ParticipantId(new_id()), NO_PARTICIPANT, NO_PARTICIPANT]
        kinds = (Kind.TRANSCRIPT, Kind.IDENTITY, Kind.CALL_DETAIL)
        wanted = [Wanted(who, kind, "quality") for who, kind in zip(people, kinds, strict=True)]
        begun = self.store.begin(tenant, CallId(new_id()), wanted)
        found = tuple(Identifier(Sort.NUMBER.value, number) for number in (caller, called))
        new = NewCall(tenant, begun.call, begun.day, begun.artefacts, found)
        self.store.save([new])
        identity = {"display": name, "from_uri": f"sip:{caller}@a", "request_uri": f"sip:{called}@b"}
        documents = {
            new.find(Kind.IDENTITY).ref.artefact: json.dumps(identity).encode(),
            new.find(Kind.CALL_DETAIL).ref.artefact: json.dumps({"from": caller, "to": called}).encode(),
            new.artefacts[0].ref.artefact: b"text",
        }
        self.store.put_documents(new, documents, state)
        return new.call

    def states(self, *calls: CallId) -> list[CallState]:
        return [self.store.call(self.store.tenant("acme"), call).state for call in calls]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    clock = Clock()
    objects, keys = f"file:{tmp_path / 'objects'}", f"file:{tmp_path / 'keys'}"
    with Recordings.open(tmp_path / "data", keys, objects, node="test", clock=clock) as store:
        ended: list[CallId] = []
        context = Context(store, store.tokens, Hub(), ended.append, list, dict)
        with TestClient(create_app(context), client=("127.0.0.1", 50000)) as client:
            yield Api(client, store, clock, ended)


def person(value: str, token: str, **more: Any) -> dict[str, Any]:
    return {"scope": "person", "by": "number", "value": value, "token": token, **more}


def test_ct_02_ip_10_the_match_set_is_shown_first_and_its_token_carries_it_out(api: Api) -> None:
    first, other, second = api.call(ANNA, "Anna"), api.call(BERT, "Bert"), api.call(ANNA, "Anna")
    found = api.match("+31 20 123 45 67")
    assert found["calls"] == [second, first]
    assert [row["detail"]["from"] for row in found["shown"]] == [ANNA, ANNA]
    assert found["shared"] == []
    answer = api.post("", person(ANNA, found["token"]))
    assert answer.status_code == 200, answer.text
    assert verify_certificate(answer.json(), api.store.fingerprint())
    assert ANNA[3:] not in answer.text
    assert api.states(first, second, other) == [CallState.ERASED, CallState.ERASED, CallState.ENDED]
    assert api.match(ANNA)["calls"] == []
    assert api.ended == [second, first]


def test_the_certificate_of_one_call_is_to_be_had_as_a_vcon_and_that_of_several_is_not(api: Api) -> None:
    first, _ = api.call(ANNA, "Anna"), api.call(ANNA, "Anna")
    several = api.post("", person(ANNA, api.match(ANNA)["token"])).json()
    one = api.post("", {"scope": "purpose", "purpose": "quality", "calls": [api.call(BERT)]}).json()
    token = api.store.tokens.create(api.store.tenant("acme"), Role.OFFICER, "test")

    def get(path: str) -> httpx2.Response:
        return api.client.get(path, headers={"Authorization": f"Bearer {token}"})

    erasure = one["entries"][0]["body"]["erasure"]
    answer = get(f"/v1/erasures/{erasure}/certificate?form=vcon")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vcon")
    assert verify_file(answer.content, api.store.fingerprint())
    assert get(f"/v1/erasures/{erasure}/certificate").json() == one
    refused = get(f"/v1/erasures/{several['entries'][0]['body']['erasure']}/certificate?form=vcon")
    assert (refused.status_code, refused.json()["error"]) == (406, "NotOneCall")
    assert get(f"/v1/calls/{first}/certificate").json() == several
    assert get(f"/v1/calls/{first}/certificate?form=vcon").status_code == 406
    assert get(f"/v1/calls/{first}/certificate?form=pdf").status_code == 422


def test_ip_10_a_shared_number_asks_for_a_decision(api: Api) -> None:
    annas, berts = api.call(ANNA, "Anna"), api.call(ANNA, "Bert")
    found = api.match(ANNA)
    assert found["shared"] == ["callers with 2 different names have used it"]
    refused = api.post("", person(ANNA, found["token"]))
    assert (refused.status_code, "decision" in refused.text) == (403, True)
    assert api.states(annas, berts) == [CallState.ENDED] * 2
    stranger = api.call(BERT)
    assert api.post("", person(ANNA, found["token"], calls=[stranger])).status_code == 403
    assert api.post("", person(ANNA, found["token"], calls=[annas])).status_code == 200
    assert api.states(annas, berts, stranger) == [CallState.ERASED, CallState.ENDED, CallState.ENDED]


def test_a_line_that_people_call_looks_shared(api: Api) -> None:
    api.call(ANNA), api.call(BERT)
    assert api.match(LINE)["shared"] == ["it was called 2 times: it may be a line that several people answer"]


@pytest.mark.parametrize("token", ["", "00" * 40, "zz" * 40, "00" * 41])
def test_without_the_token_of_this_very_set_nothing_is_erased(api: Api, token: str) -> None:
    call = api.call(ANNA)
    assert api.post("", person(ANNA, token)).status_code == 403
    assert api.states(call) == [CallState.ENDED]


def test_a_match_set_that_has_changed_is_to_be_looked_at_again(api: Api) -> None:
    before = api.call(ANNA)
    token = api.match(ANNA)["token"]
    since = api.call(ANNA)
    refused = api.post("", person(ANNA, token))
    assert (refused.status_code, "another set" in refused.text) == (403, True)
    token = api.match(ANNA)["token"]
    api.clock.now_s += VALID_S + 1
    assert "older" in api.post("", person(ANNA, token)).text
    assert api.states(before, since) == [CallState.ENDED] * 2


def test_a_token_is_of_one_tenant_and_officers_only(api: Api) -> None:
    call = api.call(ANNA)
    token = api.match(ANNA)["token"]
    assert api.match(ANNA, tenant="other")["calls"] == []
    assert api.post("", person(ANNA, token), tenant="other").status_code == 403
    for role in (Role.AGENT, Role.WHIP):
        assert api.post("/match", {"by": "number", "value": ANNA}, role).status_code == 403
        assert api.post("", person(ANNA, token), role).status_code == 403
    assert api.states(call) == [CallState.ENDED]


def test_up_16_kinds_of_a_call_are_erased_and_the_rest_stays(api: Api) -> None:
    call = api.call(ANNA)
    certificate = api.post("", {"scope": "artefact", "call": call, "kinds": ["transcript"]}).json()
    assert certificate["entries"][1]["body"]["survivors"]["others"] == {"call_detail": 1, "identity": 1}
    kinds = [artefact.ref.kind for artefact in api.store.call(api.store.tenant("acme"), call).artefacts]
    assert kinds == [Kind.IDENTITY, Kind.CALL_DETAIL]
    assert api.post("", {"scope": "artefact", "call": call, "kinds": ["transcript"]}).status_code == 404
    assert api.post("", {"scope": "artefact", "call": call}).status_code == 422
    assert api.post("", {"scope": "participant", "call": call}).status_code == 422


def test_a_participant_is_erased_and_their_certificate_can_be_had_again(api: Api) -> None:
    call = api.call(ANNA)
    tenant = api.store.tenant("acme")
    (text,) = api.store.call(tenant, call).find(Kind.TRANSCRIPT)
    certificate = api.post("", {"scope": "participant", "call": call, "participant": text.ref.participant}).json()
    erasure = certificate["entries"][0]["body"]["erasure"]
    token = api.store.tokens.create(tenant, Role.OFFICER, "test")
    headers = {"Authorization": f"Bearer {token}"}
    assert api.client.get(f"/v1/erasures/{erasure}/certificate", headers=headers).json() == certificate
    assert api.client.get(f"/v1/erasures/{new_id()}/certificate", headers=headers).status_code == 404


def test_a_purpose_is_erased(api: Api) -> None:
    calls = [api.call(ANNA), api.call(BERT)]
    assert api.post("", {"scope": "purpose", "purpose": "quality", "calls": [calls[0]]}).status_code == 200
    assert api.states(*calls) == [CallState.ERASED, CallState.ENDED]
    assert api.post("", {"scope": "purpose", "purpose": "training"}).status_code == 200
    assert api.states(*calls) == [CallState.ERASED, CallState.ENDED]
    assert api.post("", {"scope": "purpose", "purpose": "quality"}).status_code == 200
    assert api.states(*calls) == [CallState.ERASED, CallState.ERASED]
