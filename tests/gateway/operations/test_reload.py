"""A reload changes everything that was asked for, or nothing at all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Settings, load
from gateway.errors import ConfigError, Unavailable
from gateway.operations.notify import Notifier
from gateway.operations.reload import Outcome, Reloader, plan

TENANT = {"name": "acme"}
TRUNK = {"name": "carrier", "tenant": "acme", "sources": ["192.0.2.0/24"]}


def settings(**changes: Any) -> Settings:
    return Settings.model_validate({"tenants": [TENANT], "trunks": [TRUNK]} | changes)


class File:
    """A configuration file, a reloader of it, and what was applied."""

    def __init__(self, path: Path, prepare: Callable[[Settings], None] = lambda new: None) -> None:
        self.path = path
        self.applied: list[Settings] = []
        path.write_text(
            '[[tenants]]\nname = "acme"\n[[trunks]]\nname = "a"\ntenant = "acme"\nsources = ["192.0.2.1"]\n'
        )
        first = load(path, {}).settings
        self.reloader = Reloader(first, lambda: load(path, {}), prepare, self.applied.append, Notifier(None))

    def reload(self) -> Outcome:
        return asyncio.run(self.reloader.reload())


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "callvault.toml")


def test_nothing_changed_is_no_change() -> None:
    assert plan(settings(), settings()) == plan(settings(), settings())
    assert plan(settings(), settings()).changed == ()


def test_what_changed_is_told_by_key_and_name() -> None:
    new = settings(tenants=[TENANT | {"language": "nl"}, {"name": "beta"}], trunks=[TRUNK | {"nat": True}])
    assert plan(settings(), new).changed == ("tenants.acme", "trunks.carrier", "tenants.beta")
    assert plan(settings(), new).restart == ()


def test_what_needs_a_restart_is_told_by_key() -> None:
    new = settings(sip={"listen": "127.0.0.1:5070"}, media={"port_first": 30000}, log={"level": "debug"})
    assert plan(settings(), new).restart == ("sip.listen", "media.port_first")
    assert plan(settings(), new).changed == ("log.level",)


def test_another_certificate_needs_no_restart() -> None:
    def secure(name: str) -> dict[str, Any]:
        return {"transports": ["tls"], "tls": {"certificate": f"/etc/{name}.crt", "key": f"/etc/{name}.key"}}

    found = plan(settings(sip=secure("old")), settings(sip=secure("new")))
    assert (found.changed, found.restart) == (("sip.tls.certificate", "sip.tls.key"), ())


def test_a_changed_secret_is_a_change_and_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    def trunk(digit: str) -> dict[str, Any]:
        return TRUNK | {"users": [{"name": "u", "sha256": digit * 64}]}

    found = plan(settings(trunks=[trunk("a")]), settings(trunks=[trunk("b")]))
    assert found.changed == ("trunks.carrier",)
    assert "bbbb" not in repr(found)


def test_a_good_file_is_applied_and_what_runs_is_the_new_one(file: File) -> None:
    file.path.write_text(file.path.read_text().replace("192.0.2.1", "192.0.2.2"))
    assert file.reload() == Outcome(True, ("trunks.a",))
    assert file.applied == [file.reloader.settings]
    assert file.reloader.settings.trunks[0].sources == ("192.0.2.2/32",)
    assert file.reload() == Outcome(True, ())


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (("192.0.2.1", "nowhere"), "trunks.0.sources"),
        (('tenant = "acme"', 'tenant = "other"'), "configuration"),
        (("[[trunks]]", "[sip]\ncalls_max = 7\n[[trunks]]"), "sip.calls_max"),
        (("[[trunks]]", "[[trunks"), ""),
    ],
)
def test_a_bad_file_changes_nothing_and_says_why(
    file: File, change: tuple[str, str], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = file.reloader.settings
    file.path.write_text(file.path.read_text().replace(*change).replace('name = "a"', 'name = "b"'))
    outcome = file.reload()
    assert not outcome.applied
    assert any(problem.startswith(key) for problem in outcome.problems)
    assert file.applied == []
    assert file.reloader.settings is before
    (record,) = caplog.records
    assert record.levelno == logging.ERROR


def test_what_cannot_be_prepared_changes_nothing(tmp_path: Path) -> None:
    def refuse(new: Settings) -> None:
        raise Unavailable("no key service") if len(new.tenants) > 1 else ConfigError(["tenants.0.announcement: gone"])

    file = File(tmp_path / "callvault.toml", refuse)
    assert file.reload().problems == ("tenants.0.announcement: gone",)
    file.path.write_text(file.path.read_text() + '[[tenants]]\nname = "beta"\n')
    assert file.reload().problems == ("Unavailable: no key service",)
    assert file.applied == []


def test_the_log_tells_keys_and_no_values(file: File, caplog: pytest.LogCaptureFixture) -> None:
    file.path.write_text(file.path.read_text().replace("192.0.2.1", "+31612345678"))
    file.reload()
    told = json.dumps([vars(record) for record in caplog.records], default=str)
    assert "trunks.0.sources" in told
    assert "612345678" not in told


def test_reloads_that_are_asked_for_at_once_become_one(file: File) -> None:
    async def run() -> None:
        task = asyncio.create_task(file.reloader.run())
        for _ in range(5):
            file.reloader.ask()
        while not file.applied:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(run())
    assert len(file.applied) == 1


def test_a_tenants_key_provider_changes_by_a_restart_only() -> None:
    """Other processes go on looking where they began to: a key that is not found there must not count as destroyed."""
    own = settings(tenants=[TENANT | {"keys": "file:/k"}])
    for old, new in ((settings(), own), (own, settings()), (own, settings(tenants=[TENANT | {"keys": "file:/l"}]))):
        assert plan(old, new).restart == ("tenants.acme.keys",)
    assert plan(own, own).restart == ()
