"""The native core is loaded where it was built for this code, and never where it is of another time."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest

from media.native import ABI, CORE, load


def built(folder: Path, source: str) -> Path:
    """A library of this source."""
    library = folder / "core.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-", "-o", str(library)], input=source.encode(), check=True)
    return library


def test_the_package_was_built_with_it() -> None:
    assert CORE is not None, "install a C compiler, and callvault again: the tests run over both twins"


def test_where_it_was_not_built_there_is_none(tmp_path: Path) -> None:
    assert load(tmp_path / "core.so") is None


def test_what_is_no_library_is_none(tmp_path: Path) -> None:
    (tmp_path / "core.so").write_bytes(b"no library")
    assert load(tmp_path / "core.so") is None


def test_one_of_another_time_is_not_used_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    library = built(tmp_path, f"int callvault_abi(void) {{ return {ABI + 1}; }}")
    with caplog.at_level(logging.WARNING):
        assert load(library) is None
    assert [record.message for record in caplog.records] == [
        "native core is of another version, build the package anew"
    ]


def test_a_library_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    assert load(built(tmp_path, "int something_else(void) { return 1; }")) is None
