"""Object stores to start on this machine: JuiceFS's gateway, which is S3 with real signatures on a real disk.

with juicefs(folder) as store:
    url = store.bucket("recordings")     # for CALLVAULT_STORE__OBJECTS
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import S3Error

ADDRESS = "127.0.0.1"
ACCESS_KEY, SECRET_KEY = "callvault", "only-on-this-machine"
READY_S = 90.0  # one second on an idle machine
STOP_S = 10.0
_VOLUME = "vault"


class StoreServer:
    """One S3 server as a child process on a port of loopback; `kill` is kill -9, and `start` begins it again."""

    def __init__(self, folder: Path, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.port = _free_port()
        self._argv = [word.replace("{port}", str(self.port)) for word in argv]
        self._environ = os.environ | environ
        self._process: subprocess.Popen[bytes] | None = None
        self.credentials = folder / "credentials"
        self.credentials.touch(mode=0o600)
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
        )
        self.client = Minio(
            f"{ADDRESS}:{self.port}",
            ACCESS_KEY,
            SECRET_KEY,
            secure=False,
            region="us-east-1",
            http_client=urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(STOP_S)),
        )
        """For what callvault itself does not do: making and configuring buckets."""

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers; TimeoutError with the end of what it said."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + READY_S
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise TimeoutError((self.folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)

    def bucket(self, name: str, prefix: str = "") -> str:
        """Make a bucket, if it is not there, and give the URL of a store in it."""
        with suppress(S3Error):
            self.client.make_bucket(name)
        return self.url(name, prefix)

    def url(self, bucket: str, prefix: str = "") -> str:
        """The URL of a store in that bucket, by the server's own credentials."""
        below = f"/{prefix}" if prefix else ""
        return f"s3+http://{ADDRESS}:{self.port}/{bucket}{below}?credentials={self.credentials}"

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order, within a limit."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        try:
            with closing(http.client.HTTPConnection(ADDRESS, self.port, timeout=1.0)) as connection:
                connection.request("GET", "/")
                status = connection.getresponse().status
        except OSError:
            return False
        return status < 500  # 503 while it is still opening its disk


@contextmanager
def juicefs(folder: Path) -> Iterator[StoreServer]:
    """A JuiceFS gateway with its data and metadata in `folder`, for as long as the context lasts."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    program = Path(sys.executable).with_name("juicefs")
    metadata = f"sqlite3://{folder}/metadata.sqlite3"
    disk = ("--storage", "file", "--bucket", f"{folder}/disk/", "--trash-days", "0")
    subprocess.run([program, "format", *disk, metadata, _VOLUME], check=True, capture_output=True, timeout=READY_S)
    options = ("--multi-buckets", "--keep-etag", "--object-meta", "--no-banner", "--no-usage-report")
    environ = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
    server = StoreServer(folder, [str(program), "gateway", *options, metadata, f"{ADDRESS}:{{port}}"], environ)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port
