"""Addresses and ports as numbers: one for each, of either family, and back again."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest

from media.endpoints import host_and_port, is_within, socket_address, source_number


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "::7f00:1", "2001:db8::9"])
@pytest.mark.parametrize("port", [0, 5004, 65_535])
def test_a_number_says_address_and_port(host: str, port: int) -> None:
    assert host_and_port(source_number(host, port)) == (host, port)


def test_no_two_have_the_same() -> None:
    hosts = ("0.0.0.1", "::1", "::", "0.0.0.0", "1::", "::1:0:0:0:0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    assert len({source_number(host, port) for host in hosts for port in (0, 1, 65_535)}) == 3 * len(hosts)


@pytest.mark.parametrize(
    "host",
    ["", "1.2.3", "1.2.3.4.5", "256.1.1.1", "host.example.test.x", "1.2.3.x", "::ffff:1.2.3.4", "fe80::1%eth0", "::g"],
)
def test_what_is_no_address_of_everywhere_has_none(host: str) -> None:
    with pytest.raises(ValueError, match=r"IP|Expected|permitted"):
        source_number(host, 1)


@pytest.mark.parametrize(
    ("host", "network", "within"),
    [
        ("192.0.2.9", "192.0.2.0/24", True),
        ("192.0.3.9", "192.0.2.0/24", False),
        ("192.0.2.9", "::/0", False),
        ("2001:db8:0:ffff::9", "2001:db8::/48", True),
        ("2001:db8:1::9", "2001:db8::/48", False),
        ("::1", "0.0.0.0/0", False),
    ],
)
def test_a_network_holds_addresses_of_its_own_family(host: str, network: str, *, within: bool) -> None:
    assert is_within(source_number(host, 5004), ip_network(network)) is within


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_the_kernel_reads_it_as_the_same(host: str, family: socket.AddressFamily) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as here, socket.socket(family, socket.SOCK_DGRAM) as there:
        there.bind((host, 0))
        where = there.getsockname()
        found = socket_address(source_number(*where[:2]))
        assert found[:2] == int(family).to_bytes(2, "little")
        assert found[2:4] == where[1].to_bytes(2, "big")
        offset = 4 if family is socket.AF_INET else 8
        assert socket.inet_pton(family, host) in found[offset:]
        here.sendto(b"x", where)
        assert there.recv(1) == b"x"
