"""What the user agent answers by itself, and that it says the same when asked again."""

from __future__ import annotations

import pytest
import sipmessage

from gateway.sip.gate import Granted, OpenGate
from gateway.sip.message import MAX_MESSAGE_BYTES, Request
from gateway.sip.uas import URGENT_DIALOGS
from tests.gateway.sip.bench import FLOW, Bench, only, packet, reply_to, request_of, response_of
from tests.gateway.sip.test_message import TORTURE

UNKNOWN_DIALOG = "nobody"
ACCEPTED = "application/sdp, application/rs-metadata, application/rs-metadata+xml, multipart/mixed"


@pytest.mark.parametrize(
    ("raw", "status", "header"),
    [
        (packet("OPTIONS"), 200, ("Accept", ACCEPTED)),
        (packet("FROBNICATE"), 501, ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO")),
        (packet("REGISTER"), 405, ("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO")),
        (packet("INVITE", extra="Require: path, gruu\nRequire: path, 100rel"), 420, ("Unsupported", "path, gruu")),
        (packet("INVITE", extra="Supported: timer\nSession-Expires: 89"), 422, ("Min-SE", "90")),
        (packet("INVITE", extra="Session-Expires: soon"), 400, None),
        (packet("INVITE", extra="Session-Expires: 90;refresher=me"), 400, None),
        (packet("INVITE", extra="Min-SE: -1"), 400, None),
        (packet("INVITE", uri="sips:a@b"), 416, None),
        (packet("INVITE", uri="nobodyKnowsThisScheme:totallyopaquecontent"), 416, None),
        (packet("INVITE", extra="Content-Type: application/isup"), 415, ("Accept", ACCEPTED)),
        (packet("INVITE", extra="Content-Encoding: gzip"), 415, ("Accept-Encoding", "identity")),
        (packet("INVITE", drop="Contact"), 400, None),
        (packet("INVITE").replace(b"Contact: <sip:", b"Contact: <tel:"), 400, None),
        (packet("INVITE", extra="Record-Route: <sip:>"), 400, None),
        (packet("INVITE", drop="CSeq"), 400, None),
        (packet("INVITE", extra="Content-Length: 9999"), 400, None),
        (packet("BYE"), 481, None),
        (packet("INFO", extra="Record: off"), 481, None),
        (packet("INFO", to_tag=UNKNOWN_DIALOG, extra="Record: off"), 481, None),
        (packet("UPDATE"), 481, None),
        (packet("PRACK", extra="RAck: 1 1 INVITE"), 481, None),
        (packet("UPDATE", to_tag=UNKNOWN_DIALOG), 481, None),
        (packet("BYE", to_tag=UNKNOWN_DIALOG), 481, None),
        (packet("INVITE", to_tag=UNKNOWN_DIALOG), 481, None),
        (packet("CANCEL"), 481, None),
        (packet("OPTIONS", to_tag=UNKNOWN_DIALOG), 481, None),
        (packet("INVITE").replace(b" SIP/2.0\r\nVia", b" SIP/3.0\r\nVia"), 505, None),
    ],
)
def test_refusal_is_stable_and_keeps_nothing(raw: bytes, status: int, header: tuple[str, str] | None) -> None:
    bench = Bench()
    first = only(bench.send(raw))
    assert first.startswith(b"SIP/2.0 %d " % status)
    if header:
        assert response_of(first).headers.first(header[0]) == header[1]
    assert bench.send(raw) == [first]
    assert (bench.agent.dialogs, bench.agent.next_deadline(), bench.events) == (0, None, [])
    assert first.count(b"\r\nTo: <sip:service@192.0.2.1>;tag=") == 1
    assert first.count(b";tag=") == 2  # From's, and one of To


def test_reason_of_a_400_names_the_rule() -> None:
    assert b"SIP/2.0 400 Bad Request: CSeq missing\r\n" in only(Bench().send(packet("INVITE", drop="CSeq")))


def test_answer_is_read_by_a_strict_reader() -> None:
    response = sipmessage.Response.parse(only(Bench().send(packet("OPTIONS"))))
    assert isinstance(response, sipmessage.Response)
    assert (response.code, response.supported, response.content_length) == (200, ["100rel", "timer", "siprec"], 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"\0" * 100,
        b"x" * (MAX_MESSAGE_BYTES + 1),
        b"INVITE",
        b"INVITE sip:a SIP/2.0\r\n\r\n",
        packet("ACK"),
        packet("ACK", drop="CSeq"),
        packet("INVITE", drop="Via"),
        b"SIP/2.0 200 OK\r\n" + packet("BYE").partition(b"\r\n")[2],
    ],
)
def test_garbage_strays_and_acks_are_not_answered(raw: bytes) -> None:
    bench = Bench()
    assert bench.send(raw) == []
    assert (bench.agent.dialogs, bench.agent.next_deadline()) == (0, None)


def test_oversized_headers_are_told_so() -> None:
    raw = packet("INVITE", extra="\n".join(f"X-{n}: {'x' * 4000}" for n in range(9)))
    assert Bench().status(raw) == [513]


def test_answers_go_where_the_request_came_from() -> None:
    bench = Bench()
    source = ("198.51.100.7", 3333)
    bench.agent.receive(packet("OPTIONS").replace(b";branch", b";rport;branch"), FLOW.to(source), bench.now)
    [(data, flow)] = bench.agent.take_outgoing()
    assert flow == FLOW.to(source)
    assert b";received=198.51.100.7;rport=3333" in data
    bench.agent.receive(packet("OPTIONS"), FLOW.to(source), bench.now)
    assert bench.agent.take_outgoing()[0][1].remote == ("198.51.100.7", 5061)


def test_every_via_and_the_timestamp_are_mirrored() -> None:
    raw = packet("INVITE", extra="Via: SIP/2.0/UDP p_2.example;branch=z9hG4bKx, SIP/2.0/TCP p3;branch=y\nTimestamp: 54")
    trying = response_of(Bench().send(raw)[0])
    assert trying.status == 100
    assert trying.headers.first("Timestamp") == "54"
    assert trying.headers.all("Via") == [
        "SIP/2.0/UDP 192.0.2.9:5061;branch=z9hG4bK-a",
        "SIP/2.0/UDP p_2.example;branch=z9hG4bKx, SIP/2.0/TCP p3;branch=y",
    ]


def test_stamped_via_keeps_its_neighbours_on_the_line() -> None:
    raw = packet("OPTIONS").replace(b";branch=z9hG4bK-a", b";branch=z9hG4bK-a;rport, SIP/2.0/UDP p2;branch=b")
    assert response_of(only(Bench().send(raw))).headers.all("Via") == [
        "SIP/2.0/UDP 192.0.2.9:5061;branch=z9hG4bK-a;received=192.0.2.9;rport=5061, SIP/2.0/UDP p2;branch=b"
    ]


def test_a_hop_count_of_zero_has_arrived() -> None:
    bench = Bench()
    assert bench.status(packet("INVITE").replace(b"Max-Forwards: 70", b"Max-Forwards: 0")) == [100]


def test_tortuous_request_inside_no_dialog_is_answered() -> None:
    assert Bench().status(TORTURE) == [481]


def test_draining_refuses_new_calls_and_says_so_to_options() -> None:
    bench = Bench()
    _, tag = bench.call()
    bench.agent.draining = True
    for raw in (packet("INVITE", call="new"), packet("OPTIONS", call="new")):
        [response] = bench.responses(raw)
        assert (response.status, response.headers.first("Retry-After")) == (503, "5")
    assert bench.status(packet("BYE", seq=2, branch="b", to_tag=tag)) == [200]


def test_more_calls_than_allowed_get_503_until_one_ends() -> None:
    bench = Bench(max_dialogs=1)
    _, tag = bench.call()
    [_, response] = [*bench.responses(packet("OPTIONS")), *bench.responses(packet("INVITE", call="second"))]
    assert (response.status, response.headers.first("Retry-After")) == (503, "5")
    assert bench.status(packet("ACK", call="second")) == []
    assert bench.status(packet("BYE", seq=2, branch="b", to_tag=tag)) == [200]
    assert bench.status(packet("INVITE", call="third", branch="third")) == [100]


class Urgent(OpenGate):
    """Calls to 112 must not be refused."""

    def urgent(self, request: Request, granted: Granted) -> bool:
        return request.uri.startswith("sip:112@")


def test_an_urgent_call_is_taken_beyond_the_allowed_number_and_there_is_an_end_to_that() -> None:
    bench = Bench(max_dialogs=1, gate=Urgent())
    bench.call()
    for number in range(URGENT_DIALOGS):
        assert bench.status(packet("INVITE", call=f"urgent-{number}", uri="sip:112@192.0.2.1")) == [100]
        assert bench.status(packet("INVITE", call=f"other-{number}")) == [503]
    assert bench.status(packet("INVITE", call="last", uri="sip:112@192.0.2.1")) == [503]


def test_merged_request_is_a_loop() -> None:
    bench = Bench()
    assert bench.status(packet("INVITE", branch="way-1")) == [100]
    again = packet("INVITE", branch="way-2")
    assert bench.status(again) == [482]
    assert bench.status(again) == [482]
    assert bench.status(packet("ACK", branch="way-2")) == []
    assert len(bench.events) == 1


@pytest.mark.parametrize(("allow", "methods"), [("UPDATE", ["UPDATE", "UPDATE"]), ("BYE", ["OPTIONS", "INVITE"])])
def test_own_probes_and_refreshes_are_read_by_a_strict_reader(allow: str, methods: list[str]) -> None:
    bench = Bench()
    number, _ = bench.call(extra=f"Allow: {allow}\nSupported: timer\nSession-Expires: 90;refresher=uas")
    bench.agent.probe(number, bench.now)
    probe = only(bench.taken())
    bench.send(reply_to(probe, 200, extra="Session-Expires: 90;refresher=uac"))
    for raw, method in zip((probe, only(bench.next(45))), methods, strict=True):
        request = sipmessage.Request.parse(raw)
        assert isinstance(request, sipmessage.Request)
        assert (request.method, request.supported) == (method, ["100rel", "timer", "siprec"])


def test_own_requests_are_read_by_a_strict_reader() -> None:
    bench = Bench()
    number, _ = bench.call()
    bench.agent.bye(number, bench.now, reason='SIP;cause=200;text="erased"')
    raw = only(bench.taken())
    strict = sipmessage.Request.parse(raw)
    assert isinstance(strict, sipmessage.Request)
    assert request_of(raw).headers.first("Reason") == 'SIP;cause=200;text="erased"'
    assert strict.via[0].parameters["rport"] is None
