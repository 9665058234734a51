"""`callvault hold`, `restrict` and `consent` against a running API."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.api.server import ApiServer
from gateway.cli import main
from gateway.events import Hub
from storage.ledger import verify_certificate
from storage.model import CallId, Kind
from storage.recordings import Recordings
from storage.tokens import Role
from tests.gateway.store import opened, recorded

CLAIM = "claim 2026-7 before the court"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recordings]:
    """A store whose API runs, and whose address and token stand in the environment."""
    with opened(tmp_path) as recordings:
        context = Context(recordings, recordings.tokens, Hub(), lambda _call: None, list, dict)
        server = ApiServer(create_app(context), ("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        while not server.started:
            thread.join(0.01)
        monkeypatch.setenv("CALLVAULT_URL", f"http://127.0.0.1:{server.port}")
        token = recordings.tokens.create(recordings.tenant("acme"), Role.OFFICER, "test")
        monkeypatch.setenv("CALLVAULT_TOKEN", token)
        yield recordings
        server.should_exit = True
        thread.join()


@pytest.fixture
def call(store: Recordings, tmp_path: Path) -> CallId:
    return recorded(tmp_path, store, store.tenant("acme"), 0.5)[0]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    told = capsys.readouterr()
    return status, told.out, told.err


def test_a_hold_is_placed_listed_and_released(
    store: Recordings, call: CallId, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "hold", "place", call)[0] == 1
    status, out, _ = run(capsys, "hold", "place", call, "--ground", CLAIM)
    hold = out.strip()
    assert status == 0
    listed = run(capsys, "hold", "list")[1]
    assert hold in listed and CLAIM in listed and call in listed
    status, _, err = run(capsys, "erase", call, "--yes")
    assert status == 1 and CLAIM in err
    assert run(capsys, "hold", "release", hold)[0] == 1  # nobody has said yes
    status, out, _ = run(capsys, "hold", "release", hold, "--yes")
    assert status == 0 and verify_certificate(json.loads(out), store.fingerprint())
    assert run(capsys, "hold", "list")[1] == ""
    assert "released" in run(capsys, "hold", "list", "--all")[1]


def test_a_call_is_restricted_and_the_restriction_lifted(
    store: Recordings, call: CallId, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "restrict", call)[0] == 0
    assert call in run(capsys, "restrict")[1]
    status, _, err = run(capsys, "get", call, "audio", "--output", str(tmp_path / "x.wav"))
    assert status == 1 and "423 Restricted" in err
    assert not (tmp_path / "x.wav").exists()
    assert run(capsys, "restrict", call, "--lift")[0] == 0
    assert run(capsys, "restrict", call, "--lift")[0] == 1
    assert run(capsys, "get", call, "audio", "--output", str(tmp_path / "x.wav"))[0] == 0


def test_a_consent_is_given_listed_and_withdrawn(
    store: Recordings, call: CallId, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "consent", "give", call)[0] == 1
    (audio,) = store.call(store.tenant("acme"), call).find(Kind.AUDIO)
    given = ("--purpose", "training", "--text", "version 3", "--participant", audio.ref.participant)
    status, out, _ = run(capsys, "consent", "give", call, *given, "--at", "2026-03-01T12:00:00Z", "--how", "by key")
    consent = out.strip()
    assert status == 0
    listed = run(capsys, "consent", "list", call)[1]
    assert consent in listed and "training, text version 3, given 2026-03-01T12:00:00Z  stands" in listed
    assert run(capsys, "consent", "withdraw", call)[0] == 1
    status, out, _ = run(capsys, "consent", "withdraw", call, consent, "--how", "by letter", "--yes")
    assert status == 0 and verify_certificate(json.loads(out), store.fingerprint())
    assert "withdrawn" in run(capsys, "consent", "list", call)[1]


def test_a_part_is_erased_and_the_certificate_comes_as_a_vcon_that_verify_takes(
    store: Recordings, call: CallId, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "erase", "--purpose", "training", "--form", "vcon", "--yes")[0] == 1  # nothing is destroyed
    status, out, _ = run(capsys, "erase", call, "--kind", "audio", "--form", "vcon", "--yes")
    assert status == 0 and {"payload", "signatures"} == json.loads(out).keys()
    file = tmp_path / "call.vcon"
    assert run(capsys, "get", call, "certificate", "--form", "vcon", "--output", str(file))[0] == 0
    for text in (out, file.read_text()):
        file.write_text(text)
        status, found, _ = run(capsys, "verify", str(file), "--fingerprint", store.fingerprint())
        assert status == 0 and f"artefact (1 artefacts, call {call})" in found and "filed as vCon" in found
    file.write_text(out.replace('"payload": "e', '"payload": "f'))
    assert run(capsys, "verify", str(file), "--fingerprint", store.fingerprint())[0] == 1
