"""Keys in OpenBao's transit engine: one for each name, never versions of one, used over HTTPS.

    openbao://bao.example.net:8200/transit?token-file=/etc/callvault/bao-token[&namespace=…&ca-file=/ca.pem]

names host, port and mount; `openbao+http://127.0.0.1:8200/…` an agent on this machine. The token's file has mode 0600
and is read again when it changes, as agents renew it. A key's kind and secrecy are read back when it is made, and again
before anything is sealed under it: aes256-gcm96, one version, not exportable, no plaintext backup, may be deleted.
The mount must have `disable_upsert`: else sealing under a key that was destroyed would silently make it anew.

A key counts as destroyed only if the engine itself says so, and if the mount, asked in the same breath, is a transit
engine of which we may see the configuration: another mount, a namespace that is not there, a server that is sealed,
stands by, or does not answer within its limit are all "away".

**Finality:** a destroyed key is gone from the server at once, and comes back with its storage: a raft snapshot or a
copy of the storage from before, put back, opens all that was destroyed since (`tests/storage/test_finality.py` does
it). How long those are kept only their operator knows: finality reads "unknown" unless it is stated.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult

from storage.errors import Erased, Malformed, Tampered, Unavailable
from storage.providers.baohttp import ANSWER_S, Answer, BaoServer, base_url
from storage.providers.options import check_name, read_file_option, read_options
from storage.providers.secretfile import SecretFile

_FORM = "openbao://HOST[:PORT]/MOUNT?token-file=/file[&namespace=…&ca-file=/file&finality=…&region=…]"
_PATH = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}(/[0-9A-Za-z][0-9A-Za-z._-]{0,63}){0,4}\Z")
"""Of a mount, and of a namespace."""
_TYPE = "aes256-gcm96"
_REQUIRED = {
    "type": _TYPE,
    "exportable": False,
    "allow_plaintext_backup": False,
    "derived": False,
    "imported_key": False,
    "latest_version": 1,
    "deletion_allowed": True,
}
_NO_KEY = "encryption key not found"
_WRAPPED = re.compile(rb"vault:v1:[A-Za-z0-9+/]{38,}={0,2}\Z")


def from_url(parts: SplitResult, data_folder: Path) -> OpenBaoProvider:
    """The provider of a URL; nothing is connected to yet."""
    options = read_options(parts.query, _FORM, ("token-file", "namespace", "ca-file"))
    mount, namespace = parts.path.strip("/"), options.get("namespace", "")
    if not _PATH.match(mount) or (namespace and not _PATH.match(namespace)):
        raise Malformed(f"an OpenBao server is written {_FORM}")
    token = SecretFile(read_file_option(options, "token-file", _FORM), "OpenBao token")
    authority = read_file_option(options, "ca-file", _FORM) if "ca-file" in options else None
    return OpenBaoProvider(
        base_url(parts, _FORM) + mount + "/",
        token,
        namespace=namespace,
        ca_file=authority,
        finality=options.get("finality", "unknown"),
        region=options.get("region", ""),
    )


class OpenBaoProvider:
    """Wraps by transit; what is wrapped is the engine's own text, `vault:v1:…`. Thread-safe."""

    non_extractable = True

    def __init__(
        self,
        mount_url: str,
        token: SecretFile,
        *,
        namespace: str = "",
        ca_file: Path | None = None,
        finality: str = "unknown",
        region: str = "",
        answer_s: float = ANSWER_S,
    ) -> None:
        self.finality = finality
        self.region = region
        self._server = BaoServer(mount_url, token, namespace, ca_file, answer_s)

    def behind(self, name: str) -> Self:
        """This one."""
        return self

    def clock(self) -> int | None:
        """What stands as Date over the server's answers; None of one on this machine."""
        return None if self._server.is_local else self._server.clock()

    def create(self, name: str) -> None:
        """Makes a key that may be deleted and not exported; reads that back, and refuses anything else."""
        check_name(name)
        self._check_mount()
        wanted = {"type": _TYPE, "exportable": False, "allow_plaintext_backup": False}
        _require(self._server.ask("POST", f"keys/{name}", wanted), "make a key")
        _require(self._server.ask("POST", f"keys/{name}/config", {"deletion_allowed": True}), "allow its deletion")
        self._read_back(name)

    def wrap(self, name: str, plaintext: bytes, aad: bytes) -> bytes:
        """The engine's ciphertext."""
        check_name(name)
        self._check_mount()
        self._read_back(name)
        body = {"plaintext": _text(plaintext), "associated_data": _text(aad)}
        answer = self._server.ask("POST", f"encrypt/{name}", body)
        self._check_present(name, answer)
        wrapped = str(_require(answer, "seal").data.get("ciphertext")).encode()
        if not _WRAPPED.match(wrapped):
            raise Unavailable("OpenBao, seal: its answer is no ciphertext of a key's first version")
        return wrapped

    def unwrap(self, name: str, wrapped: bytes, aad: bytes) -> bytes:
        """The plaintext; Erased if the engine has no such key, Tampered if it does not fit."""
        check_name(name)
        fits = _WRAPPED.match(wrapped) is not None
        body = {"ciphertext": wrapped.decode("ascii") if fits else "", "associated_data": _text(aad)}
        if not fits:
            if not self.exists(name):
                raise Erased(f"OpenBao has no key {name}")
            raise Tampered(f"not wrapped by key {name}")
        answer = self._server.ask("POST", f"decrypt/{name}", body)
        self._check_present(name, answer)
        if answer.status == 400:
            self._read_back(name)  # the key is there and as it should be: then it is the bytes that are wrong
            raise Tampered(f"not wrapped by key {name} for this use")
        try:
            return base64.b64decode(str(_require(answer, "open").data["plaintext"]), validate=True)
        except (KeyError, ValueError):
            raise Unavailable("OpenBao, open: its answer has no plaintext") from None

    def destroy(self, name: str) -> str:
        """Allows and asks for the deletion, then reads that the key is not there."""
        check_name(name)
        if not self.exists(name):
            return "openbao: no such key"
        self._server.ask("POST", f"keys/{name}/config", {"deletion_allowed": True})
        self._server.ask("DELETE", f"keys/{name}")  # whatever it answers: what counts is what is there afterwards
        if self.exists(name):
            raise Unavailable(f"OpenBao still has key {name}: may its token delete keys?")
        return "openbao: deleted, and not found afterwards"

    def exists(self, name: str) -> bool:
        """Whether the engine has the key."""
        answer = self._server.ask("GET", f"keys/{check_name(name)}")
        if answer.status == 404 and not answer.errors:
            self._check_mount()
            return False
        _require(answer, "look at a key")
        return True

    def check(self) -> None:
        """Tries that the mount is a transit engine that makes no keys unasked."""
        self._check_mount()

    def _check_mount(self) -> None:
        answer = self._server.ask("GET", "config/keys")
        if answer.status != 200 or "disable_upsert" not in answer.data:
            raise Unavailable("OpenBao has no transit engine at this mount: check mount and namespace")
        if answer.data["disable_upsert"] is not True:
            raise Unavailable(
                "OpenBao would make keys anew that were destroyed: bao write MOUNT/config/keys disable_upsert=true"
            )

    def _check_present(self, name: str, answer: Answer) -> None:
        """Erased if the answer says that there is no such key, and the key's own page and the mount's agree."""
        if answer.status == 400 and _NO_KEY in answer.errors:
            if self.exists(name):
                raise Unavailable(f"OpenBao says that key {name} is there, and that it is not: try again")
            raise Erased(f"OpenBao has no key {name}")

    def _read_back(self, name: str) -> None:
        answer = self._server.ask("GET", f"keys/{name}")
        if answer.status == 404 and not answer.errors:
            self._check_mount()
            raise Erased(f"OpenBao has no key {name}")
        found = _require(answer, "look at a key").data
        wrong = [field for field, value in _REQUIRED.items() if found.get(field) != value]
        if wrong:
            raise Unavailable(f"OpenBao's key {name} is not as it must be ({', '.join(wrong)}): it is not used")


def _require(answer: Answer, what: str) -> Answer:
    """The answer itself; Unavailable if it is a refusal. What the server says is not repeated: it may quote."""
    if answer.status not in (200, 204):
        raise Unavailable(f"OpenBao, {what}: refused with HTTP status {answer.status}")
    return answer


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
