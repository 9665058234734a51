"""Keys for two days, tenant by tenant: one whose key provider is away keeps nobody else from having theirs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
            away[tenant.name] = error
    return away


@dataclass(frozen=True, slots=True)
class KeysAhead:
    """How keys stand for all tenants together."""

    tenants_away: int = 0  # whose provider does not answer
    away_s: float = 0.0  # for how long, of the first of them
    prepared_s: float | None = None  # how long calls go on without any provider, of the tenant that is worst off


class KeyCare:
    """Keys prepared ahead, and whose provider is away since when. `prepare` blocks; the rest is quick."""

    def __init__(self, recordings: Recordings, settings: Callable[[], Settings]) -> None:
        self._recordings = recordings
        self._settings = settings
        self.since: Mapping[str, float] = {}
        """Tenants whose provider did not answer the last time, by name: monotonic time of the first time."""

    def prepare(self) -> None:
        """Prepares each tenant's; Unavailable if one of them could not be."""
        away = prepare_keys(self._recordings, self._settings())
        self.note(away)
        for error in away.values():
            raise error

    def note(self, away: Mapping[str, Unavailable]) -> None:
        """What `prepare_keys` gave."""
        now, before = time.monotonic(), self.since
        self.since = {name: before.get(name, now) for name in away}
        for name in away.keys() - before.keys():
            log.warning("keys not prepared", extra=self._of(name) | {"reason": type(away[name]).__name__})
        for name in before.keys() - away.keys():
            log.warning("keys prepared again", extra=self._of(name) | {"away_s": round(now - before[name], 1)})

    def ahead(self, now_s: float) -> KeysAhead:
        """How keys stand at that Unix time."""
        names = [tenant.name for tenant in self._settings().tenants if tenant.stores]
        untils = [self._recordings.ready_until(self._recordings.tenant(name)) for name in names]
        prepared_s = min((0.0 if until_s is None else until_s - now_s for until_s in untils), default=None)
        oldest = min(self.since.values(), default=None)
        away_s = 0.0 if oldest is None else time.monotonic() - oldest
        return KeysAhead(len(self.since), away_s, prepared_s)

    def _of(self, name: str) -> dict[str, object]:
        return {"tenant": self._recordings.tenant(name)}


def refuse_wrong(away: Mapping[str, Unavailable]) -> None:
    """WrongProvider, naming the tenant, if a provider answered and has not the keys that are in use."""
    for name, error in away.items():
        if isinstance(error, WrongProvider):
            raise WrongProvider(f"tenant {name}: {error}; keys never move: give it the provider that it began with")
