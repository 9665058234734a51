"""`callvault sweep`, `explain`, and `tenant close`, as an administrator meets them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.cli import main
from gateway.events import Hub
from gateway.promises.explained import lines
from storage.closings import State
from storage.model import CallId, Kind
from storage.policy.library import profile
from storage.policy.overrides import overridden
from storage.recordings import Recordings
from storage.tokens import Role
from tests.storage.ages import Clock, aged, at
from tests.storage.stores import ACTOR, GROUND, open_at, stored_call


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return written(tmp_path, "circleloop")


def written(folder: Path, name: str) -> Path:
    file = folder / "callvault.toml"
    file.write_text(
        f'data = "{folder}/data"\n'
        f'[store]\nobjects = "file:{folder}/data/objects"\nkeys = "file:{folder}/keys"\n'
        f'[[tenants]]\nname = "acme"\nprofile = "{name}"\npurpose = "service"\nzone = "Europe/London"\n'
        'record = "all"\nannouncement = "/a.wav"\n'
        '[[trunks]]\nname = "t"\ntenant = "acme"\nsources = ["127.0.0.0/8"]\n'
    )
    return file


def run(capsys: pytest.CaptureFixture[str], config: Path, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([*words, "--config", str(config)])
    told = capsys.readouterr()
    return status, told.out, told.err


def state(folder: Path) -> State | None:
    with open_at(folder) as store:
        found = store.closings.of(store.tenant("acme"))
        return None if found is None else found.state


def test_a_tenant_is_closed_shown_and_reopened(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_at(tmp_path) as store:
        store.adopt(store.tenant("acme"), overridden(profile("circleloop"), [], "Europe/London"))
    status, out, _ = run(capsys, config, "tenant", "close", "acme", "--ground", "the contract has ended")
    assert status == 0 and "the keys of all content are destroyed at" in out and "it can be reopened" in out
    assert state(tmp_path) is State.CLOSED
    status, out, _ = run(capsys, config, "tenant")
    assert status == 0 and "    closed\n" in out and "no new calls from" in out
    status, _, err = run(capsys, config, "tenant", "close", "acme", "--ground", "again")
    assert status == 1 and "already" in err
    status, out, _ = run(capsys, config, "tenant", "close", "acme", "--reopen", "--ground", "they stay")
    assert status == 0 and "is open again" in out
    assert state(tmp_path) is None


def test_without_a_grace_it_is_destroyed_before_the_command_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, "cloudtalk")
    with open_at(tmp_path) as store:
        tenant = store.tenant("acme")
        store.adopt(tenant, overridden(profile("cloudtalk"), [], "Europe/London"))
        stored_call(store, tenant)
    status, out, _ = run(capsys, config, "tenant", "close", "acme", "--ground", "uninstalled")
    assert status == 0 and "its content is destroyed" in out
    assert list((tmp_path / "keys").glob(f"{tenant}-content-*.key")) == []
    assert state(tmp_path) is State.EMPTIED, "the configuration still names it"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("nobody", "--ground", "x"), "is not in the configuration"),
        (("acme", "--ground", "x", "--at", "2020-01-01"), "now or later"),
        (("acme", "--ground", "x", "--at", "soon"), "YYYY-MM-DD"),
        (("acme", "--ground", "asked by jan@example.org"), "name no number"),
        (("acme", "--reopen", "--ground", "x"), "is not closed"),
    ],
)
def test_what_cannot_be_closed_is_refused(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str
) -> None:
    status, _, err = run(capsys, config, "tenant", "close", *words)
    assert status in (1, 2) and problem in err
    assert state(tmp_path) is None


def test_sweep_shows_what_is_over_and_then_destroys_it(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    past = Clock(at("2020-01-10T12:00"))
    with aged(tmp_path, past) as store:
        tenant = store.tenant("acme")
        store.adopt(tenant, overridden(profile("speakup"), [], "Europe/London"))
        stored_call(store, tenant)
    status, out, _ = run(capsys, config, "sweep", "--dry-run")
    assert status == 1 and out.startswith("acme: ") and "2020-01-10 audio for recording" in out
    status, out, _ = run(capsys, config, "sweep", "--json")
    assert status == 0 and json.loads(out) == {"dropped": 3, "emptied": 0, "left": 0, "doubts": []}
    assert list((tmp_path / "keys").glob(f"{tenant}-content-0.key")) == []
    assert run(capsys, config, "sweep", "--dry-run")[0] == 0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Recordings]:
    with aged(tmp_path, Clock(at("2026-03-10T12:00"))) as opened:
        opened.adopt(opened.tenant("acme"), overridden(profile("speakup"), [], "Europe/Amsterdam"))
        yield opened


def test_explain_tells_officers_of_each_artefact_until_when_and_by_which_rule(store: Recordings) -> None:
    tenant = store.tenant("acme")
    call = stored_call(store, tenant)

    def ended(_call: CallId) -> None:
        """No call is live here."""

    app = create_app(Context(store, store.tokens, Hub(), ended, list, dict))
    with TestClient(app) as client:
        path = f"/v1/calls/{call.call}/retention"

        def ask(role: Role, name: str = "acme") -> tuple[int, dict[str, object]]:
            token = store.tokens.create(store.tenant(name), role, "test")
            answer = client.get(path, headers={"Authorization": f"Bearer {token}"})
            return answer.status_code, answer.json()

        assert ask(Role.AGENT)[0] == 403 and ask(Role.OFFICER, "other")[0] == 404
        status, found = ask(Role.OFFICER)
        assert status == 200 and found["zone"] == "Europe/Amsterdam" and found["closing"] is None
        artefacts = found["artefacts"]
        assert isinstance(artefacts, list)
        until = {one["kind"]: one["until"] for one in artefacts}
        assert until["audio"] == "2026-07-10T01:00:00+02:00" and until["call_detail"] == "2026-06-10T01:00:00+02:00"
        (rule,) = next(one for one in artefacts if one["kind"] == "audio")["purposes"]
        assert (rule["rule"], rule["because"], rule["term"]) == ("SP-04", "profile", "4 months")
        told = "\n".join(lines(found))
        assert "for recording until 2026-07-10T01:00:00+02:00: 4 months, profile SP-04" in told
        store.closings.close(tenant, "the contract has ended", ACTOR)
        assert "its tenant left as of" in lines(ask(Role.OFFICER)[1])[1]
        store.erase_call(tenant, call.call, ground=GROUND, actor=ACTOR)
        status, found = ask(Role.OFFICER)
        assert status == 200 and found["state"] == "erased"
        assert lines(found)[-1].startswith("erased 2026-03-10T12:00:00Z by call ")
    assert Kind.AUDIO.value not in lines(found)[-1]


def test_ip_12_keys_are_replaced_by_command_and_everything_still_opens(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_at(tmp_path) as store:
        call = stored_call(store, store.tenant("acme"))
    status, out, _ = run(capsys, config, "tenant", "rotate", "acme")
    assert status == 0 and "replaced" in out
    assert run(capsys, config, "tenant", "rotate", "nobody")[0] == 2
    with open_at(tmp_path) as store:
        assert store.document(call.tenant, call.find(Kind.IDENTITY).ref.artefact) == b"identity"
    assert [path.name for path in (tmp_path / "keys").glob(f"{call.tenant}-content-*")] == [
        f"{call.tenant}-content-1.key"
    ]
