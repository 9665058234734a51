"""The recipient's side, by the command line: a key, opening, checking, and what is said when something is wrong."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.rights.export import Plan, exported
from gateway.rights.share import Matched
from storage.sealedexport import Recipient, sealed_for
from tests.gateway.rights.corpus import ALICE, session
from tests.gateway.store import opened


@dataclass
class World:
    folder: Path
    archive: bytes
    fingerprint: str
    public: str

    @property
    def key(self) -> Path:
        return self.folder / "key"

    def sealed(self, name: str = "copy.cvx") -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(sealed_for(Recipient.parse(self.public), [self.archive])))
        return path

    def open(self, path: Path, *more: str) -> int:
        output = str(self.folder / "out.zip")
        return main(["open-export", str(path), "--key", str(self.key), "--output", output, *more])


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    with opened(tmp_path / "store") as recordings:
        tenant = recordings.tenant("acme")
        kept = session(tmp_path / "store", recordings, tenant)
        plan = Plan(tenant, [Matched(kept.call, kept.id_of(ALICE))], {"request": "0" * 32})
        archive = b"".join(exported(recordings, plan))
        assert main(["export-key", str(tmp_path / "key")]) == 0
        yield World(tmp_path, archive, recordings.fingerprint(), capsys.readouterr().out.strip())


def test_sp_18_the_recipient_opens_and_checks_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert world.open(world.sealed(), "--fingerprint", world.fingerprint) == 0
    assert "verified: " in capsys.readouterr().out
    assert (world.folder / "out.zip").read_bytes() == world.archive


def test_the_private_key_is_its_owners_alone_and_never_overwritten(world: World) -> None:
    assert stat.S_IMODE(world.key.stat().st_mode) == 0o600
    text = world.key.read_text()
    assert main(["export-key", str(world.key)]) == 1
    assert world.key.read_text() == text


def test_what_is_wrong_is_said_and_leaves_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    path = world.sealed()
    whole = path.read_bytes()
    other = world.folder / "other"
    main(["export-key", str(other)])
    cases: dict[str, Callable[[], int]] = {
        "sealed for another key": lambda: main(
            ["open-export", str(path), "--key", str(other), "--output", str(world.folder / "out.zip")]
        ),
        "cut off": lambda: (path.write_bytes(whole[:-100]), world.open(path))[1],
        "does not authenticate": lambda: (path.write_bytes(_flipped(whole, 5000)), world.open(path))[1],
        "a private key is": lambda: (world.key.write_text("no key"), world.open(path))[1],
    }
    for said, run in cases.items():
        capsys.readouterr()
        assert run() == 1
        assert said in capsys.readouterr().err
        assert not list(world.folder.glob("out.zip*"))


def test_an_export_that_is_not_sealed_is_checked_as_well(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    plain = world.folder / "plain.zip"
    plain.write_bytes(world.archive)
    assert main(["open-export", str(plain), "--fingerprint", world.fingerprint]) == 0
    assert main(["open-export", str(plain), "--fingerprint", "0" * 64]) == 1
    assert main(["open-export", str(plain)]) == 1
    for change in (_without_a_file, _with_a_file, _with_a_changed_file):
        change(plain)
        capsys.readouterr()
        assert main(["open-export", str(plain), "--fingerprint", world.fingerprint]) == 1
        assert "not opened" in capsys.readouterr().err
        plain.write_bytes(world.archive)
    plain.write_bytes(world.archive[:-50])
    assert main(["open-export", str(plain), "--fingerprint", world.fingerprint]) == 1


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _rewritten(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def _files(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _without_a_file(path: Path) -> None:
    files = _files(path)
    _rewritten(path, {name: data for name, data in files.items() if not name.endswith("detail.json")})


def _with_a_file(path: Path) -> None:
    _rewritten(path, {"calls/more.json": b"{}", **_files(path)})


def _with_a_changed_file(path: Path) -> None:
    changed = {n: json.dumps({}).encode() if n.endswith("detail.json") else d for n, d in _files(path).items()}
    _rewritten(path, changed)
