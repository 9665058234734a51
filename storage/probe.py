"""Tries to open a call from a copy of the data folder with the key provider of today: the proof that erasure holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select

from storage.catalogue import Catalogue
from storage.errors import StoreError
from storage.model import ArtefactId, CallId, TenantId
from storage.recordings import Recordings
from storage.tables import artefacts


def probe_backup(
    data_folder: Path,
    provider_url: str,
    objects_url: str,
    call: CallId,
    catalogue_url: str = "",
    tenant_keys: Mapping[str, str] | None = None,
) -> list[ArtefactId]:
    """The artefacts of the call that open from the copy; empty is the proof. The copy is brought up to date, not kept.
    `catalogue_url` names the copy of a catalogue that is on a server.

    A stream counts as opened when any of its entries decrypts, a document when it decrypts. Unavailable if the copy
    is no data folder of this provider at all: then nothing is proved.
    """
    opened: list[ArtefactId] = []
    with Recordings.open(
        data_folder, provider_url, objects_url, node="probe", catalogue_url=catalogue_url, tenant_keys=tenant_keys
    ) as recordings:
        recordings.check()
        for tenant, artefact in _artefacts(Catalogue(data_folder, catalogue_url), call):
            if _opens(recordings, tenant, artefact):
                opened.append(artefact)
    return opened


def _artefacts(catalogue: Catalogue, call: CallId) -> list[tuple[TenantId, ArtefactId]]:
    try:
        query = select(artefacts.c.tenant, artefacts.c.id).where(artefacts.c.call == call)
        with catalogue.reading() as connection:
            return [(TenantId(tenant), ArtefactId(artefact)) for tenant, artefact in connection.execute(query)]
    finally:
        catalogue.close()


def _opens(recordings: Recordings, tenant: TenantId, artefact: ArtefactId) -> bool:
    try:
        with recordings.stream(tenant, artefact, recording=True) as stream:
            if next(iter(stream.read()), None) is not None:
                return True
    except StoreError:
        pass
    try:
        recordings.document(tenant, artefact, recording=True)
    except StoreError:
        return False
    return True
