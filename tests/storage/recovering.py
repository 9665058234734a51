"""The attack that erasure is to withstand: every row of every copy, tried against every key that they lead to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select

from storage.envelope import check_commitment
from storage.epochs import artefact_ref
from storage.errors import StoreError
from storage.keys import artefact_aad, bucket_aad, epoch_aad, node_aad, provider_key, slot_of, unwrap
from storage.model import Secret
from storage.providers import KeyProvider
from storage.records import NewCall
from storage.tables import artefact_keys, artefacts, buckets, epochs, nodes
from tests.storage.stores import catalogue_at

_EPOCHS_TRIED = 6


def recover(root: Path, folders: list[str], provider: KeyProvider, new: NewCall) -> set[str]:
    """The artefacts of a call whose keys can be had: every epoch row with every provider key that could fit, every
    bucket row with every secret found, every node row with every key found above it, every key row with every key of a
    node, whatever database each is from."""
    epoch_rows, bucket_rows, node_rows, key_rows, artefact_rows = _all_rows(root, folders)
    secrets: set[bytes] = set()
    for row in epoch_rows:
        for n in range(_EPOCHS_TRIED):
            for number in (n, row.n):
                try:
                    aad = epoch_aad(row.tenant, row.root, number)
                    secrets.add(provider.unwrap(provider_key(row.tenant, row.root, n), row.wrapped, aad))
                except StoreError:
                    continue
    keys: set[bytes] = set()
    for row in bucket_rows:
        aad = bucket_aad(row.tenant, row.root, row.epoch, row.id, slot_of(row))
        keys |= set(_opened(secrets, row.wrapped, aad))
    for _level in ("nodes", "leaves"):
        for row in node_rows:
            keys |= set(_opened(keys, row.wrapped, node_aad(new.tenant, row.id, row.parent)))
    opened: set[str] = set()
    ids = {artefact.ref.artefact: artefact for artefact in new.artefacts}
    for key_row in key_rows:
        for artefact_row in artefact_rows:
            if artefact_row.id == key_row.artefact and key_row.artefact in ids:
                aad = artefact_aad(artefact_ref(artefact_row), key_row.leaf)
                for key in _opened(keys, key_row.wrapped, aad):
                    check_commitment(Secret(key), artefact_row.commitment)
                    assert key == ids[key_row.artefact].key.reveal()
                    opened.add(key_row.artefact)
    return opened


def _opened(keys: set[bytes], wrapped: bytes, aad: bytes) -> Iterator[bytes]:
    for key in keys:
        try:
            yield unwrap(key, wrapped, aad)
        except StoreError:
            continue


def _all_rows(root: Path, folders: list[str]) -> list[list[Any]]:
    found: list[list[Any]] = [[], [], [], [], []]
    for folder in folders:
        catalogue = catalogue_at(root, folder)
        with catalogue.reading() as connection:
            for rows, table in zip(found, (epochs, buckets, nodes, artefact_keys, artefacts), strict=True):
                rows.extend(connection.execute(select(table)))
        catalogue.close()
    return found
