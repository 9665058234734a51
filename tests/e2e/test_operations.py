"""A running server as its operator sees it: metrics, reload, service manager, numbers, and logs without secrets."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gateway.caller import CallFailed, CallResult, Track, place_call
from gateway.cli import main
from tests.e2e.system import System, call_from, running, until

CALLER, CALLED = "02079460123", "02079460456"
CALLER_E164, CALLED_E164 = "+442079460123", "+442079460456"
CONFIG = """
[[tenants]]
name = "acme"
zone = "Europe/Amsterdam"
[[trunks]]
name = "carrier"
tenant = "acme"
sources = ["127.0.0.1/32"]
[trunks.numbers]
country = "GB"
"""
LONG_S = 3.0


class Manager:
    """A service manager's socket: what the program told it, in order."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def heard(self, word: str) -> bool:
        return any(word in told for told in self.told)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", self.address)
        self._thread.join(10)
        self._socket.close()

    def _hear(self) -> None:
        while data := self._socket.recv(4096):
            self.told.append(data.decode())


@dataclass
class World:
    system: System
    manager: Manager
    config: Path

    def metrics(self) -> dict[str, float]:
        """Every sample, by its name and labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.system.http}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)}

    def call(self, seconds: float = 1.0, caller: str = CALLER) -> CallResult:
        noise = np.random.default_rng(1).normal(0, 6000, int(seconds * 8000)).clip(-30000, 30000).astype(np.int16)
        return asyncio.run(place_call(self.system.sip, [Track(noise)], from_user=caller, to_user=CALLED))

    def reload(self) -> None:
        """SIGHUP, and wait until the program says that it is done with it."""
        assert self.system.process is not None
        before = sum("READY=1" in told for told in self.manager.told)
        self.system.process.send_signal(signal.SIGHUP)
        until(lambda: sum("READY=1" in told for told in self.manager.told) > before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("operations")
    config = folder / "callvault.toml"
    config.write_text(CONFIG)
    manager = Manager(folder / "notify")
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000"}
    try:
        with running(folder, CALLVAULT_CONFIG=str(config), **environ) as system:
            yield World(system, manager, config)
            if system.process is not None:
                assert system.stop() == 0
        assert manager.heard("STOPPING=1")
    finally:
        manager.close()


def test_the_service_manager_hears_that_calls_are_taken_and_that_the_loop_turns(world: World) -> None:
    until(lambda: world.manager.heard("READY=1") and world.manager.heard("WATCHDOG=1"))


def test_a_calls_numbers_are_e164_in_call_detail_with_rules_and_clock(world: World) -> None:
    world.call()
    client = world.system.client("acme")
    row = until(lambda: call_from(client, CALLER_E164, "stored"))
    assert row["detail"]["to"] == CALLED_E164
    assert re.fullmatch(r"\d+-[0-9a-f]{12}", row["detail"]["numbers"])
    assert set(row["detail"]["clock"]) == {"synchronised", "error_ms"}
    assert client.json("/v1/calls")["zone"] == "Europe/Amsterdam"


def test_metrics_show_the_call_and_nothing_of_who_called(world: World) -> None:
    until(lambda: world.metrics().get('callvault_calls_ended_total{outcome="ended"}'))
    found = world.metrics()
    assert found["callvault_call_setup_seconds_count"] >= 1
    assert found["callvault_media_packets_total"] > 0
    assert found["callvault_spool_bytes"] > 0
    assert found["callvault_call_mos_count"] == found['callvault_calls_ended_total{outcome="ended"}']
    assert found['callvault_track_loss_ratio_count{codec="pcma"}'] >= 1
    assert found['callvault_key_operation_seconds_count{operation="wrap"}'] > 0
    assert until(lambda: world.metrics()['callvault_uploads_total{result="ok"}']) >= 1
    text = json.dumps(sorted(found))
    for secret in (CALLER, CALLED, "4420", "acme", "carrier"):
        assert secret not in text


def test_a_reload_changes_trunks_and_drops_no_call(world: World) -> None:
    results: list[CallResult] = []
    caller = threading.Thread(target=lambda: results.append(world.call(LONG_S, "02079460777")))
    caller.start()
    until(lambda: world.metrics()["callvault_calls_live"] == 1)
    world.config.write_text(CONFIG.replace("127.0.0.1/32", "127.0.0.2/32"))
    world.reload()
    with pytest.raises(CallFailed):
        world.call()
    world.config.write_text(CONFIG)
    world.reload()
    caller.join(60)
    assert results, "the call that lived through both reloads ended by itself"
    world.call(0.5, "02079460888")
    until(lambda: call_from(world.system.client("acme"), "+442079460777", "stored"))


def test_up_02_a_reload_with_a_lower_term_is_in_the_policy_in_effect(world: World) -> None:
    client = world.system.client("acme")
    before = client.json("/v1/policy")
    assert before["policy"]["name"] == "default" and before["policy"]["zone"] == "Europe/Amsterdam"
    own = 'zone = "Europe/Amsterdam"\nretention = [{ kind = "audio", term = "14 days" }]\n'
    world.config.write_text(CONFIG.replace('zone = "Europe/Amsterdam"\n', own))
    world.reload()
    after = client.json("/v1/policy")
    assert after["policy"]["retention"][0]["term"] == "14 days" and after["version"] != before["version"]
    world.config.write_text(CONFIG.replace('zone = "Europe/Amsterdam"\n', own.replace("14 days", "2 years")))
    world.reload()
    assert client.json("/v1/policy") == after  # without a reason it is refused, and nothing changes
    world.config.write_text(CONFIG)
    world.reload()
    assert client.json("/v1/policy") == before


@pytest.mark.parametrize("change", ["[media]\nport_first = 30000\n", "colour = 1\n", "[["])
def test_a_reload_that_cannot_be_made_is_refused_as_a_whole(world: World, change: str) -> None:
    world.config.write_text(change + CONFIG.replace("127.0.0.1/32", "127.0.0.2/32"))
    world.reload()
    assert "refused" in next(told for told in reversed(world.manager.told) if "READY=1" in told)
    world.call(0.2)
    world.config.write_text(CONFIG)
    assert "configuration refused, the former one stays" in world.system.log()


def test_a_check_tells_what_the_log_must_not(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.config.write_text(CONFIG.replace("127.0.0.1/32", "somewhere"))
    check = ["config", "--check", "--config", str(world.config)]
    assert main(check) == 2
    assert "'somewhere'" in capsys.readouterr().err
    world.config.write_text(CONFIG)
    assert main(check) == 0


def test_the_list_of_calls_shows_times_in_the_tenants_zone(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    client = world.system.client("acme")
    listing = ["calls", "--url", client.url, "--token", client.token]
    assert main(listing) == 0
    assert re.search(r"\+0[12]:00", capsys.readouterr().out)
    assert main([*listing, "--utc"]) == 0
    assert re.search(r"\+00:00", capsys.readouterr().out)


def test_the_doctor_knows_the_ports_of_the_server_that_runs(world: World) -> None:
    done = world.system.command("doctor", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["sip.listen (udp)"]["found"] == rows["http.listen"]["found"]
    assert done.returncode == 0


def test_nothing_that_a_caller_sent_is_in_the_log(world: World) -> None:
    """Planted in every field that a stranger fills; what is refused and what breaks is logged too."""
    secrets = {name: f"planted{name}{index}" for index, name in enumerate(("user", "display", "id", "agent", "sdp"))}
    body = f"v=0\r\no={secrets['sdp']} 1 1 IN IP4 127.0.0.1\r\ns={secrets['sdp']}\r\n"
    for method, uri in (("INVITE", "sip:1@x"), ("OPTIONS", "sip:1@x"), ("INVITE", "\x00"), ("NONSENSE", "sip:1@x")):
        party = f"<sip:{secrets['user']}@x>"
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{time.monotonic_ns()}",
            f'From: "{secrets["display"]}" {party};tag=1',
            *(f"To: {party}", f"Contact: {party}", f"Call-ID: {secrets['id']}", f"CSeq: 1 {method}"),
            *("Max-Forwards: 70", f"User-Agent: {secrets['agent']}", "Content-Type: application/sdp"),
            *(f"Content-Length: {len(body)}", "", body),
        ]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto("\r\n".join(lines).encode(), world.system.sip)
    world.call(0.2)
    log = world.system.log()
    for secret in (*secrets.values(), CALLER, CALLED, CALLER_E164, "0777", "127.0.0.1/32", "somewhere"):
        assert secret not in log
    for line in log.splitlines():
        assert {"at", "level", "logger", "event"} <= set(json.loads(line))
