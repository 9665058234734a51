"""Addresses as the configuration writes them: where we listen, and how peers reach us."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field


def parse_address(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` with a literal IP address; ValueError says what is wrong."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is not ADDRESS:PORT")
    return str(ipaddress.ip_address(host)), int(port)


def parse_advertised(text: str) -> tuple[str, int]:
    """`ADDRESS` or `ADDRESS:PORT`, as peers reach us; port 0 where none is said. ValueError for what nobody reaches."""
    try:
        host, port = str(ipaddress.ip_address(text.strip("[]"))), 0
    except ValueError:
        host, port = parse_address(text)
    address = ipaddress.ip_address(host)
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text!r} is no address that peers can send to")
    return host, port


def reached_by(listen: str, advertised: str) -> tuple[str, int]:
    """The address and port that a listener's peers know; port 0 where the system is to choose it."""
    bound = parse_address(listen)
    host, port = parse_advertised(advertised) if advertised else bound
    return host, port or bound[1]


def _listening(text: str) -> str:
    parse_address(text)
    return text


def _advertised(text: str) -> str:
    if text:
        parse_advertised(text)
    return text


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is no IPv4 address") from error


def _advertised_ipv4(text: str) -> str:
    return parse_advertised(_ipv4(text))[0] if text else text


def _ipv6(text: str) -> str:
    if not text:
        return text
    try:
        address = ipaddress.IPv6Address(text.strip("[]"))
    except ValueError as error:
        raise ValueError(f"{text!r} is no IPv6 address") from error
    if address.is_link_local or address.ipv4_mapped is not None:
        raise ValueError(f"{text!r} is no address that descriptions can name")
    return str(address)


def _advertised_ipv6(text: str) -> str:
    return parse_advertised(_ipv6(text))[0] if text else text


Listening = Annotated[str, AfterValidator(_listening)]
"""ADDRESS:PORT to listen on."""

Advertised = Annotated[
    str,
    AfterValidator(_advertised),
    Field(description="address, and port if it differs, that peers reach us by; default: where it listens"),
]

IPv4 = Annotated[str, AfterValidator(_ipv4)]
"""Where media is received."""

AdvertisedIPv4 = Annotated[
    str,
    AfterValidator(_advertised_ipv4),
    Field(description="address that our descriptions (SDP) name; ports are named as they are; default: address"),
]

IPv6 = Annotated[str, AfterValidator(_ipv6)]
"""The same of the other family, or nothing."""

AdvertisedIPv6 = Annotated[
    str, AfterValidator(_advertised_ipv6), Field(description="the same for IPv6; default: address6")
]
