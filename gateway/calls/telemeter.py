"""Notes how good a call's tracks sounded, apart from the call, for tenants that keep telemetry: in classes, and of
where it came from the network's prefix, where a trunk is known by its networks.

What is noted waits in memory and is written in groups, so that no call waits for it; what is lost with the process is
telemetry.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.calls.call import Call
from gateway.statistics.cells import JITTER_MS, LOSS_PERCENT, MOS, within
from media.quality import quality_told
from storage.errors import DataError, StoreError
from storage.telemetry import TRACKS_MAX, Point, Telemetry

log = logging.getLogger(__name__)

EVERY_S = 5.0
WAITING_MAX = 10_000
"""Points in memory, some MiB; beyond it the oldest go."""
_PREFIXES = {4: 24, 6: 48}


class Telemeter:
    """Points that wait to be written; `run` writes them until it is cancelled."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.counters: Counter[str] = Counter()
        self._telemetry = telemetry
        self._waiting: deque[Point] = deque(maxlen=WAITING_MAX)

    def hear(self, call: Call, facts: Sequence[Mapping[str, Any]]) -> None:
        """A call has ended, with the facts of its tracks."""
        if not call.policy.telemetry_days:
            return
        network = prefix_of(call.parties.source) if call.trunk.placed else "none"
        for track, told in enumerate(facts[:TRACKS_MAX]):
            if (values := classes(told, network)) is not None:
                self._waiting.append(Point(call.tenant, call.id, track, values))

    async def run(self) -> None:
        """Write every few seconds; what cannot be written is tried again."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await asyncio.to_thread(self.flush)
            except StoreError as error:
                log.warning("telemetry waits for the store", extra={"reason": type(error).__name__})

    def flush(self) -> int:
        """Write what waits; gives how much."""
        points = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            self._telemetry.note(points)
        except StoreError:
            self._waiting.extendleft(reversed(points[-(WAITING_MAX - len(self._waiting)) :]))
            raise
        return len(points)


def classes(facts: Mapping[str, Any], network: str) -> Mapping[str, str] | None:
    """A track's quality in classes; None where nothing was received."""
    try:
        found = quality_told(facts)
    except (DataError, ValueError, KeyError, TypeError):
        return None
    if found is None:
        return None
    codecs = facts.get("codecs") or []
    return {
        "codec": str(codecs[0]) if len(codecs) == 1 else "several",
        "mos": within(MOS, found.mos),
        "loss_percent": within(LOSS_PERCENT, found.loss_percent),
        "jitter_ms": within(JITTER_MS, found.jitter_ms),
        "network": network,
    }


def prefix_of(source: str) -> str:
    """The network that an address is in: /24, of IPv6 /48; `none` for what is no address."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return "none"
    return str(ipaddress.ip_network((address, _PREFIXES[address.version]), strict=False))
