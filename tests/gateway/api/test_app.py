"""The API over a real store: who may do what, and what is answered when the answer is no."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app, status_of
from gateway.api.context import Context
from gateway.api.limits import BODY_BYTES_MAX
from gateway.events import Hub
from storage import errors
from storage.model import CallId, Kind
from storage.recordings import Recordings
from storage.records import Derived
from storage.tokens import Role
from tests.gateway.store import opened, recorded
from transcription.model import Track, Transcript, Word
from transcription.redaction import redact

GROUND = {"ground": "Art. 17(1) GDPR"}


@dataclass
class Api:
    client: TestClient
    recordings: Recordings
    call: CallId
    ended: list[CallId]

    def token(self, role: Role, tenant: str = "acme") -> dict[str, str]:
        text = self.recordings.tokens.create(self.recordings.tenant(tenant), role, "test")
        return {"Authorization": f"Bearer {text}"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with opened(tmp_path) as recordings:
        tenant = recordings.tenant("acme")
        call, _ = recorded(tmp_path, recordings, tenant, 2.0)
        audio = recordings.call(tenant, call).find(Kind.AUDIO)[0].ref
        words = tuple(
            Word(text, i * 300, i * 300 + 250, 0.9) for i, text in enumerate(["my", "name", "is", "Peter", "Johnson"])
        )
        transcript = Transcript("en", "test", (Track(audio.participant, words),))
        redacted, _ = redact(transcript)
        items = [
            Derived(audio.participant, Kind.TRANSCRIPT, "quality", transcript.to_json()),
            Derived(audio.participant, Kind.REDACTED_TRANSCRIPT, "quality", redacted.to_json()),
        ]
        recordings.add_derived(tenant, call, [audio.artefact], items)
        ended: list[CallId] = []
        context = Context(recordings, recordings.tokens, Hub(), ended.append, list, lambda: {"calls_answered": 1})
        with TestClient(create_app(context), client=("127.0.0.1", 50000)) as client:
            yield Api(client, recordings, call, ended)


READS = ("", "/audio", "/audio/concealed", "/transcript", "/manifest")


@pytest.mark.parametrize("path", [*READS, "/transcript/original", "/certificate"])
def test_without_a_token_nothing_is_told(api: Api, path: str) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer cv_wrong"},
        {"Authorization": "Basic x"},
        {"Authorization": "Bearer"},
    ):
        answer = api.client.get(f"/v1/calls/{api.call}{path}", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("path", READS)
def test_every_role_but_that_of_senders_reads_its_tenants_calls(api: Api, role: Role, path: str) -> None:
    expected = 403 if role in (Role.WHIP, Role.OPERATOR) else 200
    assert api.client.get(f"/v1/calls/{api.call}{path}", headers=api.token(role)).status_code == expected


@pytest.mark.parametrize(("role", "expected"), [(Role.AGENT, 403), (Role.OFFICER, 200), (Role.ADMIN, 200)])
def test_originals_open_for_officers_only(api: Api, role: Role, expected: int) -> None:
    answer = api.client.get(f"/v1/calls/{api.call}/transcript/original", headers=api.token(role))
    assert answer.status_code == expected


def test_the_transcript_that_leaves_by_default_is_the_redacted_one(api: Api) -> None:
    text = api.client.get(f"/v1/calls/{api.call}/transcript", headers=api.token(Role.ADMIN)).text
    assert "Johnson" not in text
    assert "[PERSON 1]" in text
    original = api.client.get(f"/v1/calls/{api.call}/transcript/original", headers=api.token(Role.ADMIN)).text
    assert "Johnson" in original


@pytest.mark.parametrize("path", [*READS, "/transcript/original", "/certificate"])
def test_another_tenants_call_is_not_found(api: Api, path: str) -> None:
    answer = api.client.get(f"/v1/calls/{api.call}{path}", headers=api.token(Role.ADMIN, "beta"))
    assert answer.status_code == 404


@pytest.mark.parametrize("call", ["x", "A" * 32, "0" * 31, "..%2f..", "f" * 32])
def test_what_is_no_id_is_not_found(api: Api, call: str) -> None:
    assert api.client.get(f"/v1/calls/{call}", headers=api.token(Role.ADMIN)).status_code == 404


def test_an_agent_cannot_erase_and_another_tenants_officer_ends_nothing(api: Api) -> None:
    path = f"/v1/calls/{api.call}/erasure"
    assert api.client.post(path, json=GROUND, headers=api.token(Role.AGENT)).status_code == 403
    assert api.client.post(path, json=GROUND, headers=api.token(Role.ADMIN, "beta")).status_code == 404
    assert api.ended == []
    assert api.client.get(f"/v1/calls/{api.call}/audio", headers=api.token(Role.AGENT)).status_code == 200


def test_an_erased_call_is_gone_everywhere_and_its_certificate_stays(api: Api) -> None:
    officer = api.token(Role.OFFICER)
    certificate = api.client.post(f"/v1/calls/{api.call}/erasure", json=GROUND, headers=officer)
    assert certificate.status_code == 200
    for path in ("/audio", "/audio/concealed", "/transcript", "/transcript/original", "/manifest"):
        assert api.client.get(f"/v1/calls/{api.call}{path}", headers=officer).status_code == 410
    assert api.client.get(f"/v1/calls/{api.call}/certificate", headers=officer).json() == certificate.json()
    assert api.client.get("/v1/calls", headers=officer).json()["calls"][0]["state"] == "erased"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/calls?limit=0", None),
        ("GET", "/v1/calls?limit=100000", None),
        ("GET", "/v1/calls?before=x", None),
        ("POST", "/erasure", {"ground": ""}),
        ("POST", "/erasure", {"ground": "x" * 300}),
        ("POST", "/erasure", {"unknown": 1}),
        ("GET", "/audio?track=-1", None),
        ("GET", "/audio?track=x", None),
    ],
)
def test_bad_input_gets_a_clear_refusal(api: Api, method: str, path: str, body: object) -> None:
    url = path if path.startswith("/v1") else f"/v1/calls/{api.call}{path}"
    answer = api.client.request(method, url, json=body, headers=api.token(Role.ADMIN))
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_ranges_head_and_conditions_of_the_audio(api: Api) -> None:
    url, agent = f"/v1/calls/{api.call}/audio", api.token(Role.AGENT)
    whole = api.client.get(url, headers=agent)
    assert whole.headers["content-type"] == "audio/wav"
    assert whole.content[:4] == b"RIFF"
    head = api.client.head(url, headers=agent)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    part = api.client.get(url, headers=agent | {"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
    assert api.client.get(url, headers=agent | {"Range": "bytes=99999999-"}).status_code == 416
    stale = agent | {"Range": "bytes=0-9", "If-Range": '"other"'}
    assert api.client.get(url, headers=stale).status_code == 200
    fresh = agent | {"Range": "bytes=0-9", "If-Range": whole.headers["etag"]}
    assert api.client.get(url, headers=fresh).content == whole.content[:10]


def test_what_concealment_makes_up_is_told_beside_the_audio(api: Api, tmp_path: Path) -> None:
    agent = api.token(Role.AGENT)
    whole = f"/v1/calls/{api.call}/audio"
    (track,) = api.client.get(f"{whole}/concealed", headers=agent).json()["tracks"]
    assert (track["track"], track["concealed_ms"], track["complete"]) == (0, [], True)
    assert "link" not in api.client.head(f"{whole}?conceal=true", headers=agent).headers
    call, _ = recorded(tmp_path, api.recordings, api.recordings.tenant("acme"), 3.0, lost={60, 100, 101})
    lossy = f"/v1/calls/{call}/audio"
    assert "link" not in api.client.head(lossy, headers=agent).headers
    head = api.client.head(f"{lossy}?conceal=true&track=0", headers=agent)
    target, _, relation = head.headers["link"].partition("; ")
    assert relation == 'rel="describedby"'
    told = api.client.get(target.strip("<>"), headers=agent).json()
    assert told["call"] == call
    assert told["tracks"][0]["concealed_ms"] == [[1200, 1220], [2000, 2040]]
    assert api.client.get(f"{lossy}/concealed?track=1", headers=agent).status_code == 404
    assert api.client.get(f"{lossy}/concealed", headers=api.token(Role.AGENT, "beta")).status_code == 404
    file = api.client.get(f"{lossy}?conceal=true", headers=agent).content
    assert b"cue " in file[-400:] and b"concealed, channel 1" in file[-400:]


def test_a_revoked_token_opens_nothing(api: Api) -> None:
    agent = api.token(Role.AGENT)
    tenant = api.recordings.tenant("acme")
    api.recordings.tokens.revoke(tenant, api.recordings.tokens.list(tenant)[-1].id)
    assert api.client.get("/v1/calls", headers=agent).status_code == 401


def test_every_route_below_v1_is_described_and_needs_a_token(api: Api) -> None:
    paths = api.client.get("/openapi.json").json()["paths"]
    expected = {
        "/v1/calls",
        "/v1/calls/{call}/audio",
        "/v1/calls/{call}/audio/concealed",
        "/v1/events",
        "/health/ready",
    }
    assert expected <= set(paths)
    for path, methods in paths.items():
        for method in methods if path.startswith("/v1") else ():
            answer = api.client.request(
                method.upper(), path.replace("{call}", api.call), json=GROUND if method == "post" else None
            )
            assert answer.status_code == 401, path


def test_every_error_of_the_store_has_a_status() -> None:
    def below(kind: type[errors.StoreError]) -> Iterator[type[errors.StoreError]]:
        yield kind
        for child in kind.__subclasses__():
            yield from below(child)

    expected = {"NotFound": 404, "Erased": 410, "NotReady": 409, "OnHold": 409, "Unavailable": 503, "Tampered": 500}
    found = {kind.__name__: status_of(kind("x")) for kind in below(errors.StoreError)}
    assert expected.items() <= found.items()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused_unread(api: Api, chunked: bool) -> None:
    body = b'{"ground": "' + b"x" * BODY_BYTES_MAX + b'"}'
    content = iter([body[:1000], body[1000:]]) if chunked else body
    headers = api.token(Role.ADMIN) | {"Content-Type": "application/json"}
    answer = api.client.post(f"/v1/calls/{api.call}/erasure", content=content, headers=headers)
    assert answer.status_code == 413
    assert api.ended == []


def test_health_needs_no_token(api: Api) -> None:
    assert api.client.get("/health/live").json() == {"status": "live"}
    assert api.client.get("/health/ready").status_code == 200
    assert api.client.get("/health/counters").json() == {"calls_answered": 1}


@pytest.mark.parametrize("path", ["/pause", "/resume"])
def test_a_call_that_is_over_cannot_be_paused_and_another_tenants_is_not_found(api: Api, path: str) -> None:
    url = f"/v1/calls/{api.call}{path}"
    assert api.client.post(url).status_code == 401
    assert api.client.post(url, headers=api.token(Role.AGENT)).status_code == 409
    assert api.client.post(url, headers=api.token(Role.ADMIN, "beta")).status_code == 404
