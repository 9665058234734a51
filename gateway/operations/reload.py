"""The configuration read again while calls go on: applied as a whole, or refused as a whole.

Rules: calls that live keep the policy that they began with; new calls have the new one. Keys whose change would need a
restart are named and refuse everything, so that what runs is always one file's content. Problems are told in the log by
their keys only; `callvault config --check` tells them in full.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config import Loaded, Settings
from gateway.errors import ConfigError, GatewayError
from gateway.operations.notify import Notifier
from storage.errors import StoreError

log = logging.getLogger(__name__)

RELOADABLE = ("tenants", "trunks", "operator", "sip.proxies", "sip.tls", "log.level", "http.metrics_networks")
"""Keys, with all below them, that take effect at once; of any other a change needs a restart. What certificate files
hold is read anew whether or not their names have changed."""

KEYS_TOLD_MAX = 50  # in one log line; a thousand trunks may change at once


@dataclass(frozen=True, slots=True)
class Plan:
    """What differs between two configurations, as dotted keys; lists of things that have a name are told by it."""

    changed: tuple[str, ...]
    restart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reload came to: applied with these changes, or refused with these problems."""

    applied: bool
    changed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def plan(old: Settings, new: Settings) -> Plan:
    """What would change, and what of it may not without a restart."""
    before, after = _flat(old), _flat(new)
    keys = [key for key in [*before, *(key for key in after if key not in before)] if before.get(key) != after.get(key)]
    restart = tuple(key for key in keys if not _reloadable(key))
    names = dict.fromkeys([*old.tenant_keys, *new.tenant_keys])  # other processes look for keys where they began to
    restart += tuple(f"tenants.{name}.keys" for name in names if old.tenant_keys.get(name) != new.tenant_keys.get(name))
    return Plan(tuple(key for key in keys if _reloadable(key)), restart)


class Reloader:
    """Carries reloads out. `load` reads the configuration (ConfigError), `prepare` makes ready what it needs and may
    refuse it (StoreError, GatewayError; it blocks, and runs in a thread), `apply` puts it in place and cannot fail."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Loaded],
        prepare: Callable[[Settings], None],
        apply: Callable[[Settings], None],
        notifier: Notifier,
    ) -> None:
        self.settings = settings
        self._load = load
        self._prepare = prepare
        self._apply = apply
        self._notifier = notifier
        self._wanted = asyncio.Event()

    def ask(self) -> None:
        """A reload is wanted (SIGHUP). Those that are asked for while one runs become one more."""
        self._wanted.set()

    async def run(self) -> None:
        """Reload whenever that is wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.reload()

    async def reload(self) -> Outcome:
        """Read, compare, prepare, apply; whatever fails on the way, nothing has changed."""
        self._notifier.reloading()
        outcome, new = await self._tried()
        if outcome.applied and new is not None:
            self._apply(new)
            self.settings = new
            log.info("configuration reloaded", extra={"changed": outcome.changed[:KEYS_TOLD_MAX]})
        else:
            keys = [problem.partition(":")[0] for problem in outcome.problems]
            log.error("configuration refused, the former one stays", extra={"keys": keys[:KEYS_TOLD_MAX]})
        self._notifier.ready("serving" if outcome.applied else "serving; the new configuration was refused")
        return outcome

    async def _tried(self) -> tuple[Outcome, Settings | None]:
        try:
            new = (await asyncio.to_thread(self._load)).settings
        except ConfigError as error:
            return Outcome(False, problems=error.problems), None
        planned = plan(self.settings, new)
        if planned.restart:
            return Outcome(False, problems=tuple(f"{key}: needs a restart" for key in planned.restart)), None
        try:
            await asyncio.to_thread(self._prepare, new)
        except ConfigError as error:
            return Outcome(False, problems=error.problems), None
        except (StoreError, GatewayError) as error:
            return Outcome(False, problems=(f"{type(error).__name__}: {error}",)), None
        return Outcome(True, planned.changed), new


def _reloadable(key: str) -> bool:
    return any(key == known or key.startswith(known + ".") for known in RELOADABLE)


def _flat(settings: Settings) -> Mapping[str, object]:
    """Dotted keys and their values; secrets as themselves, which are compared and never told."""
    rows: dict[str, object] = {}
    _walk(settings.model_dump(), "", rows)
    return rows


def _walk(value: Any, prefix: str, rows: dict[str, object]) -> None:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            _walk(inner, f"{prefix}{name}.", rows)
        elif isinstance(inner, (tuple, list)) and inner and all(isinstance(i, Mapping) and "name" in i for i in inner):
            rows |= {f"{prefix}{name}.{entry['name']}": (entry, place) for place, entry in enumerate(inner)}
        else:
            rows[f"{prefix}{name}"] = inner
