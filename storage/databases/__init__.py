"""The databases that a catalogue can stand in: one row each, chosen by the setting's scheme.

    (empty)         SQLite, a file in the data folder: one machine, nothing to run beside it
    postgresql://   PostgreSQL 14 or newer, a database of the catalogue's own: where one machine is outgrown

Two of them are as many as `storage.catalogue` knows to be different; what tells them apart is tested over both.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from storage.databases.sqlite import SQLite
from storage.errors import Malformed, Unavailable

_ELSEWHERE = "catalogue.elsewhere"
"""A mark in the data folder of a catalogue that is a server's."""


class Database(Protocol):
    """What differs between databases. Errors of its driver are translated by the catalogue, with `reason`."""

    engine: Engine

    def begin(self, connection: Connection, *, writing: bool) -> None:
        """Begins a transaction. Reading is one snapshot; writing is the only writer, from here to its end."""

    def reason(self, error: DBAPIError) -> str:
        """What went wrong and what would mend it; no value of any row."""

    def opening(self) -> AbstractContextManager[None]:
        """Alone among all processes that open the database, as far as that needs more than a transaction."""

    def exclusive(self, name: str, folder: Path, wait_s: float, taken: str) -> AbstractContextManager[None]:
        """A lock of that name, freed when its holder dies; `folder` is for what lies in files.

        Unavailable, with the words `taken`, if somebody else keeps it.
        """

    def check(self) -> None:
        """Raises what the driver raises, or Unavailable, if the database cannot be used. Changes nothing."""

    def clock(self, connection: Connection) -> int | None:
        """Unix time by the database's own clock; None where that is this machine's."""

    def scrub(self, writer: AbstractContextManager[object]) -> bool:
        """Sees to it that deleted rows go from the database's files, as far as it can; False: it is to be repeated.

        Within `writer` no thread of this process writes.
        """


def open_database(url: str, folder: Path) -> Database:
    """The database that `url` names; touches nothing yet. Malformed, and Unavailable if `folder` belongs to another."""
    mark, file = folder / _ELSEWHERE, folder / SQLite.FILE
    if not url:
        if mark.exists():
            raise Unavailable(f"the catalogue of {folder} is on a server: store.catalogue must name it")
        return SQLite(file)
    if not url.startswith("postgresql:"):
        raise Malformed("a catalogue is in the data folder, or on a server written postgresql://…")
    if file.exists():
        raise Unavailable(f"{folder} has a catalogue itself, {file.name}: take another folder, or no store.catalogue")
    from storage.databases.postgresql import PostgreSQL  # noqa: PLC0415  # its driver is loaded where it is wanted

    return PostgreSQL.from_url(url)


def is_elsewhere(folder: Path) -> bool:
    """Whether this data folder, or copy of one, has its catalogue on a server."""
    return (folder / _ELSEWHERE).exists()


def mark_elsewhere(folder: Path) -> None:
    """Remembers that this data folder's catalogue is on a server: without the setting, no empty one takes its place."""
    try:
        (folder / _ELSEWHERE).touch(mode=0o600)
    except OSError as error:
        raise Unavailable(f"the data folder cannot be written: {error.strerror}; check its owner and disk") from error
