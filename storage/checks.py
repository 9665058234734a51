"""What would keep a store from opening, found without opening it, so that everything is told at once."""

from __future__ import annotations

from pathlib import Path

from storage.errors import StoreError
from storage.objects import open_store
from storage.providers import open_provider


def problems(data_folder: Path, provider_url: str, objects_url: str) -> list[str]:
    """Each part that cannot be used, with what would mend it; empty if the store can be opened."""
    found = []
    try:
        data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark = data_folder / ".writable"
        mark.touch()
        mark.unlink()
    except OSError as error:
        found.append(f"data folder {data_folder}: {error.strerror}")
    try:
        open_provider(provider_url, data_folder).check()
    except (StoreError, ValueError) as error:
        found.append(f"key provider: {error}")
    try:
        open_store(objects_url).check()
    except (StoreError, ValueError) as error:
        found.append(f"object store: {error}")
    return found
