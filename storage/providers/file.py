"""Keys as files in a folder of their own: the provider of one machine without a key service.

A key is 32 random bytes behind a line that says what they are, in `<name>.key`, mode 0600, folder 0700. Beside the keys
lies a *witness*, an empty file that is never removed: a folder without it is one where nothing is mounted, or another
one, and that a key is not found there says nothing.

Destroying overwrites, syncs and unlinks. That reaches neither copies nor a file system or disk that keeps old blocks:
how long those last only the operator knows, so the finality reads "unknown" unless it is stated.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.errors import Erased, Malformed, Tampered, Unavailable, WrongProvider
from storage.providers.options import check_name, read_options

_WITNESS = ".keyring"
_HEADER = b"callvault key v1\n"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16

_FORM = "file:/absolute/folder[?finality=…&region=…]"


def from_url(parts: SplitResult, data_folder: Path) -> FileProvider:
    """The provider of `file:/var/lib/callvault-keys`."""
    if parts.netloc or not parts.path.startswith("/"):
        raise Malformed("the key provider's URL needs an absolute folder: file:/var/lib/callvault-keys")
    options = read_options(parts.query, _FORM)
    return FileProvider(
        Path(parts.path), data_folder, finality=options.get("finality", "unknown"), region=options.get("region", "")
    )


class FileProvider:
    """Wraps with AES-256-GCM under keys that are read from their files for each use and kept nowhere else."""

    non_extractable = False

    def __init__(self, folder: Path, data_folder: Path, *, finality: str = "unknown", region: str = "") -> None:
        """Opens the folder, making it where it is missing; Unavailable if it is no safe place for keys."""
        self.finality = finality
        self.region = region
        self._folder = folder.resolve()
        data = data_folder.resolve()
        if self._folder == data or data in self._folder.parents:
            raise Unavailable(f"the keyring {self._folder} lies inside the data folder: give it a folder elsewhere")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = stat.S_IMODE(self._folder.stat().st_mode)
        except OSError as error:
            raise Unavailable(f"the keyring {self._folder} cannot be opened: {error.strerror}") from error
        if mode & 0o077:
            raise Unavailable(f"others may enter the keyring {self._folder}: run chmod 700 on it")
        if not self._witness.exists() and any(self._folder.glob("*.key")):  # of a version that wrote none
            self._witness.touch(mode=0o600)

    def behind(self, name: str) -> Self:
        """This one."""
        return self

    def clock(self) -> None:
        """It has none."""

    def create(self, name: str) -> None:
        """Makes a key; of several processes that try at once, one wins and all use its key."""
        path = self._path(name)
        draft = path.with_name(f".{name}.{secrets.token_hex(8)}")
        try:
            if path.exists():
                return
            self._witness.touch(mode=0o600)
            _write(draft, _HEADER + os.urandom(_KEY_BYTES), os.O_CREAT | os.O_EXCL)
            try:
                os.link(draft, path)  # unlike a rename this never replaces a key that another process made
            except FileExistsError:
                pass
            finally:
                draft.unlink()
            self._sync_folder()
        except OSError as error:
            raise Unavailable(f"the keyring cannot store a key: {error.strerror}") from error

    def wrap(self, name: str, plaintext: bytes, aad: bytes) -> bytes:
        """Nonce, ciphertext and tag."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + AESGCM(self._read(name)).encrypt(nonce, plaintext, aad)

    def unwrap(self, name: str, wrapped: bytes, aad: bytes) -> bytes:
        """The plaintext; Erased if there is no such key, Tampered if it does not fit."""
        key = self._read(name)
        if len(wrapped) < _NONCE_BYTES + _TAG_BYTES:
            raise Tampered(f"too short to have been wrapped by key {name}")
        try:
            return AESGCM(key).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], aad)
        except InvalidTag:
            raise Tampered(f"not wrapped by key {name} for this use") from None

    def destroy(self, name: str) -> str:
        """Overwrites, syncs, unlinks, syncs the folder."""
        path = self._path(name)
        try:
            if not path.exists():
                self._check_witness()
                return "file: no such key"
            _write(path, bytes(len(_HEADER) + _KEY_BYTES), 0)
            path.unlink()
            self._sync_folder()
        except OSError as error:
            raise Unavailable(f"the keyring cannot destroy key {name}: {error.strerror}") from error
        return "file: overwritten, unlinked and synced"

    def exists(self, name: str) -> bool:
        """Whether the key's file is there."""
        if self._path(name).exists():
            return True
        self._check_witness()
        return False

    def check(self) -> None:
        """Tries that the folder can be entered and written."""
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            raise Unavailable(f"the keyring {self._folder} cannot be written: check its owner, mode and disk")

    def _path(self, name: str) -> Path:
        return self._folder / f"{check_name(name)}.key"

    @property
    def _witness(self) -> Path:
        return self._folder / _WITNESS

    def _check_witness(self) -> None:
        try:
            self._folder.stat()
            if not self._witness.exists():
                raise WrongProvider(f"{self._folder} has none of our keys: is the keyring mounted, and the right one?")
        except OSError as error:
            raise Unavailable(f"the keyring {self._folder} is away: {error.strerror}") from error

    def _read(self, name: str) -> bytes:
        try:
            stored = self._path(name).read_bytes()
        except FileNotFoundError:
            self._check_witness()
            raise Erased(f"the keyring has no key {name}") from None
        except OSError as error:
            raise Unavailable(f"the keyring cannot be read: {error.strerror}") from error
        if len(stored) != len(_HEADER) + _KEY_BYTES or not stored.startswith(_HEADER):
            raise Unavailable(f"the file of key {name} is not a key: an interrupted destruction, or damage")
        return stored[len(_HEADER) :]

    def _sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write(path: Path, data: bytes, flags: int) -> None:
    handle = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        os.write(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
