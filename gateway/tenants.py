"""Whose call it is: certificate, user, listener or source network find the trunk; the dialled number, only within it,
the tenant.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from gateway.config import Settings
from gateway.peers import PeerName
from gateway.policy import MASK, Tenant, Trunk, TrunkUser
from gateway.sip.digest import HASHES, Algorithm
from gateway.sip.grammar import Address

Answers = Mapping[PeerName, Sequence[Address]]
"""What DNS says of the trunks' names: addresses, and ports where it has any."""

EVERYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
"""The sources of a trunk that names none, and is known by its listener or its users."""


NETWORKS_KEPT = 4096  # read once: every call asks for those of its trunk several times


@dataclass(frozen=True, slots=True)
class Match:
    """The trunk that a request came by, and whose call it therefore is."""

    trunk: Trunk
    tenant: Tenant


class Directory:
    """Finds the trunk and tenant of a request.

    Of the trunks that fit a request without a user, those with a listener come first, then the narrowest network.
    """

    def __init__(self, settings: Settings, answers: Answers | None = None) -> None:
        told = answers or {}
        trunks = [_resolved(trunk, told) for trunk in settings.trunks]
        self._networks = {
            trunk.name: list(map(ipaddress.ip_network, trunk.sources)) if configured.placed else list(EVERYWHERE)
            for trunk, configured in zip(trunks, settings.trunks, strict=True)
        }
        self._hosts = {(name.host, host) for name, addresses in told.items() for host, _ in addresses}
        registrars = [trunk.registration.address.name for trunk in settings.trunks if trunk.registration is not None]
        order = sorted(told, key=lambda name: name not in registrars)
        self._called = {host: name.host for name in reversed(order) for host, _ in told[name]}
        rows = [(network, trunk) for trunk in trunks for network in self._networks[trunk.name]]
        self._rows = sorted(rows, key=lambda row: (bool(row[1].listener), row[0].prefixlen), reverse=True)
        self._tenants = {tenant.name: tenant for tenant in settings.tenants}
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._users = {user.name: (trunk, user) for trunk in trunks for user in trunk.users}
        self._named = {name: trunk for trunk in trunks for name in trunk.tls_names}
        self._asking = [trunk for trunk in trunks if trunk.users]
        self._proxies = [ipaddress.ip_network(network) for network in settings.sip.proxies]
        users = [user for _, user in self._users.values()]
        self.algorithms: tuple[Algorithm, ...] = tuple(
            name for name in HASHES if any(self.hash(user.name, name) for user in users)
        )
        """Those that any user has a hash for, the best first; none if no trunk has users."""

    def find(self, source: str, dialled: str, listener: str = "") -> Match | None:
        """The trunk and tenant for a request from address `source` to user part `dialled`, or None: refuse it."""
        trunk = self.trunk(source, listener)
        return None if trunk is None else self._match(trunk, dialled)

    def within(self, trunk: str, dialled: str) -> Match | None:
        """The same where the trunk is known by name; None if it is there no more."""
        found = self._trunks.get(trunk)
        return None if found is None else self._match(found, dialled)

    def trunk(self, source: str, listener: str = "") -> Trunk | None:
        """The trunk that requests of `source` at `listener` belong to, unless a certificate or user says otherwise."""
        address = _address(source)
        return next(
            (
                trunk
                for network, trunk in self._rows
                if _contains(network, address) and _known_by_place(trunk) and trunk.listener in ("", listener)
            ),
            None,
        )

    def of_names(self, names: Sequence[str]) -> tuple[str, Trunk] | None:
        """The trunk that is known by one of a certificate's names, and which."""
        return next(((name, self._named[name]) for name in names if name in self._named), None)

    def trusts(self, host: str, names: Sequence[str]) -> bool:
        """Whether a certificate with these names is one to find at `host`, which we connect to."""
        found = self.of_names(names)
        asked = any((name, host) in self._hosts for name in names)  # names that we were given, not DNS's (RFC 5922)
        if host in names or asked:
            return True
        return found is not None and _within_any(_address(host), self._networks[found[1].name])

    def called(self, host: str) -> str:
        """The name by which we were given the peer at `host`, "" for none; of several a registrar's, else the first."""
        return self._called.get(host, "")

    def of_user(self, user: str, source: str, listener: str = "") -> Trunk | None:
        """The trunk of a user who has shown the password, if it may call from there."""
        found = self._users.get(user)
        return found[0] if found and self.may(found[0], source, listener) else None

    def asks(self, source: str, listener: str = "") -> bool:
        """Whether some trunk with users may call from there, so that a stranger is to be asked who he is."""
        return any(self.may(trunk, source, listener) for trunk in self._asking)

    def hash(self, user: str, algorithm: Algorithm) -> str | None:
        """A user's HA1."""
        found = self._users.get(user)
        text = "" if found is None else _hash(found[1], algorithm)
        return text if text not in ("", MASK) else None

    def reaches(self, trunk: str, host: str) -> bool:
        """Whether `host` is within the trunk's networks, or a proxy of ours."""
        found = self._trunks.get(trunk)
        named = found is not None and found.sources and _within_any(_address(host), self._networks[trunk])
        return bool(named) or self.is_proxy(host)

    def is_proxy(self, host: str) -> bool:
        """Whether `host` is listed as a proxy."""
        return _within_any(_address(host), self._proxies)

    def known(self, host: str) -> bool:
        """Whether `host` is a proxy, or within the networks that some trunk names."""
        address = _address(host)
        named = any(trunk.sources and _contains(network, address) for network, trunk in self._rows)
        return named or self.is_proxy(host)

    def _match(self, trunk: Trunk, dialled: str) -> Match:
        prefixes = sorted((p for p in trunk.dialled if dialled.startswith(p)), key=len, reverse=True)
        name = trunk.dialled[prefixes[0]] if prefixes else trunk.tenant
        return Match(trunk, self._tenants[name])

    def may(self, trunk: Trunk, source: str, listener: str) -> bool:
        """Whether requests of a trunk that has shown who it is may come from there."""
        address = _address(source)
        return trunk.listener in ("", listener) and _within_any(address, self._networks[trunk.name])


def _resolved(trunk: Trunk, answers: Answers) -> Trunk:
    """The trunk with the addresses of its names in their places: none of them for a name without an answer."""
    hosts = [str(ipaddress.ip_network(host)) for name in trunk.names for host, _ in answers.get(name, ())]
    return trunk.model_copy(update={"sources": (*trunk.networks, *dict.fromkeys(hosts))}) if trunk.names else trunk


def _known_by_place(trunk: Trunk) -> bool:
    return bool(trunk.listener or trunk.sources) and not trunk.tls_names


def _hash(user: TrunkUser, algorithm: Algorithm) -> str:
    return (user.sha256 if algorithm == "SHA-256" else user.md5).get_secret_value()


def media_networks(trunk: Trunk) -> Sequence[str]:
    """Where a trunk's RTP may come from and go to."""
    return trunk.media_networks or trunk.sources


def within(address: str, networks: Sequence[str]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        parsed = _address(address)
    except ValueError:
        return False
    return _within_any(parsed, map(_network, networks))


_network = lru_cache(maxsize=NETWORKS_KEPT)(ipaddress.ip_network)


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


def _within_any(address: IPv4Address | IPv6Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(_contains(network, address) for network in networks)


def _contains(network: IPv4Network | IPv6Network, address: IPv4Address | IPv6Address) -> bool:
    return network.version == address.version and address in network
