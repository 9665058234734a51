"""Key providers: who holds the keys that are destroyed. One row a provider, chosen by the URL's scheme."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from storage.errors import Malformed
from storage.providers import file
from storage.providers.options import URL_CHARACTERS_MAX


class KeyProvider(Protocol):
    """Keys by name that wrap other keys and never leave; a destroyed key is gone for good.

    Raises Unavailable where the provider cannot be asked, Erased where it answers that there is no such key.
    The two are never confused: only the second is evidence of destruction.
    """

    @property
    def finality(self) -> str:
        """For how long the provider's own history could bring a destroyed key back; "unknown" if nobody states it."""

    @property
    def region(self) -> str:
        """Where the provider is, as the operator states it; "" if nobody does."""

    @property
    def non_extractable(self) -> bool:
        """Whether nobody, not even we, can read a key out; if so, that was read back from the provider."""

    def behind(self, name: str) -> KeyProvider:
        """The provider of the key `name`, or of the tenant of that id: this one, unless it sends keys to several."""

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

    def clock(self) -> int | None:
        """Unix time by the provider's own clock; None if it has none, or that of this machine. Unavailable."""


def open_provider(url: str, data_folder: Path) -> KeyProvider:
    """The provider that a URL names; Malformed for any other URL. Nothing but `file:` is connected to yet.

    Keys must not lie in `data_folder`: whoever copies the data would copy the keys with it.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Malformed("the key provider's URL cannot be read") from None
    try:
        make = _SCHEMES[parts.scheme]
    except KeyError:
        known = ", ".join(f"{scheme}:" for scheme in _SCHEMES)
        raise Malformed(f"unknown key provider scheme {parts.scheme!r}; known: {known}") from None
    if len(url) > URL_CHARACTERS_MAX or parts.fragment:
        raise Malformed("the key provider's URL is too long, or has a fragment")
    return make(parts, data_folder)


def _open_pkcs11(parts: SplitResult, data_folder: Path) -> KeyProvider:
    from storage.providers import pkcs11  # noqa: PLC0415  # its SDK is slow to load and seldom needed

    return pkcs11.from_url(parts, data_folder)


def _open_openbao(parts: SplitResult, data_folder: Path) -> KeyProvider:
    from storage.providers import openbao  # noqa: PLC0415  # urllib3 is a tenth of the store's start

    return openbao.from_url(parts, data_folder)


_SCHEMES: dict[str, Callable[[SplitResult, Path], KeyProvider]] = {
    "file": file.from_url,
    "pkcs11": _open_pkcs11,
    "openbao": _open_openbao,
    "openbao+http": _open_openbao,
}
