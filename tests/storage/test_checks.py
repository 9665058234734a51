"""What is told before a store is opened: what must be mended, and what should be known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.stores import StoreServer, juicefs
from storage.checks import problems, remarks


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with juicefs(tmp_path_factory.mktemp("juicefs")) as started:
        yield started


def problems_with(tmp_path: Path, objects: str) -> list[str]:
    return problems(tmp_path / "data", f"file:{tmp_path}/keys", objects)


def test_usable_store_has_no_problem_and_may_have_remarks(tmp_path: Path, server: StoreServer) -> None:
    url = server.bucket("usable")
    assert problems_with(tmp_path, url) == []
    assert [code for code, _ in remarks(url)] == ["store-unconditional"]
    assert remarks(f"file:{tmp_path}/objects") == []


def test_bucket_that_nobody_made_is_a_problem(tmp_path: Path, server: StoreServer) -> None:
    (problem,) = problems_with(tmp_path, server.url("missing"))
    assert "make it" in problem
    assert remarks(server.url("missing")) == []


def test_store_that_is_away_does_not_keep_the_server_from_starting(tmp_path: Path, server: StoreServer) -> None:
    away = server.url("usable").replace(f":{server.port}/", ":1/")
    assert problems_with(tmp_path, away) == []
    assert [code for code, _ in remarks(away)] == ["store-away"]


@pytest.mark.parametrize("url", ["s3:", "ftp://host/x", "file:relative"])
def test_url_that_names_no_store_is_a_problem(tmp_path: Path, url: str) -> None:
    assert len(problems_with(tmp_path, url)) == 1
