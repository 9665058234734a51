"""Key providers: who holds the keys that are destroyed. One row a provider, chosen by the URL's scheme."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from storage.errors import Malformed
from storage.providers.file import FileProvider


class KeyProvider(Protocol):
    """Keys by name that wrap other keys and never leave; a destroyed key is gone for good.

    Raises Unavailable where the provider cannot be asked, Erased where it answers that there is no such key.
    The two are never confused: only the second is evidence of destruction.
    """

    finality: str
    """For how long the provider's own history could bring a destroyed key back; "unknown" if nobody states it."""

    def create(self, name: str) -> None:
        """Makes the key `name`; nothing happens if it is there already."""

    def wrap(self, name: str, plaintext: bytes, aad: bytes) -> bytes:
        """Seals a few bytes under the key, bound to `aad`."""

    def unwrap(self, name: str, wrapped: bytes, aad: bytes) -> bytes:
        """Opens what `wrap` gave; Tampered if key, bytes or `aad` are others."""

    def destroy(self, name: str) -> str:
        """Destroys the key and gives the provider's answer, for the certificate; may be repeated."""

    def exists(self, name: str) -> bool:
        """Whether the provider has the key."""

    def check(self) -> None:
        """Raises Unavailable, with what to do about it, if keys cannot be made and used."""


def open_provider(url: str, data_folder: Path) -> KeyProvider:
    """The provider that a URL names: `file:/absolute/folder`, with `?finality=30d` where the operator states it.

    Keys must not lie in `data_folder`: whoever copies the data would copy the keys with it.
    """
    parts = urlsplit(url)
    try:
        make = _SCHEMES[parts.scheme]
    except KeyError:
        known = ", ".join(f"{scheme}:" for scheme in _SCHEMES)
        raise Malformed(f"unknown key provider scheme {parts.scheme!r}; known: {known}") from None
    return make(parts, data_folder)


def _open_file(parts: SplitResult, data_folder: Path) -> KeyProvider:
    if parts.netloc or not parts.path.startswith("/"):
        raise Malformed("the key provider's URL needs an absolute folder: file:/var/lib/callvault-keys")
    name, _, finality = parts.query.partition("=")
    if parts.query and (name != "finality" or not finality):
        raise Malformed("the only option of a file: key provider is ?finality=…")
    return FileProvider(Path(parts.path), data_folder, finality=finality or "unknown")


_SCHEMES: dict[str, Callable[[SplitResult, Path], KeyProvider]] = {"file": _open_file}
