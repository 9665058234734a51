"""The setting that names the catalogue's database: what it says, what it must not hold, and that a folder has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.catalogue import Catalogue
from storage.databases.address import PostgresAddress
from storage.errors import Malformed, Unavailable


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://db.example.net/calls",
            {"host": "db.example.net", "port": 5432, "sslmode": "verify-full", "sslrootcert": "system"},
        ),
        (
            "postgresql://me@db.example.net:5433/calls?sslrootcert=/ca.pem&passfile=/p",
            {"user": "me", "port": 5433, "sslmode": "verify-full", "sslrootcert": "/ca.pem", "passfile": "/p"},
        ),
        ("postgresql://192.0.2.1/calls?sslmode=require", {"host": "192.0.2.1", "sslmode": "require"}),
        ("postgresql://[::1]/calls", {"host": "::1"}),
        ("postgresql:///calls?host=/run/postgresql", {"host": "/run/postgresql", "dbname": "calls"}),
        ("postgresql://me@:5433/calls?host=/run/postgresql", {"user": "me", "port": 5433}),
    ],
)
def test_a_url_says_where_and_another_machine_must_prove_itself(url: str, expected: dict[str, object]) -> None:
    parameters = PostgresAddress.parse(url).parameters()
    assert parameters | expected == parameters
    assert ("sslmode" in parameters) == ("sslmode" in expected)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@db/calls",
        "postgresql://db/calls?password=secret",
        "postgresql://db/",
        "postgresql:///calls",
        "postgresql://db/calls/more",
        "postgresql://db:port/calls",
        "postgresql://db/calls?passfile=relative",
        "postgresql://db/calls?sslmode=perhaps",
        "postgresql://db/calls?options=-csearch_path=x",
        "postgresql://db/calls#fragment",
        "postgresql://d b/calls",
        "postgresql://db/calls?host=relative",
        "postgresql://db/" + "x" * 3000,
        "mysql://db/calls",
    ],
)
def test_any_other_url_is_malformed_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(Malformed) as caught:
        Catalogue(tmp_path, url)
    assert "secret" not in str(caught.value)


def test_a_data_folder_has_one_catalogue(tmp_path: Path) -> None:
    Catalogue(tmp_path).close()
    with pytest.raises(Unavailable, match="has a catalogue itself"):
        Catalogue(tmp_path, "postgresql://db/calls")
