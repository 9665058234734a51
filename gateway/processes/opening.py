"""Opens the recording store as a configuration says: every process of an installation in the same way."""

from __future__ import annotations

from gateway.config import Settings
from gateway.places import places_of
from storage.recordings import Recordings


def open_recordings(settings: Settings, *, node: str, transcribing: bool = False) -> Recordings:
    """The store: its catalogue, each tenant's keys, and the places where this process works; StoreError."""
    return Recordings.open(
        settings.data_folder,
        settings.keys_url,
        settings.objects_url,
        node=node,
        catalogue_url=settings.store.catalogue,
        witness=settings.witness_url,
        tenant_keys=settings.tenant_keys,
        places=places_of(settings, transcribing=transcribing),
    )
