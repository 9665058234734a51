"""Canaries on a real server: of a call that is not to be stored nothing is anywhere; of one that is, nothing in clear.

Searched, while calls live, after they end, and after the server has: every file below data folder, keyring, objects,
queue and home, logs, temporary files, what any of our processes holds open or mapped, and what monitoring is told.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.client import ApiError
from media.codecs import g711
from storage.model import Kind
from storage.recordings import Recordings
from tests.canary import Canaries, Process, family
from tests.e2e.fleet import noise
from tests.e2e.handset import Handset
from tests.e2e.judge import needs_sipp
from tests.e2e.siprec import Client, Step
from tests.e2e.system import System, free_port, status, until
from tests.e2e.test_siprec import TCP, multipart
from tests.gateway.calls.test_fields import CANARIES, PIDF_LO, TELLING
from tests.gateway.calls.test_roster import document

CONFIG = """
region = "NL-AMS"

[[sip.listeners]]
name = "silent"
address = "127.0.0.1:{port}"

[[tenants]]
name = "acme"
regions = ["NL"]
rating = true
rating_numbers = ["{own}"]

[[tenants]]
name = "silent"
record = "events"
regions = ["NL"]

[[trunks]]
name = "pbx"
tenant = "acme"
sources = ["127.0.0.1/32"]

[[trunks]]
name = "silent-pbx"
tenant = "silent"
listener = "silent"
sources = ["127.0.0.1/32"]
"""
CALLER, CALLED, OWN = "+31612345678", "+31687654321", "+31201112222"
HEADERS = [f"{name}: {value}" for name, value in TELLING.items() if name != "Contact"]
CONTACT = ';+sip.instance="<urn:gsma:imei:35-209900-CANARY-0>"'
SECONDS = 1.6
OWN_TABLES = {"tenants", "tokens", "policies", "residency", "locations"}
"""Where a tenant of which nothing is stored has rows: its name's tag, API tokens, policy, where its calls are taken."""


class Searched(System):
    """A system, and everything that it could leave something in."""

    silent: tuple[str, int]

    def processes_of_ours(self) -> list[Process]:
        assert self.process is not None
        return family(self.process.pid)

    def search(self, canaries: Canaries) -> dict[str, set[str]]:
        found = canaries.below([self.folder], spared=["callvault.toml"])
        for process in self.processes_of_ours() if os.geteuid() == 0 and self.process else ():
            for name, path in process.open_files().items():
                try:
                    told = canaries.found_in(path.read_bytes())
                except OSError:
                    continue
                if told:
                    found[f"{process.name}: {name}"] = told
        for page in ("/metrics", "/health/counters") if self.process else ():
            if told := canaries.found_in(self.client("acme").get(page)):
                found[page] = told
        return found


@contextmanager
def dumps_allowed() -> Iterator[None]:
    """Whoever is started here may leave a core file, as far as the machine lets him."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searched]:
    folder = tmp_path_factory.mktemp("canaries")
    port = free_port()
    (folder / "callvault.toml").write_text(CONFIG.format(port=port, own=OWN))
    places = {"TMPDIR": folder / "tmp", "HOME": folder / "home"}
    for place in places.values():
        place.mkdir()
    environ = {name: str(place) for name, place in places.items()} | {"CALLVAULT_LOG__LEVEL": "debug"}
    started = Searched(folder, environ | {"CALLVAULT_CONFIG": str(folder / "callvault.toml")})
    started.silent = ("127.0.0.1", port)
    with dumps_allowed():
        started.start()
    try:
        yield started
    finally:
        if started.process is not None:
            started.stop()


def watched(name: str, *sounds: np.ndarray[Any, np.dtype[np.int16]]) -> Canaries:
    canaries = Canaries()
    for number, samples in enumerate(sounds):
        coded = g711.encode_alaw(samples)
        canaries.add_sound(f"{name} {number}", coded, g711.decode_alaw(coded))
    for digits in (CALLER, CALLED):
        canaries.add_words(f"number {digits[-4:]}", digits[1:])
    for words in (*CANARIES, b"Name of ann", b"Name of bob", b"ann@example", b"bob@example"):
        if len(words) >= 8:
            canaries.add_words(words.decode(), words.decode())
    return canaries


@contextmanager
def events_of(system: System, tenant: str, last: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What the tenant's subscribers are told, complete once the context is left."""
    seen: list[tuple[str, dict[str, Any]]] = []
    stream = system.client(tenant).events(timeout_s=30)

    def read() -> None:
        for event in stream:
            seen.append(event)
            if event[0] == last:
                return

    reader = threading.Thread(target=read)
    reader.start()
    yield seen
    reader.join(30)
    assert not reader.is_alive(), seen


def spoken(system: Searched, target: tuple[str, int], canaries: Canaries, said: Any) -> dict[str, set[str]]:
    """A call over SIP with a key pressed in it; gives what was found while it stood."""
    with Handset(target, CALLER, CALLED, headers=HEADERS, contact=CONTACT) as handset:
        handset.say(said)
        handset.press(5)
        return system.search(canaries)


def session(system: Searched, port: int, folder: Path, canaries: Canaries, recorder: Client) -> dict[str, set[str]]:
    """A recording session whose metadata tells a place; gives what was found while it stood."""
    located = document(("ann", "1"), ("bob", "2")).replace(b"<session ", f"{PIDF_LO}<session ".encode(), 1)
    runs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    steps = [Step("INVITE", *multipart(recorder, located), 3000)]
    thread = threading.Thread(target=lambda: runs.put(recorder.run(port, steps, *TCP)))
    thread.start()
    until(lambda: all(line.sent > 60 for line in recorder.lines))
    found = system.search(canaries)
    thread.join()
    assert runs.get().successful == 1
    return found


def test_up_06_the_search_would_find_it(system: Searched) -> None:
    said = noise(SECONDS, seed=60)
    canaries = watched("control", said)
    planted = system.folder / "tmp" / "planted"
    planted.write_bytes(b"header" + g711.encode_alaw(said)[1234:1300] + f"sip:{CALLER}@x".encode())
    (told,) = system.search(canaries).values()
    planted.unlink()
    assert told == {"control 0, coded", "number 5678"}
    if os.geteuid() == 0:  # and what a process holds open though its name is gone
        with (system.folder / "tmp" / "deleted").open("w+b") as file:
            file.write(g711.encode_alaw(said))
            file.flush()
            (system.folder / "tmp" / "deleted").unlink()
            held = Process(os.getpid(), "test").open_files().values()
            found = [canaries.found_in(path.read_bytes()) for path in held]
        assert {"control 0, coded"} in found


def test_up_06_no_byte_of_a_call_without_storage_is_anywhere_and_events_still_come(
    system: Searched, tmp_path: Path
) -> None:
    said = noise(SECONDS, seed=61)
    canaries = watched("sip", said)
    with events_of(system, "silent", "call_ended") as seen:
        assert spoken(system, system.silent, canaries, said) == {}
    assert system.search(canaries) == {}
    names = [name for name, _ in seen]
    assert (names[0], names[-1]) == ("call_started", "call_ended")
    assert "speech_started" in names
    assert [fields["storage"] for name, fields in seen if name in ("call_started", "call_ended")] == ["none", "none"]
    assert seen[-1][1]["state"] == "not_recorded"
    assert canaries.found_in(json.dumps(seen).encode()) == set()
    nothing_of_it(system, seen[0][1]["call"])


@needs_sipp
def test_up_06_no_byte_of_a_recording_session_without_storage_is_anywhere(system: Searched, tmp_path: Path) -> None:
    recorder = Client(tmp_path / "client", CALLER, ["PCMA", "PCMA"])
    for number, line in enumerate(recorder.lines):
        line.samples = noise(5, seed=620 + number)
    canaries = watched("siprec", *(line.samples for line in recorder.lines))
    with events_of(system, "silent", "call_ended") as seen:
        assert session(system, system.silent[1], tmp_path, canaries, recorder) == {}
    assert all(line.sent > 100 for line in recorder.lines)
    assert system.search(canaries) == {}
    assert {"speech_started"} <= {name for name, _ in seen}
    assert canaries.found_in(json.dumps(seen).encode()) == set()
    nothing_of_it(system, seen[0][1]["call"])


def nothing_of_it(system: Searched, call: str) -> None:
    """A call without storage: in no list and no table, and no statistics or ratings tell of it."""
    client = system.client("silent")
    assert client.json("/v1/calls")["calls"] == []
    for path in ("", "/audio", "/manifest", "/transcript", "/certificate", "/keys", "/participants"):
        assert status(client, f"/v1/calls/{call}{path}") == 404
    assert client.json("/v1/statistics")["periods"] == []
    assert client.json(f"/v1/ratings?month={time.strftime('%Y-%m', time.gmtime())}")["calls"] == 0
    with opened(system) as recordings:
        tenant = recordings.tenant("silent")
        assert {location.place.part.value for location in recordings.residency.locations(tenant)} == {"calls"}
    with closing(sqlite3.connect(f"file:{system.data / 'catalogue.sqlite3'}?mode=ro", uri=True)) as raw:
        tables = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        has = {
            table
            for table in tables
            for column in raw.execute(f"PRAGMA table_info({table})").fetchall()
            if raw.execute(f'SELECT count(*) FROM {table} WHERE "{column[1]}" IN (?, ?)', (tenant, call)).fetchone()[0]
        }
    assert has <= OWN_TABLES
    inventory = system.command("inventory", "--json", "--settle", "1")
    assert inventory.returncode == 0, inventory.stdout + inventory.stderr
    assert "silent" not in json.loads(inventory.stdout)["tenants"]


def test_up_11_cl_14_nothing_of_a_recorded_call_is_anywhere_in_clear(system: Searched, tmp_path: Path) -> None:
    said = noise(SECONDS, seed=63)
    canaries = watched("sip", said)
    with events_of(system, "acme", "call_stored") as seen:
        assert spoken(system, system.sip, canaries, said) == {}
        assert system.search(canaries) == {}
    assert system.search(canaries) == {}
    assert [fields["storage"] for name, fields in seen if name in ("call_started", "call_ended")] == ["sealed"] * 2
    client, call = system.client("acme"), seen[0][1]["call"]
    wav = client.get(f"/v1/calls/{call}/audio")
    assert canaries.found_in(wav) == {"sip 0, little-endian"}  # it is all there, for who may hear it
    one = client.json(f"/v1/calls/{call}")
    assert (one["detail"]["from"], one["detail"]["to"]) == (CALLER, CALLED)
    assert one["detail"]["encrypted_in_transit"] is False  # it came over plain RTP, and says so
    for folder in ("objects", "spool"):
        assert [path for path in (system.data / folder).rglob("*") if path.is_file() and path.stat().st_size > 1000]
    assert one["stored_in"]["objects"] == one["stored_in"]["calls"] == ["NL-AMS"]
    assert system.search(canaries) == {}  # nor has hearing it left anything


@needs_sipp
def test_sp_09_and_ip_03_nothing_of_place_or_device_is_kept_even_under_seal(system: Searched, tmp_path: Path) -> None:
    said = noise(SECONDS, seed=64)
    canaries = watched("sip", said)
    recorder = Client(tmp_path / "client", CALLER, ["PCMA", "PCMA"])
    with events_of(system, "acme", "call_stored") as seen:
        assert spoken(system, system.sip, canaries, said) == {}
    with events_of(system, "acme", "call_stored") as later:
        assert session(system, system.sip[1], tmp_path, canaries, recorder) == {}
    with opened(system) as recordings:
        tenant = recordings.tenant("acme")
        for call in (seen[0][1]["call"], later[0][1]["call"]):
            record = recordings.call(tenant, call)
            kept = [recordings.document(tenant, artefact.ref.artefact) for artefact in record.artefacts]
            assert any(CALLER.encode() in part for part in kept)  # what may be kept is
            assert not [canary for canary in CANARIES if any(canary in part for part in kept)]
            assert {artefact.ref.kind for artefact in record.artefacts} >= {Kind.AUDIO, Kind.IDENTITY, Kind.RATING}


def test_cl_10_and_cl_13_the_reports_of_places_and_for_billing_come_from_the_command_line(system: Searched) -> None:
    told = system.command("residency")
    assert told.returncode == 0, told.stderr
    assert "acme: may be in NL" in told.stdout
    assert "transcription" not in told.stdout  # none of that here
    client = system.client("acme", "officer")
    month = time.strftime("%Y-%m", time.gmtime())
    told = system.command("ratings", month, "--json", "--url", client.url, "--token", client.token)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == client.json(f"/v1/ratings?month={month}")
    assert json.loads(told.stdout)["calls"] >= 1
    assert CALLER[1:] not in told.stdout


def test_up_06_no_process_of_ours_is_swapped_out_or_may_leave_a_core_file(system: Searched) -> None:
    processes = system.processes_of_ours()
    names = {process.name for process in processes}
    assert {"gateway", "gateway.processes.media", "gateway.processes.uploader"} <= names
    assert any("nats-server" in name for name in names)
    for process in processes:
        assert process.core_bytes_max() == ("0", "0"), process.name
        assert process.swapped_kib() == 0, process.name


def test_up_06_nothing_is_left_when_the_server_is_gone(system: Searched) -> None:
    """The last one here: the server ends."""
    said = noise(0.8, seed=65)
    canaries = watched("last", said)
    with events_of(system, "silent", "call_ended"):
        assert spoken(system, system.silent, canaries, said) == {}
    assert system.process is not None
    assert system.process.stdout is not None
    system.terminate()
    printed = system.process.stdout.read()
    assert system.wait() == 0
    assert canaries.found_in(printed) == set()
    assert system.search(canaries) == {}
    with pytest.raises(ApiError):
        system.client("silent").json("/v1/calls")


@contextmanager
def opened(system: System) -> Iterator[Recordings]:
    objects, keys = f"file:{system.data / 'objects'}", f"file:{system.data}-keys"
    with closing(Recordings.open(system.data, keys, objects, node="test")) as recordings:
        yield recordings
