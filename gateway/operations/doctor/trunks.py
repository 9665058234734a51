"""What trunks need of the network between them and us."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from gateway.config import Settings
from gateway.operations.doctor.row import Row, graded


def advertised(settings: Settings) -> Iterator[Row]:
    """Whether peers on the Internet are told addresses that exist there."""
    outside = sorted({trunk.name for trunk in settings.trunks if any(map(_is_public, trunk.sources))})
    told = [("media.advertised", settings.media.named)]
    told += [(f"{name.removesuffix('.listen')}.advertised", host) for name, (host, _) in settings.sip.reached_by()]
    private = [f"{name}: {host}" for name, host in told if ipaddress.ip_address(host).is_private]
    found = f"{', '.join(host for _, host in told)}; trunks on the Internet: {', '.join(outside) or 'none'}"
    mend = f"trunks there cannot reach {'; '.join(private)}: give the address that NAT puts in its place"
    yield graded("advertised", found, mend, warn=bool(private and outside))


def _is_public(source: str) -> bool:
    return ipaddress.ip_network(source).is_global
