"""Keys for two days, tenant by tenant: one whose key provider is away keeps nobody else from having theirs."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from gateway.config import Settings
from storage.errors import Unavailable, WrongProvider
from storage.recordings import Recordings

log = logging.getLogger(__name__)


def prepare_keys(recordings: Recordings, settings: Settings) -> Mapping[str, Unavailable]:
    """Prepares each tenant's; gives, by name, those for whom that failed. Seconds for each provider that is away."""
    away: dict[str, Unavailable] = {}
    for tenant in settings.tenants:
        if not tenant.stores:
            continue
        found = recordings.tenant(tenant.name)
        if recordings.closings.is_closed(found):
            continue
        try:
            recordings.prepare(found, [tenant.purpose])
        except Unavailable as error:
            log.warning("keys not prepared", extra={"tenant": found, "reason": type(error).__name__})
            away[tenant.name] = error
    return away


def check_own(recordings: Recordings) -> None:
    """Unavailable if a tenant's own key provider does not answer, however many of its keys are prepared.

    Those last for two days at most, and nothing of the tenant can be erased meanwhile: somebody should know at once.
    """
    away = {tenant: error for tenant, error in recordings.own_providers().items() if error is not None}
    for tenant, error in away.items():
        log.warning("key provider away", extra={"tenant": tenant, "reason": type(error).__name__})
    for error in away.values():
        raise error


def refuse_wrong(away: Mapping[str, Unavailable]) -> None:
    """WrongProvider, naming the tenant, if a provider answered and has not the keys that are in use."""
    for name, error in away.items():
        if isinstance(error, WrongProvider):
            raise WrongProvider(f"tenant {name}: {error}; keys never move: give it the provider that it began with")
