"""The installation's own secrets: what signs the ledger, tags tenants' names, seals labels and statistics, confirms.

They are wrapped by the provider's key `installation`, which is never destroyed: nothing about a call hangs on it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from storage.catalogue import Catalogue
from storage.errors import Erased, Unavailable
from storage.model import Secret
from storage.providers import KeyProvider
from storage.tables import installation

PROVIDER_KEY = "installation"
"""Its name at the store's provider."""
_NAMES = ("ledger", "tags", "labels", "statistics", "confirmations")
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Installation:
    """Secrets of 32 bytes, each for one use."""

    ledger: Secret
    tags: Secret
    labels: Secret
    statistics: Secret
    confirmations: Secret


def open_installation(catalogue: Catalogue, provider: KeyProvider) -> Installation:
    """Loads the secrets; makes what is missing, at the first start all. Several processes may start at once."""
    with catalogue.reading() as connection:
        wrapped = {row.name: row.wrapped for row in connection.execute(select(installation))}
    if missing := [name for name in _NAMES if name not in wrapped]:
        wrapped |= _create(catalogue, provider, missing)
    try:
        secrets = {name: Secret(provider.unwrap(PROVIDER_KEY, wrapped[name], _aad(name))) for name in _NAMES}
    except Erased as error:
        raise Unavailable("the key provider has no key of this store: is it the right keyring?") from error
    return Installation(**secrets)


def _create(catalogue: Catalogue, provider: KeyProvider, missing: Sequence[str]) -> dict[str, bytes]:
    provider.create(PROVIDER_KEY)
    made = {name: provider.wrap(PROVIDER_KEY, os.urandom(_SECRET_BYTES), _aad(name)) for name in missing}
    with catalogue.writing() as connection:
        found = {row.name: row.wrapped for row in connection.execute(select(installation))}
        rows = [{"name": name, "wrapped": made[name]} for name in missing if name not in found]
        if rows:
            connection.execute(installation.insert(), rows)
    return made | found


def _aad(name: str) -> bytes:
    return b"callvault installation v1 " + name.encode()
