"""The attack that erasure is to withstand: every row of every copy, tried against every key that they lead to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from storage.envelope import check_commitment
from storage.epochs import artefact_ref
from storage.errors import StoreError
from storage.keys import artefact_aad, bucket_aad, epoch_aad, node_aad, provider_key, slot_of, unwrap
from storage.model import ArtefactId, Secret, TenantId
from storage.providers import KeyProvider
from storage.records import NewCall
from storage.tables import artefact_keys, artefacts, buckets, epochs, nodes
from tests.storage.stores import catalogue_at

_EPOCHS_MORE = 2
"""Tried beyond the last that a row names."""


def recover(root: Path, folders: list[str], provider: KeyProvider, new: NewCall) -> set[str]:
    """The artefacts of a call whose keys can be had, by `recover_each`; they are the ones that the call was given."""
    known = {artefact.ref.artefact: artefact.key.reveal() for artefact in new.artefacts}
    found = _recovered(root, folders, provider, [new.tenant])
    assert all(known[artefact] == key for artefact, key in found if artefact in known)
    return {artefact for artefact, _ in found if artefact in known}


def recover_each(root: Path, folders: list[str], provider: KeyProvider, tenants: Sequence[TenantId]) -> set[ArtefactId]:
    """The artefacts whose keys can be had: every epoch row with every provider key that could fit, every bucket row
    with every secret found, every node row with every key found above it, every key row with every key of a node,
    whatever database each is from."""
    return {artefact for artefact, _ in _recovered(root, folders, provider, tenants)}


def _recovered(
    root: Path, folders: list[str], provider: KeyProvider, tenants: Sequence[TenantId]
) -> set[tuple[ArtefactId, bytes]]:
    epoch_rows, bucket_rows, node_rows, key_rows, artefact_rows = _all_rows(root, folders)
    secrets: set[bytes] = set()
    ends = max((row.n for row in epoch_rows), default=0) + _EPOCHS_MORE
    for row in epoch_rows:
        for n in range(ends):
            for number in {n, row.n}:
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
            for tenant in tenants:
                keys |= set(_opened(keys, row.wrapped, node_aad(tenant, row.id, row.parent)))
    of_artefact = {row.id: row for row in artefact_rows}  # what is sealed names these fields: no copy has others
    found: set[tuple[ArtefactId, bytes]] = set()
    for key_row in key_rows:
        artefact_row = of_artefact[key_row.artefact]
        for key in _opened(keys, key_row.wrapped, artefact_aad(artefact_ref(artefact_row), key_row.leaf)):
            check_commitment(Secret(key), artefact_row.commitment)
            found.add((ArtefactId(key_row.artefact), key))
    return found


def _opened(keys: set[bytes], wrapped: bytes, aad: bytes) -> Iterator[bytes]:
    for key in keys:
        try:
            yield unwrap(key, wrapped, aad)
        except StoreError:
            continue


def _all_rows(root: Path, folders: list[str]) -> list[list[Any]]:
    """The rows of each table, each once whichever copies it stands in."""
    found: list[dict[Any, Any]] = [{}, {}, {}, {}, {}]
    for folder in folders:
        catalogue = catalogue_at(root, folder)
        with catalogue.reading() as connection:
            for rows, table in zip(found, (epochs, buckets, nodes, artefact_keys, artefacts), strict=True):
                said = [column for column in table.c if column.name not in ("serial", "state", "size", "due")]
                columns = [column for column in said if column.name != "interrupted"]
                rows.update({tuple(row): row for row in connection.execute(select(*columns))})
        catalogue.close()
    return [list(rows.values()) for rows in found]
