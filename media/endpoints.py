"""Where media comes from and goes to, as numbers: two are equal exactly where address and port are.

IPv4 is address << 16 | port. IPv6 is the same with the bit `IPV6` set beside it, so that no number is of both families;
`number >> 16` is the host of either.
"""

from __future__ import annotations

import ipaddress
import struct
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

UNNAMED = 0
"""The other end of a unix socket pair."""

IPV6 = 1 << 144
"""In a number, that its address is of IPv6."""

ADDRESSES_MAX = 8192  # remembered as the kernel wants them, RTP and RTCP of each leg of a worker

_AF_INET, _AF_INET6 = 2, 10  # Linux's
_PORT_BITS = 16


def source_number(host: str, port: int) -> int:
    """A literal address and a port; raises ValueError where `host` is none, or of one link alone."""
    if ":" in host:
        address = ipaddress.IPv6Address(host)
        if address.scope_id is not None or address.ipv4_mapped is not None:
            raise ValueError("an IPv6 address with a zone, or an IPv4 address in its clothes")
        return IPV6 | int(address) << _PORT_BITS | port
    octets = [int(part) for part in host.split(".") if part.isascii() and part.isdigit()]
    if len(octets) != 4 or host.count(".") != 3 or not all(octet < 256 for octet in octets):
        raise ValueError("not an IP address")
    return int.from_bytes(bytes(octets), "big") << _PORT_BITS | port


def host_and_port(number: int) -> tuple[str, int]:
    """The inverse of `source_number`."""
    port = number & 0xFFFF
    if number >= IPV6:
        return str(ipaddress.IPv6Address((number ^ IPV6) >> _PORT_BITS)), port
    return str(ipaddress.IPv4Address(number >> _PORT_BITS)), port


def is_within(number: int, network: Network) -> bool:
    """Whether it is an address of this network."""
    if (number >= IPV6) is not (network.version == 6):
        return False
    host = (number & (IPV6 - 1)) >> _PORT_BITS
    return int(network.network_address) <= host <= int(network.broadcast_address)


@lru_cache(ADDRESSES_MAX)
def socket_address(number: int) -> bytes:
    """As struct sockaddr_in or sockaddr_in6."""
    port = struct.pack("!H", number & 0xFFFF)
    if number >= IPV6:
        host = ((number ^ IPV6) >> _PORT_BITS).to_bytes(16, "big")
        return struct.pack("=H", _AF_INET6) + port + bytes(4) + host + bytes(4)
    return struct.pack("=H", _AF_INET) + port + (number >> _PORT_BITS).to_bytes(4, "big") + bytes(8)
