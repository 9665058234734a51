"""What a media worker is told of where a peer's media and reports come from and go to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.calls.call import Leg
from gateway.calls.offer import reports
from gateway.calls.terms import terms
from gateway.policy import Trunk
from media.ports import PortPair
from media.sdp import parse
from storage.model import ParticipantId, new_id

OFFER = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("", None),
        ("a=rtcp:6100", ("192.0.2.9", 6100)),
        ("a=rtcp:6100 IN IP4 192.0.2.10", ("192.0.2.10", 6100)),
        ("a=rtcp:6000", None),
        ("a=rtcp:0", None),
        ("a=rtcp:99999", None),
        ("a=rtcp:", None),
        ("a=rtcp:six", None),
    ],
)
def test_reports_go_where_rfc_3605_says_and_else_to_the_port_above(line: str, place: tuple[str, int] | None) -> None:
    described = parse(f"{OFFER}{line}\r\n".encode() if line else OFFER.encode())
    assert reports(described, described.media[0]) == place


@pytest.mark.parametrize(
    ("address", "networks", "remote"),
    [
        ("IN IP4 192.0.2.9", ["192.0.2.0/24"], ("192.0.2.9", 6000)),
        ("IN IP4 198.51.100.9", ["192.0.2.0/24"], None),
        ("IN IP6 2001:db8::9", ["192.0.2.0/24", "2001:db8::/32"], None),
    ],
)
def test_media_come_from_within_the_trunks_networks_and_over_the_legs_family(
    address: str, networks: list[str], remote: tuple[str, int] | None
) -> None:
    described = parse(OFFER.replace("c=IN IP4 192.0.2.9", f"c={address}").encode())
    with a_leg(ipv6=False) as leg:
        assert terms(leg, trunk(networks), described).remote == remote


@pytest.mark.parametrize(
    ("address", "networks", "remote"),
    [
        ("IN IP6 2001:db8::9", ["192.0.2.0/24", "2001:db8::/32"], ("2001:db8::9", 6000)),
        ("IN IP6 2001:db8::9", ["2001:db9::/32"], None),
        ("IN IP4 192.0.2.9", ["192.0.2.0/24", "2001:db8::/32"], None),
        ("IN IP6 192.0.2.9", ["192.0.2.0/24", "2001:db8::/32"], None),
        ("IN IP6 ::ffff:192.0.2.9", ["192.0.2.0/24", "::/0"], None),
        ("IN IP6 fe80::9%1", ["::/0"], None),
        ("IN IP6 ::", ["2001:db8::/32"], None),
    ],
)
def test_the_same_over_ipv6(address: str, networks: list[str], remote: tuple[str, int] | None) -> None:
    described = parse(OFFER.replace("c=IN IP4 192.0.2.9", f"c={address}").encode())
    with a_leg(ipv6=True) as leg:
        assert terms(leg, trunk(networks), described).remote == remote


@pytest.mark.parametrize(
    ("lines", "muxed"),
    [("", False), ("a=rtcp-mux\r\n", True), ("a=rtcp-mux-only\r\na=rtcp-mux\r\n", True), ("a=rtcp:6000\r\n", False)],
)
def test_a_port_is_shared_where_the_answer_says_so(lines: str, muxed: bool) -> None:
    described = parse((OFFER + lines).encode())
    with a_leg(ipv6=False) as leg:
        assert terms(leg, trunk(["192.0.2.0/24"]), described).mux is muxed


def trunk(networks: list[str]) -> Trunk:
    return Trunk.model_validate({"name": "carrier", "tenant": "acme", "sources": networks})


@contextmanager
def a_leg(*, ipv6: bool) -> Iterator[Leg]:
    """One on ports of that family."""
    loop = asyncio.new_event_loop()
    with socket.socket() as rtp, socket.socket() as rtcp:
        yield Leg(1, 0, "0", ParticipantId(new_id()), None, PortPair(rtp, rtcp, 6000, ipv6), loop.create_future())
    loop.close()
