"""What a recording store stands on, opened in its order: objects, witness, key providers, catalogue, secrets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from storage.catalogue import Catalogue
from storage.errors import Unavailable
from storage.installation import Installation, open_installation
from storage.ledger import Ledger
from storage.objects import ObjectStore, open_store
from storage.providers import open_provider
from storage.providers.measured import Measured
from storage.providers.routed import Routed
from storage.safekeeping import compare
from storage.signing import Signer
from storage.tenancy import Tenancy
from storage.tenantkeys import misplaced
from storage.unfinished import refuse_unfinished
from storage.witness import Witness, witness_url


@dataclass(frozen=True, slots=True)
class Foundation:
    """Open, and to be closed."""

    data_folder: Path
    catalogue: Catalogue
    served: bool  # whether the catalogue is on a server
    routed: Routed
    provider: Measured  # the same, counted
    objects: ObjectStore
    witness: Witness
    installation: Installation
    signer: Signer
    ledger: Ledger
    tenancy: Tenancy

    @classmethod
    def open(
        cls,
        data_folder: Path,
        provider_url: str,
        objects_url: str,
        catalogue_url: str,
        witness: str,
        tenant_keys: Mapping[str, str],
    ) -> Self:
        """Opens everything, or nothing. RolledBack, Tampered where the witness has seen another or a newer ledger."""
        objects = open_store(objects_url)
        seen = Witness.open(witness_url(witness, data_folder))
        refuse_unfinished(data_folder)
        routed = Routed(open_provider(provider_url, data_folder))
        data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        catalogue = Catalogue(data_folder, catalogue_url)
        try:
            compare(seen, catalogue)
            installation = open_installation(catalogue, routed)
            tenancy = Tenancy(catalogue, installation.tags)
            _route(routed, catalogue, tenancy, tenant_keys, data_folder)
        except BaseException:
            catalogue.close()
            raise
        signer = Signer(installation.ledger)
        served, provider, ledger = bool(catalogue_url), Measured(routed), Ledger(signer)
        opened = (routed, provider, objects, seen, installation, signer, ledger, tenancy)
        return cls(data_folder, catalogue, served, *opened)

    @property
    def locks(self) -> Path:
        """The folder of the locks."""
        return self.data_folder / "locks"


def _route(
    routed: Routed, catalogue: Catalogue, tenancy: Tenancy, tenant_keys: Mapping[str, str], data_folder: Path
) -> None:
    openers = {tenancy.id_of(name): partial(open_provider, url, data_folder) for name, url in tenant_keys.items()}
    with catalogue.reading() as connection:
        barred = misplaced(connection, openers.keys())
    routed.route(openers, barred)
    for tenant in openers.keys() - barred:
        with suppress(Unavailable):  # away: it is opened later
            routed.behind(tenant)
