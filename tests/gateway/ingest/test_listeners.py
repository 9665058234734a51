"""Where the agent listens, over both transports, and what it calls itself there."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from typing import Any

import pytest

from gateway.config import Settings
from gateway.ingest.identity import Identity
from gateway.ingest.listeners import Listeners, bound_socket
from gateway.sip.flow import Flow
from gateway.tenants import Directory
from tests.e2e.system import until
from tests.gateway.ingest.answering import START_S, ListeningServer
from tests.gateway.sip.bench import packet, response_of
from tests.gateway.sip.harness import HOST

LAN: dict[str, Any] = {
    "sip": {"listen": f"{HOST}:0", "listeners": [{"name": "lan", "address": f"{HOST}:0", "transports": ["udp"]}]},
    "trunks": [
        {"name": "network", "tenant": "default", "sources": ["127.0.0.0/8"]},
        {"name": "private", "tenant": "default", "listener": "lan", "media_networks": ["127.0.0.0/8"]},
    ],
}


def asked(address: tuple[str, int], raw: bytes) -> bytes:
    """The first answer to a datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(START_S)
        client.sendto(raw.replace(b"branch=", b"rport;branch="), address)
        return client.recv(65535)


def test_a_further_listener_is_known_by_its_name() -> None:
    with ListeningServer(LAN) as server:
        [lan] = server.identity.listeners
        assert response_of(asked(server.address, packet("INVITE", call="one"))).status == 200
        assert response_of(asked(lan, packet("INVITE", call="two", branch="b"))).status == 200
        assert [event.granted.trunk for event in server.invited] == ["network", "private"]
        assert [event.flow.local for event in server.invited] == [server.address, lan]


def test_both_transports_share_a_port() -> None:
    with ListeningServer() as server:
        assert response_of(asked(server.address, packet("OPTIONS"))).status == 200
        with socket.create_connection(server.address, START_S) as client:
            client.sendall(b"\r\n\r\n")
            assert client.recv(10) == b"\r\n"


def test_an_address_that_stands_for_all_goes_by_the_medias_name() -> None:
    with ListeningServer({"sip": {"listen": "0.0.0.0:0", "transports": ["udp"]}}) as server:
        asked((HOST, server.address[1]), packet("INVITE"))
        assert [event.flow.local for event in server.invited] == [(HOST, server.address[1])]


def test_an_address_that_cannot_be_had_is_an_error_of_its_own() -> None:
    async def run(listen: str) -> None:
        settings = Settings.model_validate({"sip": {"listen": listen}})
        identity = Identity(settings, Directory(settings), os.urandom)
        async with Listeners(settings, identity, lambda data, flow: None, Counter()).open():
            pass

    with bound_socket((HOST, 0), socket.SOCK_DGRAM) as taken, pytest.raises(OSError, match="in use"):
        asyncio.run(run(f"{HOST}:{taken.getsockname()[1]}"))


def test_what_has_no_way_is_dropped_and_counted() -> None:
    with ListeningServer() as server:
        nowhere = Flow("udp", ("192.0.2.1", 5060), (HOST, 9))
        server.do(lambda now: server._listeners.send(b"x", nowhere))
        assert server.counters["unreachable"] == 1


def test_messages_name_what_is_advertised_and_go_where_we_are() -> None:
    """Behind NAT: the peer is told the outer address, while sockets and listeners' names stay with the inner one."""
    lan = {"name": "lan", "address": f"{HOST}:0", "advertised": "198.51.100.7", "transports": ["udp"]}
    sip = {"listen": f"{HOST}:0", "advertised": "198.51.100.7:5070", "listeners": [lan]}
    with ListeningServer({**LAN, "sip": sip}, hang_up=True) as server:
        [(host, port)] = server.identity.listeners
        assert host == "198.51.100.7"
        for place, named, trunk in (
            (server.address, "198.51.100.7:5070", "network"),
            ((HOST, port), f"198.51.100.7:{port}", "private"),
        ):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(START_S)
                client.sendto(packet("INVITE", call=named, branch=named).replace(b"branch=", b"rport;branch="), place)
                answer = response_of(client.recv(65535))
                assert answer.headers.first("Contact") == f"<sip:{named}>"
                tag = answer.to.tag
                client.sendto(packet("ACK", call=named, branch=f"{named}a", to_tag=tag), place)
                bye, source = client.recvfrom(65535)
                assert source == place
                assert f"SIP/2.0/UDP {named};branch=".encode() in bye
            assert server.invited[-1].granted.trunk == trunk


def test_connections_of_ours_begin_where_we_are_bound() -> None:
    with (
        ListeningServer({"sip": {"listen": f"{HOST}:0", "advertised": "198.51.100.7"}}) as server,
        socket.create_server((HOST, 0)) as peer,
    ):
        way = Flow("tcp", ("198.51.100.7", server.address[1]), peer.getsockname())
        server.do(lambda now: server._listeners.send(b"x", way))
        peer.settimeout(START_S)
        accepted, (host, _) = peer.accept()
        with accepted:
            assert host == HOST
            assert accepted.recv(1) == b"x"


SIX = "::1"
OVER_SIX: dict[str, Any] = {
    "sip": {"listen": f"[{SIX}]:0"},
    "trunks": [{"name": "six", "tenant": "default", "sources": ["::1/128"], "media_networks": ["127.0.0.0/8"]}],
}


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_call_over_ipv6_is_answered_and_hung_up_on(kind: socket.SocketKind) -> None:
    """Signalling alone: media is received over IPv4."""
    with ListeningServer(OVER_SIX, hang_up=True) as server, socket.socket(socket.AF_INET6, kind) as client:
        named = f"[{SIX}]:{server.address[1]}"
        client.settimeout(START_S)
        client.connect(server.address)
        client.sendall(over_six("INVITE", client))
        answer = response_of(client.recv(65535))
        assert answer.status == 200
        assert f"sip:{named}" in answer.headers.required("Contact")
        assert answer.via.host == f"[{SIX}]"
        client.sendall(over_six("ACK", client, branch="ack", to_tag=answer.to.tag))
        bye = client.recv(65535).decode()
        assert bye.startswith("BYE ")
        assert f" {named};branch=" in bye
        client.sendall(b"SIP/2.0 200 OK\r\n" + bye.encode().partition(b"\r\n")[2])
        until(lambda: not server.agent.dialogs)
        assert [event.granted.trunk for event in server.invited] == ["six"]
        assert server.ends == {"local": 1}


def over_six(method: str, client: socket.socket, *, branch: str = "a", to_tag: str = "") -> bytes:
    """A request as a peer there writes it."""
    host, port = client.getsockname()[:2]
    way = "UDP" if client.type is socket.SOCK_DGRAM else "TCP"
    raw = packet(method, branch=branch, to_tag=to_tag).replace(
        b"SIP/2.0/UDP 192.0.2.9:5061", f"SIP/2.0/{way} [{host}]:{port}".encode()
    )
    return raw.replace(b"alice@192.0.2.9:5061", f"alice@[{host}]:{port};transport={way.lower()}".encode())
