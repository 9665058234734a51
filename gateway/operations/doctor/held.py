"""Keys that are away, as the running server tells it, and the memory in which calls would wait for them."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from gateway.addresses import parse_address
from gateway.client import ApiError, Client
from gateway.config import Settings
from gateway.operations.doctor.row import Row, State, graded
from gateway.processes.guarding import may_lock
from storage.spoollock import has_writer

MEMORY_SHARE_MAX = 0.5  # of the machine's: the rest is everybody else's
_SERIES = re.compile(r"callvault_((?:keys|held)_\w+) (\S+)$")
_HOUR_S = 3600


def held(settings: Settings) -> Iterator[Row]:
    """Whether keys are away, since when, what is held, and until when prepared keys last."""
    yield _standing(settings)
    holding = [tenant for tenant in settings.tenants if tenant.when_keys_away == "hold"]
    if not holding:
        return
    wanted = settings.media.workers * settings.store.held_total_mib << 20
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield graded(
        "held memory",
        f"up to {wanted >> 20} of {there >> 20} MiB, for {len(holding)} tenants",
        "lower store.held_total_mib: calls that are held must not be killed for want of memory",
        warn=wanted > MEMORY_SHARE_MAX * there,
    )
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY or may_lock(
        Path("/proc/self/status")
    )
    yield graded(
        "locked memory",
        "held calls are kept out of swap" if locked else "held calls, and their keys, may be swapped out",
        "LimitMEMLOCK=infinity in the unit, or no swap at all",
        warn=not locked,
    )


def _standing(settings: Settings) -> Row:
    if not has_writer(settings.data_folder / "spool"):
        return Row("held calls", State.OK, "no server runs here")
    try:
        told = _told(settings)
    except (ApiError, OSError) as error:
        mend = "ask from a network of http.metrics_networks"
        return Row("held calls", State.WARN, f"the server does not tell: {type(error).__name__}", mend)
    count = {name: round(told.get(name, 0)) for name in ("held_calls", "held_calls_ended", "held_streams")}
    found = (
        f"{count['held_calls']} calls, {count['held_calls_ended']} of them over, {count['held_streams']} streams,"
        f" {told.get('held_bytes', 0) / (1 << 20):.1f} MiB, the first for {told.get('held_oldest_seconds', 0):.0f} s"
        if count["held_calls"]
        else "none"
    )
    lasting = f"prepared keys last {told.get('keys_prepared_seconds', 0) / _HOUR_S:.0f} h"
    if away := round(told.get("keys_away_tenants", 0)):
        lasting = f"keys of {away} tenants away for {told.get('keys_away_seconds', 0):.0f} s, {lasting}"
    mend = "bring the key provider back before that, and before this server is stopped: what is held is in memory only"
    return graded("held calls", f"{found}; {lasting}", mend, fail=count["held_calls"] > 0, warn=away > 0)


def _told(settings: Settings) -> Mapping[str, float]:
    """The server's figures of keys and held calls, by name."""
    host, port = parse_address(settings.http.listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # the other way round
    client = Client(f"http://{f'[{host}]' if ':' in host else host}:{port}", "")
    lines = client.get("/metrics").decode().splitlines()
    return {match[1]: float(match[2]) for line in lines if (match := _SERIES.match(line))}
