"""What we register, and by which way: passwords that can be used, and ways for what DNS says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.ingest.registrars import PASSWORD_BYTES_MAX, Accounts, Named, accounts, read_password, wanted
from gateway.peers import PeerName
from gateway.sip.flow import Flow
from gateway.sip.registration import Account
from gateway.tenants import Answers

HERE, LAN, SIX = ("192.0.2.1", 5060), ("10.0.0.1", 5060), ("2001:db8::1", 5060)
NAMED: Named = {"": {"udp": HERE, "tcp": HERE}, "lan": {"udp": LAN}, "six": {"udp": SIX}}
LISTENERS = [
    {"name": "lan", "address": "10.0.0.1:5060", "transports": ["udp"]},
    {"name": "six", "address": "[2001:db8::1]:5060", "transports": ["udp"]},
]


def configured(folder: Path, registrar: str, listener: str = "", **more: Any) -> Settings:
    password = folder / "password"
    password.touch(0o600)
    password.write_text("secret\n")
    registration = {"registrar": registrar, "user": "4420", "password_file": str(password), **more}
    trunk = {"name": "t", "tenant": "default", "listener": listener, "registration": registration}
    trunk["sources"] = ["198.51.100.0/24", "2001:db8::/32"]
    return Settings.model_validate({"sip": {"listeners": LISTENERS}, "trunks": [trunk]})


@pytest.mark.parametrize(
    ("registrar", "listener", "answers", "ways"),
    [
        ("sip:198.51.100.5", "", {}, [Flow("udp", HERE, ("198.51.100.5", 5060))]),
        ("sip:198.51.100.5:5070;transport=tcp", "", {}, [Flow("tcp", HERE, ("198.51.100.5", 5070))]),
        ("sip:198.51.100.5", "lan", {}, [Flow("udp", LAN, ("198.51.100.5", 5060))]),
        ("sip:a.example", "", {}, []),
        (
            "sip:a.example",
            "",
            {PeerName("either", "_sip._udp.a.example"): [("2001:db8::9", 0), ("198.51.100.5", 5099)]},
            [Flow("udp", HERE, ("198.51.100.5", 5099))],
        ),
        (
            "sip:a.example:5080",
            "six",
            {PeerName("host", "a.example"): [("2001:db8::9", 0), ("198.51.100.5", 0)]},
            [Flow("udp", SIX, ("2001:db8::9", 5080))],
        ),
    ],
)
def test_a_registrar_is_asked_from_the_trunks_listener_in_its_own_family(
    tmp_path: Path, registrar: str, listener: str, answers: Answers, ways: list[Flow]
) -> None:
    settings = configured(tmp_path, registrar, listener)
    [(account, found)] = wanted(settings, accounts(settings), answers, NAMED).values()
    assert list(found) == ways
    assert account.password == "secret"
    assert wanted(settings, accounts(settings), answers, {})["t"][1] == [], "before listeners are open"


def test_the_password_may_be_another_names(tmp_path: Path) -> None:
    found: Accounts = accounts(configured(tmp_path, "sip:a.example", login="auth 7", expires_s=600))
    assert found == {"t": Account("sip:a.example", "a.example", "4420", "auth 7", "secret", 600)}


def test_a_transport_that_nothing_listens_on_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"registration\.registrar: its listener has no tcp"):
        accounts(configured(tmp_path, "sip:a.example;transport=tcp", "lan"))


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        (b"", 0o600, "must hold one line"),
        (b"\n", 0o600, "must hold one line"),
        (b"one\ntwo\n", 0o600, "must hold one line"),
        (b"x" * (PASSWORD_BYTES_MAX + 1), 0o600, "must hold one line"),
        (b"hidden\xff", 0o600, "is no text"),
        (b"hidden", 0o604, "can be read by others"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_password_that_cannot_be_used_is_told_without_it(
    tmp_path: Path, content: bytes | None, mode: int, problem: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
        file.chmod(mode)
    with pytest.raises(ValueError, match=problem) as told:
        read_password(file)
    assert "hidden" not in str(told.value)
    assert "one" not in str(told.value).replace("one line", "")


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_password_is_all_of_its_line(tmp_path: Path, end: str) -> None:
    file = tmp_path / "file"
    file.touch(0o600)
    file.write_bytes(f' p\u00e4ss "word {end}'.encode())
    assert read_password(file) == ' p\u00e4ss "word '
