"""Connections on loopback: what comes and goes by them, and how each limit ends one."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gateway.ingest.tcp import CONNECT_S, IDLE_S, MESSAGE_S, PER_STRANGER_MAX, STRANGER_IDLE_S, WRITE_BUFFER_BYTES
from gateway.sip.framing import Framer, Message
from gateway.sip.message import Response
from tests.gateway.ingest.answering import ListeningServer
from tests.gateway.sip.bench import packet, request_of, response_of
from tests.gateway.sip.harness import ANSWER, HOST

WAIT_S = 20.0  # for what must come; a loaded machine takes seconds
STRANGERS: dict[str, Any] = {"trunks": [{"name": "far", "tenant": "default", "sources": ["192.0.2.0/24"]}]}


@pytest.fixture(scope="module")
def server() -> Iterator[ListeningServer]:
    with ListeningServer() as started:
        yield started


@contextmanager
def connected(server: ListeningServer) -> Iterator[socket.socket]:
    with socket.create_connection(server.address, WAIT_S) as client:
        yield client


def tcp(raw: bytes, port: int = 5061) -> bytes:
    """A packet as a peer on loopback sends it, that listens on `port`."""
    raw = raw.replace(b"SIP/2.0/UDP 192.0.2.9:5061", f"SIP/2.0/TCP {HOST}:{port}".encode())
    return raw.replace(b"alice@192.0.2.9:5061>", f"alice@{HOST}:{port};transport=tcp>".encode())


def received(client: socket.socket, count: int = 1) -> list[bytes]:
    """The next messages of a stream."""
    framer, messages = Framer(), list[bytes]()
    client.settimeout(WAIT_S)
    while len(messages) < count:
        data = client.recv(65536)
        assert data, "closed by the server"
        messages += [frame.data for frame in framer.feed(data) if isinstance(frame, Message)]
    return messages


def closed(client: socket.socket) -> bool:
    """Waits for the end of a stream, and reads what comes before it."""
    client.settimeout(WAIT_S)
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def final(client: socket.socket) -> Response:
    """The final answer that comes after a 100."""
    return response_of(received(client, 2)[-1])


def until(server: ListeningServer, name: str, count: int = 1) -> None:
    """Waits for a counter."""
    limit = time.monotonic() + WAIT_S
    while server.counters[name] < count:
        assert time.monotonic() < limit, dict(server.counters)
        time.sleep(0.01)


def test_a_call_in_small_pieces_by_one_connection(server: ListeningServer) -> None:
    with connected(server) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw = tcp(packet("INVITE", call="pieces"))
        for start in range(0, len(raw), 50):
            client.sendall(raw[start : start + 50])
        ok = final(client)
        assert (ok.status, ok.body) == (200, ANSWER)
        client.sendall(tcp(packet("ACK", call="pieces", branch="ack", to_tag=ok.to.tag)))
        client.sendall(tcp(packet("BYE", call="pieces", seq=2, branch="bye", to_tag=ok.to.tag)))
        assert response_of(received(client)[0]).status == 200


def test_each_connection_gets_its_own_answers(server: ListeningServer) -> None:
    with connected(server) as first, connected(server) as second:
        first.sendall(tcp(packet("OPTIONS", call="one", branch="one")))
        second.sendall(tcp(packet("OPTIONS", call="two", branch="two")))
        assert [response_of(received(client)[0]).call_id for client in (first, second)] == ["one", "two"]


def test_ping_is_answered_with_pong(server: ListeningServer) -> None:
    with connected(server) as client:
        client.sendall(b"\r\n\r\n")
        assert client.recv(10) == b"\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (packet("OPTIONS", drop="Content-Length"), 400),
        (packet("OPTIONS", drop="Content-Length", extra="l: 70000"), 400),
        (packet("OPTIONS", extra="\n".join(f"X-{n}: {'x' * 4000}" for n in range(9))), 513),
    ],
)
def test_stream_that_cannot_be_read_on_is_answered_and_closed(server: ListeningServer, raw: bytes, status: int) -> None:
    with connected(server) as client:
        client.sendall(tcp(raw) + packet("OPTIONS"))
        assert response_of(received(client)[0]).status == status
        assert closed(client)


def test_reply_finds_its_peer_when_the_connection_is_gone() -> None:
    with ListeningServer(answer=False) as server, socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        listening.settimeout(WAIT_S)
        with connected(server) as client:
            client.sendall(tcp(packet("INVITE"), port))
            assert response_of(received(client)[0]).status == 100
        until(server, "connections_closed")
        dialog = server.invited[0].dialog
        server.do(lambda now: server.agent.accept(dialog, ANSWER, now))
        again, _ = listening.accept()
        with again:
            ok = response_of(received(again)[0])
            assert ok.status == 200
            again.sendall(tcp(packet("ACK", branch="ack", to_tag=ok.to.tag), port))
            server.do(lambda now: server.agent.bye(dialog, now))  # by the connection that stands to there
            assert request_of(received(again)[0]).method == "BYE"


def test_nothing_is_opened_to_a_stranger() -> None:
    with ListeningServer(STRANGERS) as server:
        with connected(server) as client:
            client.sendall(tcp(packet("INVITE")))
            assert response_of(received(client)[0]).status == 403
        assert (server.identity.knows(HOST), server.invited) == (False, [])


def test_peer_that_cannot_be_reached_costs_one_attempt() -> None:
    with ListeningServer(answer=False) as server:
        with socket.create_server((HOST, 0)) as probe:
            port = probe.getsockname()[1]
        with connected(server) as client:
            client.sendall(tcp(packet("INVITE"), port))
            received(client)
        until(server, "connections_closed")
        server.do(lambda now: server.agent.reject(server.invited[0].dialog, 486, "", now))
        until(server, "connections_failed")
        assert CONNECT_S < MESSAGE_S


def test_message_that_does_not_end_is_waited_for_only_so_long() -> None:
    with ListeningServer() as server:
        with connected(server) as silent, connected(server) as slow:
            slow.sendall(b"\r\n\r\n")
            assert slow.recv(10)
            slow.sendall(packet("OPTIONS")[:40])
            until(server, "connections", 2)
            server.skip(MESSAGE_S + 1)
            assert closed(silent)
            assert closed(slow)
        assert server.counters["connections_timed_out"] == 2


def test_idle_connection_stays_as_long_as_a_call_may_be_held() -> None:
    with ListeningServer() as server, connected(server) as client:
        for _ in range(2):
            client.sendall(b"\r\n\r\n")
            assert client.recv(10)
            server.skip(IDLE_S - 60)
        client.sendall(b"\r\n\r\n")
        assert client.recv(10)
        server.skip(IDLE_S + 1)
        assert closed(client)


def test_strangers_have_few_connections_for_a_short_time() -> None:
    with ListeningServer(STRANGERS) as server:
        clients = [socket.create_connection(server.address, WAIT_S) for _ in range(PER_STRANGER_MAX + 1)]
        until(server, "connections_refused")
        for client in clients[:PER_STRANGER_MAX]:
            client.sendall(b"\r\n\r\n")
            assert client.recv(10)
        server.skip(STRANGER_IDLE_S + 1)
        for client in clients:
            assert closed(client)
            client.close()
        assert server.counters["connections"] == PER_STRANGER_MAX


def test_peer_that_does_not_read_is_closed() -> None:
    with ListeningServer() as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WAIT_S)
        client.connect(server.address)
        raw = tcp(packet("OPTIONS", drop="Call-ID", extra=f"Call-ID: x\nTimestamp: 1\nVia: {'SIP/2.0/TCP p, ' * 500}"))
        with client:
            sent = 0
            while not server.counters["connections_too_slow"]:
                assert sent < 200 * WRITE_BUFFER_BYTES
                try:
                    client.sendall(raw)
                except OSError:
                    break
                sent += len(raw)
            until(server, "connections_too_slow")
