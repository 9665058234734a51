"""A server whose catalogue is on PostgreSQL: a call's whole life, and its end against a base backup of the database."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gateway.caller import Track, place_call
from media.codecs import g711
from storage.ledger import verify_certificate
from storage.model import CallId
from storage.probe import Today, prove
from tests.e2e.system import System, call_from, running, status, until
from tests.storage.postgres import PASSWORD, Cluster, cluster, needs_postgres

RATE_HZ = 8000
pytestmark = needs_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Cluster]:
    with cluster() as server:
        yield server


@pytest.fixture(scope="module")
def system(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    passfile = folder / "pass"
    passfile.write_text(f"*:*:*:*:{PASSWORD}\n")
    passfile.chmod(0o600)
    url = postgres.url_by_tcp(postgres.fresh("template0"), f"passfile={passfile}")
    with running(folder, CALLVAULT_STORE__CATALOGUE=url) as started:
        yield started


def call_of(system: System, user: str, seed: int) -> tuple[str, bytes]:
    """A stored call, and what was sent in it."""
    samples = np.random.default_rng(seed).normal(0, 6000, 2 * RATE_HZ).clip(-30000, 30000).astype(np.int16)
    result = asyncio.run(place_call(system.sip, [Track(samples)], codec="PCMA", from_user=user, to_user="100"))
    call = until(lambda: call_from(system.client(), user, "stored"))["id"]
    return call, g711.decode_alaw(result.payloads[0]).astype("<i2").tobytes()


def test_a_call_is_taken_downloaded_and_erased_for_good(system: System, postgres: Cluster, tmp_path: Path) -> None:
    client = system.client()
    gone, sent = call_of(system, "to-be-erased", 1)
    kept, _ = call_of(system, "to-be-kept", 2)
    assert sent in client.get(f"/v1/calls/{gone}/audio?track=0")
    before = client.get(f"/v1/calls/{kept}/audio")
    backup, keys = tmp_path / "backup", f"file:{system.folder / 'data-keys'}"
    shutil.copytree(system.data, backup, ignore=shutil.ignore_patterns("queue"))
    database = system.environ["CALLVAULT_STORE__CATALOGUE"].partition("?")[0].rpartition("/")[2]
    with postgres.restored() as then:
        witness = f"file:{system.folder / 'data-witness'}"
        today = Today(system.data, keys, f"file:{system.data / 'objects'}", witness, postgres.url(database))
        url = then.url(database)
        assert prove(CallId(gone), [backup], today, databases=[url]).opened
        certificate = client.post(f"/v1/calls/{gone}/erasure", {"ground": "Art. 17(1) GDPR"})
        proof = prove(CallId(gone), [backup], today, databases=[url])
        assert (proof.opened, proof.control) == ([], kept)
        assert proof.holds
    for path in ("/audio", "/manifest"):
        assert status(client, f"/v1/calls/{gone}{path}") == 410
    assert client.get(f"/v1/calls/{kept}/audio") == before
    verify_certificate(certificate, system.command("tenant").stdout.split()[2])
    assert sent[:64] not in postgres.files()


def test_commands_use_the_same_catalogue_and_show_no_password(system: System) -> None:
    call_of(system, "reconciled", 3)
    assert system.command("reconcile").returncode == 0
    shown = system.command("config")
    assert "store.catalogue" in shown.stdout
    assert PASSWORD not in shown.stdout + shown.stderr + system.log()
    assert not (system.data / "catalogue.sqlite3").exists()


def test_a_second_server_of_another_machine_is_refused(system: System, tmp_path: Path) -> None:
    """It would take the calls that live there for what a crash left behind."""
    store = {"CATALOGUE": system.environ["CALLVAULT_STORE__CATALOGUE"], "KEYS": f"file:{system.folder / 'data-keys'}"}
    second = System(tmp_path, {f"CALLVAULT_STORE__{name}": value for name, value in store.items()})
    told = second.command("serve")
    assert told.returncode == 1
    assert "another callvault serves on this catalogue" in told.stderr


def test_a_start_without_its_database_says_what_is_missing(system: System, tmp_path: Path) -> None:
    away = System(tmp_path, {"CALLVAULT_STORE__CATALOGUE": f"postgresql:///calls?host={tmp_path}"})
    told = away.command("serve")
    assert told.returncode == 2
    assert "catalogue: the catalogue cannot be used" in told.stderr
