"""Calls over a connection: replies go back by it, our requests too, and nothing is sent twice that TCP carries once."""

from __future__ import annotations

import pytest

from gateway.sip.flow import Flow
from gateway.sip.gate import Granted
from gateway.sip.reply import Incoming
from tests.gateway.sip.bench import ANSWER, FLOW, LOCAL, PEER, Bench, only, packet, request_of, response_of

OVER_TCP = Flow("tcp", LOCAL, ("192.0.2.9", 40000), 7)


def tcp(raw: bytes) -> bytes:
    """The packet as a peer sends it over TCP."""
    return raw.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP").replace(b"9:5061>", b"9:5061;transport=tcp>")


def standing() -> tuple[Bench, int]:
    """A call that came by a connection."""
    bench = Bench(transport="tcp")
    bench.agent.receive(tcp(packet("INVITE")), OVER_TCP, bench.now)
    bench.taken()
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    [(ok, _)] = bench.agent.take_outgoing()
    bench.agent.receive(tcp(packet("ACK", branch="ack", to_tag=response_of(ok).to.tag)), OVER_TCP, bench.now)
    return bench, bench.invited()


def test_a_reply_goes_back_by_its_connection_or_to_where_the_via_says() -> None:
    bench = Bench(transport="tcp")
    bench.agent.receive(tcp(packet("OPTIONS")), OVER_TCP, bench.now)
    [(_, flow)] = bench.agent.take_outgoing()
    assert flow == Flow("tcp", LOCAL, PEER, 7)  # the connection first; the port of sent-by if that is gone


def test_a_reply_never_goes_to_another_host_than_the_request_came_from() -> None:
    raw = tcp(packet("OPTIONS")).replace(b"192.0.2.9:5061;", b"198.51.100.66:5061;maddr=198.51.100.7;")
    assert Incoming.of(request_of(raw), OVER_TCP).back.remote == ("192.0.2.9", 5061)


def test_contact_and_via_name_the_transport() -> None:
    bench = Bench(transport="tcp")
    bench.agent.receive(tcp(packet("INVITE")), OVER_TCP, bench.now)
    bench.taken()
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    ok = response_of(only(bench.taken()))
    assert ok.contact is not None
    assert ok.contact.uri == "sip:192.0.2.1:5060;transport=tcp"
    bench.agent.receive(tcp(packet("ACK", branch="ack", to_tag=ok.to.tag)), OVER_TCP, bench.now)
    bench.agent.bye(bench.invited(), bench.now)
    assert request_of(only(bench.taken())).via.transport == "TCP"


def test_our_bye_goes_by_the_connection_that_the_dialog_last_came_by() -> None:
    bench, number = standing()
    bench.agent.bye(number, bench.now)
    [(_, flow)] = bench.agent.take_outgoing()
    assert flow == Flow("tcp", LOCAL, PEER, 7)


def test_our_bye_is_sent_once_over_tcp_and_given_up_all_the_same() -> None:
    bench, number = standing()
    bench.agent.bye(number, bench.now)
    bench.taken()
    assert bench.wait(31.9) == []
    assert bench.agent.dialogs == 1
    assert bench.wait(0.2) == []
    assert bench.agent.dialogs == 0


def test_a_200_to_an_invite_is_repeated_over_tcp_until_its_ack() -> None:
    bench = Bench(transport="tcp")
    bench.send(packet("INVITE"))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    [ok] = bench.taken()
    assert bench.wait(1.5) == [ok, ok]  # RFC 3261 §13.3.1.4: a proxy further on may use datagrams
    bench.send(packet("ACK", branch="ack", to_tag=response_of(ok).to.tag))
    assert bench.wait(60) == []


def test_a_refusal_is_sent_once_over_tcp() -> None:
    bench = Bench(transport="tcp")
    bench.send(packet("INVITE"))
    bench.agent.reject(bench.invited(), 486, "", bench.now)
    assert len(bench.taken()) == 1
    assert bench.wait(60) == []


def test_a_contact_that_asks_for_tcp_gets_a_connection_of_its_own() -> None:
    bench = Bench()
    bench.send(packet("INVITE").replace(b"9:5061>", b"9:5061;transport=TCP>"))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    bench.send(packet("ACK", branch="ack", to_tag=response_of(only(bench.taken())).to.tag))
    bench.agent.bye(bench.invited(), bench.now)
    [(_, flow)] = bench.agent.take_outgoing()
    assert flow == Flow("tcp", LOCAL, PEER)


def test_content_length_is_obligatory_over_tcp() -> None:
    bench = Bench(transport="tcp")
    assert bench.status(packet("OPTIONS", drop="Content-Length")) == [400]
    assert Bench().status(packet("OPTIONS", drop="Content-Length")) == [200]


@pytest.mark.parametrize("host", ["198.51.100.9", "sbc.example"])
def test_our_requests_go_nowhere_that_the_gate_does_not_reach(host: str) -> None:
    class Closed:
        def admit(self, request: object, flow: Flow, now: float, former: object = None) -> Granted:
            return Granted("carrier", flow.remote[0])

        def urgent(self, request: object, granted: object) -> bool:
            return False

        def hears(self, flow: Flow) -> bool:
            return True

        def reaches(self, trunk: str, host: str) -> bool:
            return False

    bench = Bench(gate=Closed())
    bench.send(packet("INVITE").replace(b"alice@192.0.2.9:5061>", f"alice@{host}>".encode()))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    bench.send(packet("ACK", branch="ack", to_tag=response_of(only(bench.taken())).to.tag))
    bench.agent.bye(bench.invited(), bench.now)
    assert bench.agent.take_outgoing()[0][1] == FLOW
