"""Whose call it is: a source network finds the trunk, then the dialled number, only within that trunk, the tenant."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from gateway.config import Settings, Tenant, Trunk


@dataclass(frozen=True, slots=True)
class Match:
    """The trunk that a request came by, and whose call it therefore is."""

    trunk: Trunk
    tenant: Tenant


class Directory:
    """Finds the tenant of a request. Trunks are tried with the narrowest network first."""

    def __init__(self, settings: Settings) -> None:
        rows = [(ipaddress.ip_network(network), trunk) for trunk in settings.trunks for network in trunk.sources]
        self._rows = sorted(rows, key=lambda row: row[0].prefixlen, reverse=True)
        self._tenants = {tenant.name: tenant for tenant in settings.tenants}

    def find(self, source: str, dialled: str) -> Match | None:
        """The trunk and tenant for a request from address `source` to user part `dialled`, or None: refuse it."""
        trunk = self.trunk(source)
        if trunk is None:
            return None
        prefixes = sorted((p for p in trunk.dialled if dialled.startswith(p)), key=len, reverse=True)
        name = trunk.dialled[prefixes[0]] if prefixes else trunk.tenant
        return Match(trunk, self._tenants[name])

    def trunk(self, source: str) -> Trunk | None:
        """The trunk that `source` belongs to."""
        address = _address(source)
        return next((trunk for network, trunk in self._rows if _contains(network, address)), None)


def media_networks(trunk: Trunk) -> Sequence[str]:
    """Where a trunk's RTP may come from and go to."""
    return trunk.media_networks or trunk.sources


def within(address: str, networks: Sequence[str]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        parsed = _address(address)
    except ValueError:
        return False
    return any(_contains(ipaddress.ip_network(network), parsed) for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


def _contains(network: IPv4Network | IPv6Network, address: IPv4Address | IPv6Address) -> bool:
    return network.version == address.version and address in network
