"""A PostgreSQL server of the tests' own: a fresh cluster, on a free port of loopback and a socket, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from storage.catalogue import Catalogue
from storage.model import new_id

USER = "callvault"
PASSWORD = "a password of the tests"  # that only this cluster knows
START_S = 30.0

_HBA = "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
_SETTINGS = {
    "fsync": "off",  # the tests kill our processes, never the server's machine
    "synchronous_commit": "off",  # the catalogue must not leave it so
    "max_connections": "200",
    "unix_socket_permissions": "0777",
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
}


def _folder() -> Path | None:
    """Where the server's programs are: Debian keeps them out of PATH."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]), reverse=True)
    found = str(homes[0]) if homes else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def _owner() -> str | None:
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return pwd.getpwnam("nobody").pw_name


BIN = _folder()
needs_postgres = pytest.mark.skipif(BIN is None, reason="NO POSTGRESQL: apt-get install postgresql")


class Cluster:
    """A running server. Databases that it made are dropped by `drop`."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.port = port
        self._made: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _data(self) -> Path:
        return self.root / "data"

    def make(self) -> None:
        """The cluster's files, and a database with a catalogue's tables, to make others from."""
        (self.root / "password").write_text(PASSWORD)
        shutil.chown(self.root, _owner() or os.geteuid())
        self._run("initdb", "-D", str(self._data), "-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        (self._data / "pg_hba.conf").write_text(_HBA)
        self._settle()
        with self.connected("postgres") as connection:
            connection.execute(f"ALTER USER {USER} PASSWORD '{PASSWORD}'")
            connection.execute("CREATE DATABASE made")
        folder = self.root / "folder"
        folder.mkdir()
        Catalogue(folder, self.url("made")).close()

    def _settle(self) -> None:
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
            file.write(f"port = {self.port}\nunix_socket_directories = '{self.root}'\n")
        self.start()

    def start(self) -> None:
        """Until it takes connections."""
        assert BIN is not None
        with (self.root / "log").open("ab") as log:
            argv = [str(BIN / "postgres"), "-D", str(self._data)]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, user=_owner(), cwd="/")
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self.connected("postgres").close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.root / "log").read_text()
                time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: connections are cut, then an orderly end; SIGQUIT: as a crash."""
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.wait(30)

    def url(self, database: str, options: str = "") -> str:
        """The URL of a database, over the socket."""
        return f"postgresql://{USER}@:{self.port}/{database}?host={self.root}{options}"

    def url_by_tcp(self, database: str, options: str) -> str:
        """Over loopback, where a password is asked for."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}?{options}"

    def fresh(self, template: str = "made") -> str:
        """A new database, by name; with a catalogue's empty tables unless another template is named."""
        name = f"c{new_id()}"
        with self.connected("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        self._made.append(name)
        return name

    def copy(self, url: str) -> str:
        """The URL of a copy of a database, as `pg_dump` takes it while the store is open."""
        name = self.fresh("template0")
        source = url.partition("?")[0].rpartition("/")[2]
        dump = self._run("pg_dump", *self._place(), source, capture=True)
        self._run("psql", *self._place(), "-q", "-v", "ON_ERROR_STOP=1", "-d", name, given=dump)
        return self.url(name)

    @contextmanager
    def restored(self) -> Iterator[Cluster]:
        """Another server on a base backup of this one: every file as it stood on the disk, and the log since."""
        with _place() as (root, port):
            shutil.chown(root, _owner() or os.geteuid())
            self._run("pg_basebackup", *self._place(), "-D", str(root / "data"), "--checkpoint=fast", "--no-sync")
            backup = Cluster(root, port)
            backup._settle()
            yield backup
            backup.stop(signal.SIGQUIT)

    def base_backup(self, target: Path) -> None:
        """What an operator copies while the server runs: its files and the log of meanwhile."""
        with _place() as (root, _port):
            shutil.chown(root, _owner() or os.geteuid())
            self._run("pg_basebackup", *self._place(), "-D", str(root / "data"), "--checkpoint=fast", "--no-sync")
            shutil.move(root / "data", target)

    def copied(self, target: Path) -> None:
        """Every file as it stands on the disk, pages that were not vacuumed and all of the log; no template's."""
        with self.connected("postgres") as connection:
            connection.execute("CHECKPOINT")
        shutil.copytree(self._data, target, ignore=shutil.ignore_patterns("postmaster.*", "1", "4", "5"))

    def files(self) -> bytes:
        """Every byte of every file, with what was in memory."""
        with self.connected("postgres") as connection:
            connection.execute("CHECKPOINT")
        return b"\n".join(path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file())

    def drop(self) -> None:
        """All databases made so far."""
        with self.connected("postgres") as connection:
            for name in self._made:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._made.clear()

    def connected(self, database: str) -> psycopg.Connection[Any]:
        """A connection of the administrator's."""
        return psycopg.connect(
            host=str(self.root), port=self.port, user=USER, dbname=database, autocommit=True, connect_timeout=5
        )

    def _place(self) -> tuple[str, ...]:
        return "-h", str(self.root), "-p", str(self.port), "-U", USER

    def _run(self, program: str, *arguments: str, given: bytes = b"", capture: bool = False) -> bytes:
        assert BIN is not None
        done = subprocess.run(
            [str(BIN / program), *arguments], input=given, capture_output=True, timeout=60, check=False,
            user=_owner(), cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout if capture else b""


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A fresh server for as long as the context lasts."""
    with _place() as (root, port):
        server = Cluster(root, port)
        try:
            server.make()
            yield server
        finally:
            server.stop(signal.SIGQUIT)


@contextmanager
def _place() -> Iterator[tuple[Path, int]]:
    root = Path(tempfile.mkdtemp(prefix="callvault-pg-"))  # a short path: a socket's has 107 characters at most
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    try:
        yield root, port
    finally:
        shutil.rmtree(root, ignore_errors=True)
