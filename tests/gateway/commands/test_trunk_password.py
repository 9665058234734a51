"""The command's lines are a trunk's user as the configuration takes it."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from gateway.policy import TrunkUser
from gateway.sip.digest import ha1


def run(*arguments: str, password: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "gateway.cli", "trunk-password", *arguments]
    return subprocess.run(argv, input=password, capture_output=True, text=True, timeout=60, check=False)


def test_lines_can_be_pasted_into_the_configuration() -> None:
    done = run("carrier", "callvault", password="s e c r e t\n")
    assert done.returncode == 0
    trunk = tomllib.loads(f"[[trunks]]\n{done.stdout}")["trunks"][0]
    user = TrunkUser.model_validate(trunk["users"][0])
    assert user.sha256.get_secret_value() == ha1("SHA-256", "carrier", "callvault", "s e c r e t")
    assert user.md5.get_secret_value() == ha1("MD5", "carrier", "callvault", "s e c r e t")
    assert "s e c r e t" not in done.stdout


@pytest.mark.parametrize(("arguments", "password"), [(["a:b"], "x"), (['a"b'], "x"), (["a", "b\\c"], "x"), (["a"], "")])
def test_what_cannot_be_used_is_refused(arguments: list[str], password: str) -> None:
    assert run(*arguments, password=password).returncode == 2
