"""The key provider that counts: everything is passed on, and failures are counted as such."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from storage.errors import Erased
from storage.providers.file import FileProvider
from storage.providers.measured import OPERATIONS, Measured
from storage.recordings import Recordings


def test_operations_are_passed_on_counted_and_timed(tmp_path: Path) -> None:
    ticks = itertools.count()
    provider = Measured(FileProvider(tmp_path / "keys", tmp_path / "data", finality="30d"), lambda: float(next(ticks)))
    provider.check()
    provider.create("k")
    wrapped = provider.wrap("k", b"secret", b"aad")
    assert provider.unwrap("k", wrapped, b"aad") == b"secret"
    assert provider.exists("k")
    assert provider.destroy("k").startswith("file:")
    assert provider.finality == "30d"
    with pytest.raises(Erased):
        provider.unwrap("k", wrapped, b"aad")
    found = provider.operations()
    assert set(found) == set(OPERATIONS)
    assert {name: figures.count for name, figures in found.items()} == dict.fromkeys(OPERATIONS, 1) | {"unwrap": 2}
    assert (found["unwrap"].failed, found["unwrap"].seconds) == (1, 2.0)
    assert found["wrap"].failed == 0


def test_a_store_tells_what_was_asked_of_its_provider(tmp_path: Path) -> None:
    with Recordings.open(tmp_path / "d", f"file:{tmp_path / 'k'}", f"file:{tmp_path / 'o'}", node="t") as recordings:
        recordings.prepare(recordings.tenant("acme"), ["quality"])
        assert recordings.key_operations()["wrap"].count > 0
