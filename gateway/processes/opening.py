"""Opens the recording store as a configuration says: every process of an installation in the same way."""

from __future__ import annotations

from gateway.config import Settings
from storage.recordings import Recordings


def open_recordings(settings: Settings, *, node: str) -> Recordings:
    """The store, with each tenant's keys where they are; StoreError."""
    return Recordings.open(
        settings.data_folder,
        settings.keys_url,
        settings.objects_url,
        node=node,
        tenant_keys=settings.tenant_keys,
    )
