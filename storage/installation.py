"""The installation's own secrets: what signs the ledger, tags tenants' names, seals labels and statistics, confirms.

They are wrapped by the provider's key `installation`, which is never destroyed: nothing about a call hangs on it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from storage.catalogue import Catalogue
from storage.chain import Entry, check_key_change
from storage.errors import Erased, Malformed, Unavailable
from storage.ledger import Ledger
from storage.model import Secret
from storage.providers import KeyProvider
from storage.signing import Signer, fingerprint_of
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


def change_ledger_key(catalogue: Catalogue, provider: KeyProvider, ledger: Ledger, now_s: float) -> str:
    """A new secret that signs the ledger, in the transaction of the entry that both keys sign; the new fingerprint.

    The entry holds the new secret as it is wrapped: a backup from before the change has only the old one.
    """
    seed = Secret(os.urandom(_SECRET_BYTES))
    wrapped = provider.wrap(PROVIDER_KEY, seed.reveal(), _aad("ledger"))
    new = Signer(seed)
    with catalogue.writing() as connection:
        ledger.change_key(connection, now_s, new, {"wrapped": wrapped.hex()})
        _replace(connection, wrapped)
    return fingerprint_of(new.public_key)


def replay_key_change(connection: Connection, entry: Entry) -> None:
    """What the entry did to the installation, done again after a restore; Malformed."""
    check_key_change(entry)
    wrapped = entry.body.get("wrapped")
    if not isinstance(wrapped, str):
        raise Malformed(f"entry {entry.seq} of the ledger changes its key and does not hold it")
    _replace(connection, bytes.fromhex(wrapped))


def _replace(connection: Connection, wrapped: bytes) -> None:
    connection.execute(update(installation).where(installation.c.name == "ledger").values(wrapped=wrapped))


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
