"""The installation's own secrets: what signs the ledger, tags tenants' names and seals labels.

They are wrapped by the provider's key `installation`, which is never destroyed: nothing about a call hangs on it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from sqlalchemy import select

from storage.catalogue import Catalogue
from storage.errors import Erased, Unavailable
from storage.model import Secret
from storage.providers import KeyProvider
from storage.tables import installation

_PROVIDER_KEY = "installation"
_NAMES = ("ledger", "tags", "labels")
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Installation:
    """Three secrets of 32 bytes, each for one use."""

    ledger: Secret
    tags: Secret
    labels: Secret


def open_installation(catalogue: Catalogue, provider: KeyProvider) -> Installation:
    """Loads the secrets; makes them at the first start, of which several processes may be part."""
    with catalogue.reading() as connection:
        wrapped = {row.name: row.wrapped for row in connection.execute(select(installation))}
    if not wrapped:
        wrapped = _create(catalogue, provider)
    try:
        secrets = {name: Secret(provider.unwrap(_PROVIDER_KEY, wrapped[name], _aad(name))) for name in _NAMES}
    except Erased as error:
        raise Unavailable("the key provider has no key of this store: is it the right keyring?") from error
    return Installation(**secrets)


def _create(catalogue: Catalogue, provider: KeyProvider) -> dict[str, bytes]:
    provider.create(_PROVIDER_KEY)
    made = {name: provider.wrap(_PROVIDER_KEY, os.urandom(_SECRET_BYTES), _aad(name)) for name in _NAMES}
    with catalogue.writing() as connection:
        found = {row.name: row.wrapped for row in connection.execute(select(installation))}
        if found:
            return found
        connection.execute(installation.insert(), [{"name": name, "wrapped": made[name]} for name in _NAMES])
    return made


def _aad(name: str) -> bytes:
    return b"callvault installation v1 " + name.encode()
