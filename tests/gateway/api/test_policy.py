"""A tenant's policy and page over the API: its own, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.events import Hub
from gateway.promises.effective import policy_of
from gateway.promises.page import Facts, version_of
from storage.policy.reading import as_json
from storage.recordings import Recordings
from storage.tokens import Role
from tests.gateway.promises.settings import tenant
from tests.gateway.store import opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Recordings]:
    with opened(tmp_path) as recordings:
        for name in ("upcall", "circleloop"):
            recordings.adopt(recordings.tenant(name), policy_of(tenant(profile=name)))
        yield recordings


@pytest.fixture
def client(store: Recordings) -> Iterator[TestClient]:
    facts = {store.tenant(name): Facts(name) for name in ("upcall", "circleloop")}
    context = Context(store, store.tokens, Hub(), lambda _call: None, list, dict, facts=facts.get)
    with TestClient(create_app(context), client=("127.0.0.1", 50000)) as client:
        yield client


def token(store: Recordings, of: str, role: Role = Role.AGENT) -> dict[str, str]:
    return {"Authorization": f"Bearer {store.tokens.create(store.tenant(of), role, 'test')}"}


@pytest.mark.parametrize("name", ["upcall", "circleloop"])
def test_each_tenant_reads_its_own_policy(client: TestClient, store: Recordings, name: str) -> None:
    found = client.get("/v1/policy", headers=token(store, name)).json()
    expected = policy_of(tenant(profile=name))
    assert found == {"version": version_of(expected), "policy": as_json(expected)}


def test_the_page_comes_in_each_language_and_format(client: TestClient, store: Recordings) -> None:
    headers = token(store, "upcall")
    plain = client.get("/v1/policy/page", headers=headers)
    assert plain.headers["content-type"] == "text/html; charset=utf-8"
    assert '<html lang="en">' in plain.text and "12 months" in plain.text
    dutch = client.get("/v1/policy/page?lang=nl&format=md", headers=headers)
    assert dutch.headers["content-type"] == "text/markdown; charset=utf-8"
    assert dutch.text.startswith("# Wat wij van gesprekken bewaren")
    assert client.get("/v1/policy/page?lang=fr", headers=headers).status_code == 422


@pytest.mark.parametrize("path", ["/v1/policy", "/v1/policy/page"])
def test_nobody_else_reads_it(client: TestClient, store: Recordings, path: str) -> None:
    assert client.get(path).status_code == 401
    assert client.get(path, headers=token(store, "upcall", Role.WHIP)).status_code == 403


def test_a_tenant_that_is_not_configured_any_more_has_a_policy_and_no_page(
    client: TestClient, store: Recordings
) -> None:
    headers = token(store, "gone")
    assert client.get("/v1/policy", headers=headers).json()["policy"]["name"] == "default"
    assert client.get("/v1/policy/page", headers=headers).status_code == 404
