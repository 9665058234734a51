"""What would keep a store from opening, found without opening it, so that everything is told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.catalogue import check_database
from storage.errors import StoreError, Unavailable
from storage.objects import Finding, open_store
from storage.providers import open_provider
from storage.unfinished import refuse_unfinished
from storage.witness import Witness, witness_url


@dataclass(frozen=True, slots=True)
class Custody:
    """What is true of a key provider; `trouble` is what is wrong with it now, "" if nothing is."""

    trouble: str
    finality: str = "unknown"
    region: str = ""
    non_extractable: bool = False


def custody(data_folder: Path, provider_url: str) -> Custody:
    """Asks a key provider: seconds, where it is away. Malformed for a URL that names none."""
    try:
        provider = open_provider(provider_url, data_folder)
    except Unavailable as error:
        return Custody(str(error))
    stated = Custody("", provider.finality, provider.region, provider.non_extractable)
    try:
        provider.check()
    except Unavailable as error:
        return replace(stated, trouble=str(error))
    return stated


def problems(
    data_folder: Path,
    provider_url: str,
    objects_url: str,
    catalogue_url: str = "",
    tenant_keys: Mapping[str, str] | None = None,
    witness: str = "",
) -> list[str]:
    """Each part that cannot be used, with what would mend it; empty if the store can be opened.

    A tenant's own key provider may be away, and keeps nobody else from starting; its URL must be one.
    """
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
        check_database(catalogue_url, data_folder)
    except StoreError as error:
        found.append(f"catalogue: {error}")
    try:
        refuse_unfinished(data_folder)
        Witness.open(witness_url(witness, data_folder))
    except StoreError as error:
        found.append(f"witness: {error}")
    for name, url in (tenant_keys or {}).items():
        try:
            open_provider(url, data_folder)
        except Unavailable:
            continue
        except StoreError as error:
            found.append(f"key provider of tenant {name}: {error}")
    return found + [f"object store: {finding.text}" for finding in _examine(objects_url) if finding.refuse]


def remarks(objects_url: str) -> list[tuple[str, str]]:
    """What does not keep the store from being used and should be known: a constant code, and what it means.

    A store that is away belongs here: calls go into the spool until it is back.
    """
    return [(finding.code, finding.text) for finding in _examine(objects_url) if not finding.refuse]


def _examine(objects_url: str) -> Sequence[Finding]:
    try:
        return open_store(objects_url).examine()
    except StoreError as error:
        return [Finding("store-unusable", str(error), refuse=True)]
