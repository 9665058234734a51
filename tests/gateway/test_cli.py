"""The command line: every command explains itself, and exit statuses mean what the help says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import main, parser
from gateway.commands.asking import shown

COMMANDS = (
    "serve",
    "worker",
    "demo",
    "call",
    "calls",
    "get",
    "erase",
    "verify",
    "tenant",
    "token",
    "config",
    "doctor",
    "statistics",
    "policy",
    "hold",
    "restrict",
    "consent",
)


def callvault(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "gateway.cli", *arguments]
    environment = {"PATH": "/usr/bin:/bin", **environ}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_help_names_every_command_and_each_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    text = parser().format_help()
    for command in COMMANDS:
        assert f"\n    {command} " in text
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert len(capsys.readouterr().out.splitlines()) > 4


def test_how_many_media_workers_there_are_is_said_with_serve() -> None:
    assert parser().parse_args(["serve", "--media-workers", "3"]).media_workers == 3
    refused = callvault("serve", "--media-workers", "0")
    assert refused.returncode == 2
    assert "media.workers" in refused.stderr


def test_the_version_is_the_distributions() -> None:
    assert callvault("--version").stdout.startswith("callvault 0.")


def test_an_unknown_command_is_unusable() -> None:
    assert callvault("record").returncode == 2


def test_config_shows_values_and_origins(tmp_path: Path) -> None:
    done = callvault("config", CALLVAULT_DATA=str(tmp_path / "d"), CALLVAULT_SIP__CALLS_MAX="7")
    assert done.returncode == 0
    assert "sip.calls_max" in done.stdout
    assert "# environment CALLVAULT_SIP__CALLS_MAX" in done.stdout


def test_tokens_are_made_listed_and_revoked(tmp_path: Path) -> None:
    data = {"CALLVAULT_DATA": str(tmp_path / "data")}
    made = callvault("token", "create", "--role", "officer", "--label", "front desk", **data)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("cv_")
    row = callvault("token", "list", **data).stdout
    assert "officer" in row
    assert "front desk" in row
    assert made.stdout.strip() not in row
    assert callvault("token", "revoke", "--id", row.split()[0], **data).returncode == 0
    assert "revoked" in callvault("token", "list", **data).stdout
    assert callvault("token", "create", "--tenant", "nobody", **data).returncode == 2


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    done = callvault("calls", "--url", "http://127.0.0.1:1", "--token", "x")
    assert done.returncode == 1
    assert done.stderr == "callvault: http://127.0.0.1:1 does not answer (URLError)\n"


def test_a_file_that_is_no_wav_is_told(tmp_path: Path) -> None:
    wav = tmp_path / "x.wav"
    wav.write_bytes(b"not a wav")
    done = callvault("call", "127.0.0.1:5060", str(wav))
    assert done.returncode == 1
    assert "x.wav" in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x"}', "1"])
def test_what_is_no_certificate_is_not_verified(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(text)
    done = callvault("verify", str(file), "--fingerprint", "0" * 64)
    assert done.returncode == 1
    assert "not verified" in done.stderr


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "2026-07-01 12:00:00.000+00:00"),
        ("Europe/Amsterdam", "2026-07-01 14:00:00.000+02:00"),
        ("Nowhere/Unknown", "2026-07-01T12:00:00.000Z"),
    ],
)
def test_kept_times_are_shown_in_the_tenants_zone(zone: str, expected: str) -> None:
    assert shown("2026-07-01T12:00:00.000Z", zone) == expected
