"""What an operator is given: files that fit the program they are for."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.calls.numbers import Reader
from gateway.cli import parser
from gateway.config import Settings, load
from gateway.ingest.udp import RECEIVE_BUFFER_BYTES
from gateway.operations.metrics import Metrics, Snapshot
from gateway.operations.notify import BEATS_A_LIMIT
from tests.gateway.operations.test_metrics import FULL

DEPLOY = Path(__file__).parents[2] / "deploy"
ROOT = DEPLOY.parent
SERVICE = DEPLOY / "systemd" / "callvault.service"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
INSTRUCTIONS = frozenset(
    {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
)


def sample() -> Settings:
    return load(DEPLOY / "callvault.toml", {}).settings


def unit(path: Path) -> dict[str, list[str]]:
    """A unit's settings, each with its values in order."""
    rows: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            rows.setdefault(name, []).append(value)
    return rows


def test_the_sample_configuration_loads_and_says_what_it_means() -> None:
    settings = sample()
    assert [tenant.name for tenant in settings.tenants] == ["acme", "beta"]
    assert settings.keys_url.startswith("file:/var/lib/callvault-keys")
    assert Reader(settings.trunks[0].numbers).read("sip:442079460123@192.0.2.65").text == "+442079460123"


def test_the_sample_has_no_key_that_does_nothing() -> None:
    """Every value in it is one that `callvault config` shows, so a reader finds its counterpart there."""
    raw = tomllib.loads((DEPLOY / "callvault.toml").read_text())
    dumped = json.loads(sample().model_dump_json())
    for section in ("sip", "media", "http", "store", "transcription", "log"):
        assert set(raw[section]) <= set(dumped[section])


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_run_commands_that_exist(path: Path) -> None:
    for line in unit(path)["ExecStart"] + unit(path).get("ExecReload", []):
        program, *arguments = shlex.split(line)
        if program.endswith("/callvault"):
            assert parser().parse_args(arguments).run
        else:
            assert program == "/bin/kill"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_give_no_more_than_is_needed(path: Path) -> None:
    rows = unit(path)
    for name, value in {
        "User": "callvault",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "LimitCORE": "0",
        "MemorySwapMax": "0",
        "UMask": "0077",
    }.items():
        assert rows[name] == [value]


def test_the_unit_waits_longer_than_the_program_takes_to_end() -> None:
    rows = unit(SERVICE)
    assert int(rows["TimeoutStopSec"][0]) > sample().sip.drain_s + 15 + 15
    assert int(rows["WatchdogSec"][0]) / BEATS_A_LIMIT >= 5, "a busy second is no reason to end the program"
    assert rows["Type"] == ["notify"]
    assert rows["KillMode"] == ["mixed"]


def test_asking_for_the_clocks_state_is_allowed_last() -> None:
    """@privileged holds adjtimex: what is taken away later wins."""
    assert unit(SERVICE)["SystemCallFilter"][-1] == "adjtimex clock_adjtime"
    assert "ProtectClock" not in unit(SERVICE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_the_service_manager_understands_the_units(path: Path, tmp_path: Path) -> None:
    text = re.sub(r"/opt/callvault/bin/callvault", sys.executable, path.read_text())
    copy = tmp_path / path.name
    copy.write_text(text)
    for command in (["verify", "--man=no"], ["security", "--offline=true", "--threshold=20"]):
        argv = ["systemd-analyze", *command, str(copy)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        told = [line for line in done.stderr.splitlines() if path.stem.rstrip("@") in line]
        assert told == []


def containerfile() -> list[tuple[str, str]]:
    """Instruction and arguments, with continued lines joined."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_image_is_made_of_what_is_in_the_tree() -> None:
    rows = containerfile()
    assert {name for name, _ in rows} <= INSTRUCTIONS
    for name, arguments in rows:
        if name == "COPY" and not arguments.startswith("--from"):
            *sources, _ = arguments.split()
            for source in sources:
                assert (ROOT / source).exists(), source
        if name == "FROM":
            assert re.search(r":3\.11-", arguments), "a version that is named"
    copied = " ".join(arguments for name, arguments in rows if name == "COPY")
    for package in ("media", "storage", "transcription", "gateway"):
        assert f"{package} {package}" in copied


def test_the_image_runs_the_program_without_privilege() -> None:
    rows = containerfile()
    assert [arguments for name, arguments in rows if name == "USER"] == ["callvault"]
    entry = json.loads(dict(rows)["ENTRYPOINT"])
    assert entry == ["callvault"]
    assert parser().parse_args(json.loads(dict(rows)["CMD"])).run == "gateway.main:command"
    assert json.loads(dict(rows)["VOLUME"]) == [
        "/var/lib/callvault",
        "/var/lib/callvault-keys",
        "/var/lib/callvault-witness",
    ]
    installs = [arguments for name, arguments in rows if name == "RUN" and "-r requirements" in arguments]
    assert installs
    assert all("--require-hashes" in part for line in installs for part in line.split("&&"))


def test_alerts_are_on_metrics_that_exist() -> None:
    rendered = Metrics().render(FULL).decode() + Metrics().render(Snapshot()).decode()
    there = set(re.findall(r"^(callvault_\w+)", rendered, re.MULTILINE))
    wanted = set(re.findall(r"callvault_\w+", (DEPLOY / "prometheus" / "alerts.yml").read_text()))
    assert len(wanted) > 8
    assert wanted <= there


def test_the_kernels_limit_is_what_the_listener_asks_for() -> None:
    text = (DEPLOY / "sysctl.d" / "60-callvault.conf").read_text()
    assert f"net.core.rmem_max = {RECEIVE_BUFFER_BYTES}" in text
    media = sample().media
    assert f"{media.port_first}-{media.port_last}" in text
