"""Calls are found by number and identifiers, by whom it may concern; a withheld number shows nowhere."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.calls import shown
from gateway.api.context import Context
from gateway.calls.call import Parties
from gateway.calls.identifiers import Sort
from gateway.events import Hub
from gateway.operations.logs import JsonFormatter
from storage.model import CallId
from storage.tokens import Role
from tests.gateway.calls.test_switchboard import PARTIES, Bench, bench, offer

CALLER, CALLED, WITHHELD = "+31201234567", "+442079460456", "+31207654321"
SESSION = "ab30317f1a784dc48ff824d0d3715d86"
UCID = "000100014e4a5d6c"
OPEN = replace(
    PARTIES,
    from_uri=f"sip:{CALLER}@carrier.example;user=phone",
    request_uri=f"sip:{CALLED}@test",
    found_by=((Sort.CALL_ID, "a84b4c76e66710@pc33"), (Sort.SESSION_ID, SESSION), (Sort.UCID, UCID)),
)
PRIVATE = replace(
    OPEN,
    from_user=WITHHELD,
    from_uri=f"sip:{WITHHELD}@carrier.example",
    from_display="Wilma Withheld",
    asserted_uri=f"tel:{WITHHELD}",
    private=True,
    found_by=((Sort.CALL_ID, f"{WITHHELD}-17@pc33"), (Sort.HEADER, f"ani {WITHHELD}"), (Sort.HEADER, "order 4711")),
)


class Found:
    """Two calls of one tenant, one by a caller who withholds the number, behind the API."""

    def __init__(self, b: Bench, client: TestClient, open_call: CallId, private_call: CallId) -> None:
        self._bench, self.client, self.open, self.private = b, client, open_call, private_call

    def headers(self, role: Role, tenant: str = "default") -> dict[str, str]:
        recordings = self._bench.recordings
        return {"Authorization": f"Bearer {recordings.tokens.create(recordings.tenant(tenant), role, 'test')}"}

    def ask(self, role: Role, by: str, value: str, tenant: str = "default", **more: object) -> httpx2.Response:
        body = {"by": by, "value": value, **more}
        return self.client.post("/v1/calls/search", json=body, headers=self.headers(role, tenant))

    def search(self, role: Role, by: str, value: str, tenant: str = "default", **more: object) -> list[str]:
        answer = self.ask(role, by, value, tenant, **more)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()["calls"]]


def with_two_calls(folder: Path, check: Callable[[Found], None]) -> None:
    async def taken(b: Bench, parties: Parties, learned: str) -> CallId:
        call = b.board.begin(b.match(), offer(), parties)
        b.answer(call, offer())
        assert call.saved is not None
        await call.saved
        call.identifiers.add(Sort.SIPREC, learned)  # as it comes with metadata, while the call stands
        b.board.end(call, "bye")
        await b.board.settled(5)
        return call.id

    async def work() -> None:
        async with bench(folder) as b:
            calls = [await taken(b, OPEN, "first"), await taken(b, PRIVATE, "second")]
            context = Context(b.recordings, b.recordings.tokens, Hub(), lambda call: None, list, dict)
            with TestClient(create_app(context), client=("127.0.0.1", 50000)) as client:
                check(Found(b, client, *calls))

    asyncio.run(work())


READERS = [role for role in Role if role not in (Role.WHIP, Role.OPERATOR)]  # one only sends, one is no tenant's


@pytest.fixture
def records() -> Iterator[io.StringIO]:
    """Everything that the program logs, at the lowest level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


def test_sp_11_calls_are_found_and_withheld_numbers_shown_to_nobody(tmp_path: Path, records: io.StringIO) -> None:
    def check(found: Found) -> None:
        both = [found.private, found.open]
        for role in READERS:
            assert found.search(role, "number", CALLER) == [found.open]
            assert found.search(role, "number", "+31 20 123 45 67") == [found.open]
            assert found.search(role, "number", CALLED) == both
            assert found.search(role, "number", CALLED, limit=1) == [found.private]
            assert found.search(role, "number", CALLED, limit=1, before=found.private) == [found.open]
            assert found.search(role, "number", CALLED, before=found.open) == []
            assert found.search(role, "uri", f"sip:{CALLED}@TEST:5060") == both
            assert found.search(role, "call_id", "a84b4c76e66710@pc33") == [found.open]
            assert found.search(role, "session_id", SESSION.upper()) == [found.open]
            assert found.search(role, "ucid", "00001000011313496428") == [found.open]
            assert found.search(role, "siprec", "second") == [found.private]
            assert found.search(role, "header", "order 4711") == [found.private]
            assert found.search(role, "guid", SESSION) == []
            assert found.search(role, "number", CALLER, tenant="beta") == []
        telling = [
            ("number", WITHHELD),
            ("uri", f"sip:{WITHHELD}@carrier.example"),
            ("call_id", f"{WITHHELD}-17@pc33"),
            ("header", f"ani {WITHHELD}"),
        ]
        for by, value in telling:
            assert found.search(Role.AGENT, by, value) == []  # or asking would be a way to read it
            assert found.search(Role.OFFICER, by, value) == found.search(Role.ADMIN, by, value) == [found.private]
        for path in ("/v1/calls", f"/v1/calls/{found.private}", f"/v1/calls/{found.private}/manifest"):
            for role in READERS:
                answer = found.client.get(path, headers=found.headers(role))
                shown = answer.text + json.dumps(dict(answer.headers))
                assert WITHHELD[3:] not in shown
                assert "Wilma" not in shown
        assert CALLER in found.client.get("/v1/calls", headers=found.headers(Role.AGENT)).text

    with_two_calls(tmp_path, check)
    for planted in (WITHHELD[3:], CALLER[3:], "Wilma", SESSION, UCID):
        assert planted not in records.getvalue()
        for path in tmp_path.rglob("*"):
            assert planted not in path.name
            assert not path.is_file() or planted.encode() not in path.read_bytes()


def test_questions_that_cannot_be_asked_are_refused(tmp_path: Path) -> None:
    def check(found: Found) -> None:
        bad = [
            {"by": "name", "value": "Wilma"},
            {"by": "number"},
            {"by": "number", "value": ""},
            {"by": "number", "value": "1" * 257},
            {"by": "session_id", "value": "not hexadecimal"},
            {"by": "ucid", "value": "12"},
            {"by": "number", "value": CALLER, "limit": 0},
            {"by": "number", "value": CALLER, "before": "x"},
            {"by": "number", "value": CALLER, "tenant": "beta"},
        ]
        officer = found.headers(Role.OFFICER)
        for body in bad:
            assert found.client.post("/v1/calls/search", json=body, headers=officer).status_code == 422, body
        assert found.client.post("/v1/calls/search", json={"by": "number", "value": CALLER}).status_code == 401
        assert found.ask(Role.OFFICER, "number", CALLER, before="f" * 32).status_code == 404
        assert found.ask(Role.OFFICER, "number", CALLER, tenant="beta", before=found.open).status_code == 404

    with_two_calls(tmp_path, check)


def test_an_erased_call_is_found_no_more(tmp_path: Path) -> None:
    def check(found: Found) -> None:
        officer = found.headers(Role.OFFICER)
        ground = {"ground": "Art. 17(1) GDPR"}
        assert found.client.post(f"/v1/calls/{found.open}/erasure", json=ground, headers=officer).status_code == 200
        assert found.search(Role.OFFICER, "number", CALLER) == found.search(Role.OFFICER, "siprec", "first") == []
        assert found.search(Role.OFFICER, "number", CALLED) == [found.private]

    with_two_calls(tmp_path, check)


def test_sp_11_call_detail_of_an_earlier_release_does_not_show_a_withheld_number_either() -> None:
    assert shown({"from": WITHHELD, "to": CALLED, "private": True}) == {"from": None, "to": CALLED, "private": True}
    assert shown({"from": CALLER, "private": False})["from"] == CALLER
