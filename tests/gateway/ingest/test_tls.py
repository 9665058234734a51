"""SIP over TLS on loopback: what goes by it, whom a certificate lets in, and the end of each bad beginning."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.ingest.certificates import contexts, expiry, refuse_expired
from gateway.ingest.handshakes import HANDSHAKE_S, PER_STRANGER_MAX
from gateway.ingest.tcp import STRANGER_IDLE_S
from gateway.peers import PeerName
from gateway.sip.grammar import Uri
from gateway.sip_settings import SipTls
from gateway.tenants import Directory
from tests.gateway.ingest.answering import ListeningServer
from tests.gateway.ingest.authority import DAY, Authority
from tests.gateway.ingest.test_tcp import STRANGERS, WAIT_S, closed, final, received, tcp, until
from tests.gateway.sip.bench import packet, request_of, response_of
from tests.gateway.sip.harness import ANSWER, HOST

TRUNKS: list[dict[str, Any]] = [
    {"name": "shown", "tenant": "default", "tls_names": ["SBC.example.net"], "media_networks": ["127.0.0.0/8"]},
    {
        "name": "placed",
        "tenant": "default",
        "tls_names": ["elsewhere.example.net"],
        "sources": ["192.0.2.0/24"],
    },
    {"name": "near", "tenant": "default", "sources": [f"{HOST}/32"]},
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def configuration(authority: Authority, trunks: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    sip = {"listen": f"{HOST}:0", "transports": ["udp", "tcp", "tls"], "tls_port": 0, "tls": authority.settings()}
    return {"sip": sip, "trunks": TRUNKS if trunks is None else trunks}


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[ListeningServer]:
    with ListeningServer(configuration(authority)) as started:
        yield started


def dialled(
    server: ListeningServer, authority: Authority, certificate: tuple[Path, Path] | None = None, **limits: Any
) -> ssl.SSLSocket:
    """A connection, its handshake done; our certificate must be the authority's, for this address."""
    context = ssl.create_default_context(cafile=str(authority.ca))
    for name, value in limits.items():
        setattr(context, name, value)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    raw = socket.create_connection(server.secure_address, WAIT_S)
    try:
        return context.wrap_socket(raw, server_hostname=HOST)
    except BaseException:
        raw.close()
        raise


def tls(raw: bytes, port: int = 5061) -> bytes:
    """A packet as a peer sends it over TLS."""
    return tcp(raw, port).replace(b"SIP/2.0/TCP", b"SIP/2.0/TLS").replace(b"transport=tcp", b"transport=tls")


def test_a_call_goes_over_tls_and_says_so(server: ListeningServer, authority: Authority) -> None:
    with dialled(server, authority) as client:
        client.sendall(b"\r\n\r\n")
        assert client.recv(10) == b"\r\n"
        client.sendall(tls(packet("INVITE", call="whole")))
        ok = final(client)
        assert (ok.status, ok.body, ok.via.transport) == (200, ANSWER, "TLS")
        assert ok.contact is not None
        contact = Uri.parse(ok.contact.uri)
        assert (contact.scheme, contact.port, contact.transport) == ("sip", server.secure_address[1], "tls")
        client.sendall(tls(packet("ACK", call="whole", branch="ack", to_tag=ok.to.tag)))
        dialog = server.invited[-1].dialog
        server.do(lambda now: server.agent.bye(dialog, now))
        bye = request_of(received(client)[0])
        assert (bye.method, bye.via.transport, bye.via.port) == ("BYE", "TLS", server.secure_address[1])
        assert server.invited[-1].granted.secure


def test_sips_is_taken_over_tls_and_its_contact_is_sips(server: ListeningServer, authority: Authority) -> None:
    encrypted, clear = (
        packet("INVITE", call=name, branch=name).replace(b"INVITE sip:", b"INVITE sips:") for name in ("sips", "other")
    )
    with dialled(server, authority) as client:
        client.sendall(tls(encrypted))
        ok = final(client)
        assert ok.contact is not None
        assert (ok.status, Uri.parse(ok.contact.uri).scheme) == (200, "sips")
    with socket.create_connection(server.address, WAIT_S) as plain:
        plain.sendall(tcp(clear))
        assert final_or_only(plain) == 416


def final_or_only(client: socket.socket) -> int:
    """The status of the first answer that is final."""
    while True:
        if (status := response_of(received(client)[0]).status) >= 200:
            return status


@pytest.mark.parametrize(
    ("names", "trunk"),
    [
        ({"dns": ["sbc.example.net"]}, "shown"),
        ({"uris": ["sip:sbc.example.net"]}, "shown"),
        ({"dns": ["other.example.net", "SBC.EXAMPLE.NET"]}, "shown"),
        ({"dns": ["nobody.example.net"]}, "near"),  # known by its address, like one that shows none
        ({}, "near"),
    ],
)
def test_a_certificate_finds_its_trunk(
    server: ListeningServer, authority: Authority, names: dict[str, Any], trunk: str
) -> None:
    with dialled(server, authority, authority.issue("client", **names)) as client:
        client.sendall(tls(packet("INVITE", call=f"names {names}".replace(" ", ""))))
        assert final(client).status == 200
    assert server.invited[-1].granted.trunk == trunk


def test_a_common_name_counts_where_there_is_no_other(server: ListeningServer, authority: Authority) -> None:
    with dialled(server, authority, authority.issue("sbc.example.net")) as client:
        client.sendall(tls(packet("INVITE", call="common")))
        assert final(client).status == 200
    assert server.invited[-1].granted.trunk == "shown"


def test_a_known_certificate_from_elsewhere_is_refused(server: ListeningServer, authority: Authority) -> None:
    with dialled(server, authority, authority.issue("far", dns=["elsewhere.example.net"])) as client:
        client.sendall(tls(packet("INVITE", call="elsewhere")))
        assert response_of(received(client)[0]).status == 403
    assert server.identity.counters["refused_name_elsewhere"] == 1


def test_a_trunk_with_names_is_not_known_by_its_place(authority: Authority) -> None:
    trunks = [{**TRUNKS[0], "sources": [f"{HOST}/32"]}]
    with ListeningServer(configuration(authority, trunks)) as server:
        with dialled(server, authority) as client:
            client.sendall(tls(packet("INVITE")))
            assert response_of(received(client)[0]).status == 403
        with dialled(server, authority, authority.issue("right", dns=["sbc.example.net"])) as client:
            client.sendall(tls(packet("INVITE", call="right")))
            assert final(client).status == 200


def test_a_dialog_over_tls_goes_on_over_tls_by_the_same_certificate(
    server: ListeningServer, authority: Authority
) -> None:
    shown = authority.issue("shown", dns=["sbc.example.net"])
    with dialled(server, authority, shown) as client:
        client.sendall(tls(packet("INVITE", call="stays")))
        ok = final(client)
        client.sendall(tls(packet("ACK", call="stays", branch="ack", to_tag=ok.to.tag)))
        bye = packet("BYE", call="stays", seq=2, branch="bye", to_tag=ok.to.tag)
        with socket.create_connection(server.address, WAIT_S) as plain:
            plain.sendall(tcp(bye))
            assert final_or_only(plain) == 403
        with dialled(server, authority) as nameless:
            nameless.sendall(tls(bye))
            assert final_or_only(nameless) == 403
        with dialled(server, authority, shown) as again:
            again.sendall(tls(bye))
            assert final_or_only(again) == 200


@pytest.mark.parametrize("kind", ["another authority", "expired"])
def test_a_certificate_that_is_not_believed_ends_the_handshake(
    server: ListeningServer, authority: Authority, tmp_path: Path, kind: str
) -> None:
    before = server.counters["certificates_refused"]
    if kind == "expired":
        certificate = authority.issue("late", dns=["sbc.example.net"], days=-1)
    else:
        certificate = Authority(tmp_path, "another").issue("forged", dns=["sbc.example.net"])
    with pytest.raises((ssl.SSLError, ConnectionError)), dialled(server, authority, certificate) as client:
        client.sendall(tls(packet("INVITE", call=kind.replace(" ", ""))))
        if not client.recv(1):  # with TLS 1.3 the client learns of it after its own part
            raise ConnectionResetError
    until(server, "certificates_refused", before + 1)


def test_plain_bytes_on_the_port_of_tls_end_it(server: ListeningServer) -> None:
    before = server.counters["handshakes_failed"]
    with socket.create_connection(server.secure_address, WAIT_S) as client:
        client.sendall(tcp(packet("INVITE", call="plain")))
        assert closed(client)
    until(server, "handshakes_failed", before + 1)
    assert "plain" not in [event.request.call_id for event in server.invited]


def test_versions_before_1_2_are_refused(server: ListeningServer, authority: Authority) -> None:
    with pytest.warns(DeprecationWarning), pytest.raises((ssl.SSLError, ConnectionError)):
        dialled(server, authority, maximum_version=ssl.TLSVersion.TLSv1_1, minimum_version=ssl.TLSVersion.TLSv1)


def test_a_handshake_that_does_not_end_is_waited_for_only_so_long(authority: Authority) -> None:
    with ListeningServer(configuration(authority)) as server:
        with socket.create_connection(server.secure_address, WAIT_S) as silent, socket.socket() as slow:
            slow.settimeout(WAIT_S)
            slow.connect(server.secure_address)
            slow.sendall(b"\x16\x03\x01\x02")  # the beginning of a hello
            time.sleep(0.2)  # both are accepted
            server.skip(HANDSHAKE_S + 1)
            assert closed(silent)
            assert closed(slow)
        until(server, "handshakes_timed_out", 2)
        assert server.counters["connections"] == 0


def test_strangers_have_few_handshakes_at_once(authority: Authority) -> None:
    with ListeningServer({**configuration(authority), **STRANGERS}) as server, ExitStack() as clients:
        for _ in range(PER_STRANGER_MAX + 1):
            clients.enter_context(socket.create_connection(server.secure_address, WAIT_S))
        until(server, "handshakes_refused")
        server.skip(HANDSHAKE_S + 1)
        until(server, "handshakes_timed_out", PER_STRANGER_MAX)
        with dialled(server, authority) as client:
            client.sendall(tls(packet("INVITE")))
            assert response_of(received(client)[0]).status == 403


def test_a_trunks_certificate_makes_its_connection_no_strangers(authority: Authority) -> None:
    shown = authority.issue("known", dns=["sbc.example.net"])
    with (
        ListeningServer(configuration(authority, TRUNKS[:1])) as server,
        dialled(server, authority, shown) as known,
        dialled(server, authority) as stranger,
    ):
        for client in (known, stranger):
            client.sendall(b"\r\n\r\n")
            assert client.recv(10) == b"\r\n"
        server.skip(STRANGER_IDLE_S + 1)
        assert closed(stranger)
        known.sendall(b"\r\n\r\n")
        assert known.recv(10) == b"\r\n"


def test_certificates_are_replaced_for_new_connections(authority: Authority, tmp_path: Path) -> None:
    with ListeningServer(configuration(authority)) as server, dialled(server, authority) as former:
        another = Authority(tmp_path)
        server.do(lambda now: server.secure(SipTls.model_validate(another.settings())))
        former.sendall(b"\r\n\r\n")
        assert former.recv(10) == b"\r\n"
        with pytest.raises(ssl.SSLCertVerificationError):
            dialled(server, authority)
        with dialled(server, another) as client:
            client.sendall(b"\r\n\r\n")
            assert client.recv(10) == b"\r\n"


@pytest.mark.parametrize(
    ("name", "ip", "reached"),
    [("peer", HOST, True), ("sbc.example.net", "", True), ("stranger", "", False), ("peer", "192.0.2.1", False)],
)
def test_we_connect_only_to_whom_the_certificate_names(authority: Authority, name: str, ip: str, reached: bool) -> None:
    """Our answer finds its peer when the connection is gone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(name, ip=ip))
    with (
        ListeningServer(configuration(authority), answer=False) as server,
        socket.create_server((HOST, 0)) as listening,
    ):
        listening.settimeout(WAIT_S)
        with dialled(server, authority) as client:
            client.sendall(tls(packet("INVITE"), listening.getsockname()[1]))
            received(client)
        until(server, "connections_closed")
        server.do(lambda now: server.agent.reject(server.invited[0].dialog, 486, "", now))
        raw, _ = listening.accept()
        with context.wrap_socket(raw, server_side=True) as again:
            again.settimeout(WAIT_S)
            if reached:
                assert response_of(received(again)[0]).status == 486
            else:
                assert again.recv(1) == b""
                until(server, "certificates_refused")


def test_a_peer_that_we_know_by_name_is_told_which_one_we_want(authority: Authority) -> None:
    """One that serves several names shows the right certificate only then (RFC 6066 §3)."""
    named, other = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    named.load_cert_chain(*authority.issue("sbc.example.org", dns=["sbc.example.org"]))
    other.load_cert_chain(*authority.issue("stranger", dns=["stranger.example.org"]))
    asked: list[str] = []

    def choose(connection: ssl.SSLObject, name: str, context: ssl.SSLContext) -> None:
        asked.append(name)
        if name == "sbc.example.org":
            connection.context = named

    other.sni_callback = choose
    trunks = [{"name": "far", "tenant": "default", "sources": ["host:sbc.example.org"]}]
    with (
        ListeningServer(configuration(authority, trunks), answer=False) as server,
        socket.create_server((HOST, 0)) as listening,
    ):
        server.identity.directory = Directory(server.settings, {PeerName("host", "sbc.example.org"): [(HOST, 0)]})
        listening.settimeout(WAIT_S)
        with dialled(server, authority) as client:
            client.sendall(tls(packet("INVITE"), listening.getsockname()[1]))
            received(client)
        until(server, "connections_closed")
        server.do(lambda now: server.agent.reject(server.invited[0].dialog, 486, "", now))
        raw, _ = listening.accept()
        with other.wrap_socket(raw, server_side=True) as again:
            again.settimeout(WAIT_S)
            assert response_of(received(again)[0]).status == 486
    assert asked == ["sbc.example.org"]


def test_files_that_cannot_be_used_are_told(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("one", ip=HOST)
    _, other = authority.issue("two", ip=HOST)
    (empty := tmp_path / "empty.pem").touch()
    for files, problem in (
        ({"certificate": certificate, "key": other}, "key values mismatch"),
        ({"certificate": certificate, "key": tmp_path / "none"}, "No such file"),
        ({"certificate": empty, "key": key}, "sip.tls.certificate"),
        ({"certificate": certificate, "key": key, "client_ca": empty}, "sip.tls.client_ca"),
    ):
        with pytest.raises(ConfigError, match=problem):
            contexts(SipTls.model_validate(files))


def test_a_certificate_that_has_expired_replaces_no_other(authority: Authority) -> None:
    certificate, key = authority.issue("old", days=1)
    tls_settings = SipTls.model_validate({"certificate": certificate, "key": key})
    refuse_expired(tls_settings, expiry(certificate) - DAY)
    with pytest.raises(ConfigError, match="has expired"):
        refuse_expired(tls_settings, expiry(certificate))
