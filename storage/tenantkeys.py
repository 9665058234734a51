"""Which tenants' keys are at a provider of their own: noted with a tenant's first key, since keys never move.

A process that was told otherwise (a configuration of before, a command without one, a URL added later) must not look
for them at the wrong provider: there they are not, which would pass for their destruction.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, select

from storage.installation import PROVIDER_KEY
from storage.model import TenantId
from storage.providers import KeyProvider
from storage.tables import epochs, own_keys


def note_first_key(connection: Connection, provider: KeyProvider, tenant: TenantId) -> None:
    """Notes that a tenant has its keys at its own provider, if it has; in the transaction that stores its first one."""
    noted = connection.scalar(select(own_keys.c.tenant).where(own_keys.c.tenant == tenant))
    if noted is None and provider.behind(tenant) is not provider.behind(PROVIDER_KEY):
        connection.execute(own_keys.insert(), {"tenant": tenant})


def misplaced(connection: Connection, own: Collection[TenantId]) -> set[str]:
    """The tenants whose keys are not where a configuration says that has a provider of their `own` for these."""
    noted = set(connection.scalars(select(own_keys.c.tenant)))
    begun = set(connection.scalars(select(epochs.c.tenant).distinct())) & (noted | set(own))
    return begun & (noted ^ set(own))
