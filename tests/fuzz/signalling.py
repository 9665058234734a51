"""Targets: what peers send to the signalling. Seeds are RFC 4475's messages, recording clients' offers, and sipp's."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from gateway.calls.identifiers import Identifiers, Sort, wanted
from gateway.ingest.parties import parties_of
from gateway.sip import info, multipart
from gateway.sip.digest import Challenger, ha1
from gateway.sip.errors import Malformed
from gateway.sip.framing import Frame, Framer, Message
from gateway.sip.grammar import CSeq, NameAddr, Uri, Via
from gateway.sip.headers import MAX_HEADERS, parse_lines
from gateway.sip.message import Answerable, Request, Response, parse
from gateway.sip.siprec import fork, metadata, session
from gateway.sip.siprec.state import Line, State
from tests.fuzz.target import CORPUS, Target
from tests.gateway.sip.bench import Bench, counting, packet
from tests.gateway.sip.siprec.test_fork import FAR, NEAR

TESTS = CORPUS.parents[1]
REALM, USER, NOW_S = "callvault", "alice", 1000.0
TYPES = ("", *info.BODIES, "application/sdp")
HEADER = "X-Case"
"""What the trunk's configuration names, in the identifiers' target."""


def torture() -> list[bytes]:
    """RFC 4475's messages."""
    return [path.read_bytes() for path in sorted((TESTS / "vectors" / "rfc4475").glob("*.dat"))]


def offers() -> list[bytes]:
    """What recording clients offer: bare descriptions, and bodies of several parts."""
    return [path.read_bytes() for path in sorted((TESTS / "vectors" / "siprec").glob("*.txt"))]


def scenarios() -> list[bytes]:
    """What sipp sends in our scenarios, with one word for each of its variables."""
    found = []
    for path in sorted((TESTS / "e2e" / "sipp").glob("*.xml")):
        for text in re.findall(r"<!\[CDATA\[(.*?)\]\]>", path.read_text(), re.DOTALL):
            lines = [re.sub(r"\[[^\]]*\]", "5060", line.strip()) for line in text.strip().splitlines()]
            message = "\r\n".join(lines) + "\r\n\r\n"
            found.append(re.sub(r"Content-Length: \d+\r\n", "", message).encode())
    return found


def recordings() -> list[bytes]:
    """INVITEs of recording clients, with their bodies of several parts."""
    kind = "multipart/mixed;boundary=foobar"
    found = [packet("INVITE", body=body, extra=f"Content-Type: {kind}\nRequire: siprec") for body in offers()]
    return [
        *found,
        *(packet("INVITE").replace(b"alice@192.0.2.9>", f"1@192.0.2.9;{of}>".encode()) for of in (NEAR, FAR)),
    ]


def messages() -> list[bytes]:
    """Whole messages of every sort."""
    methods = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "PRACK", "INFO")
    return [*torture(), *scenarios(), *recordings(), *(packet(method) for method in methods)]


def _message(data: bytes) -> Request | Response | Answerable:
    try:
        return parse(data)
    except Answerable as error:
        return error


def _bodied(message: Request | Response) -> tuple[object, ...]:
    fields = [pair for pair in message.headers if pair[0].lower() != "content-length"]
    start = (message.method, message.uri) if isinstance(message, Request) else (message.status, message.reason)
    typed = (message.via, message.from_, message.to, message.call_id, message.cseq, message.contact)
    return (start, fields, message.body, typed, message.record_routes)


def _use_message(message: Request | Response | Answerable) -> None:
    if isinstance(message, Answerable):
        assert 400 <= message.status < 600
        return
    if isinstance(message, Request):
        _asked(message)
    if len(message.headers.fields) < MAX_HEADERS:  # one is added
        again = parse(message.to_bytes())
        assert _bodied(again) == _bodied(message), "written and read again"


def _asked(request: Request) -> None:
    """All that the gateway asks of a request."""
    assert isinstance(request.sdp, bytes)
    assert isinstance(request.metadata, tuple)
    request.tokens("Require")
    session.is_recording(request)
    session.named(request)
    fork.forked(request)
    parties_of(request, "192.0.2.9", trusted=True, found_by=HEADER)
    info.read(request)


def _frames(data: bytes) -> tuple[bytes, list[Frame]]:
    return data, Framer().feed(data)


def _use_frames(read: tuple[bytes, list[Frame]]) -> None:
    """The same comes out of the stream in pieces."""
    data, whole = read
    size = 1 + len(data) // 7
    framer = Framer()
    pieces = [frame for at in range(0, len(data), size) for frame in framer.feed(data[at : at + size])]
    assert [type(frame) for frame in pieces] == [type(frame) for frame in whole]
    for one, other in zip(pieces, whole, strict=True):
        assert not isinstance(one, Message) or one == other


def _agent(data: bytes) -> None:
    """A datagram that comes twice."""
    bench = Bench()
    for _ in range(2):
        assert all(answer.startswith(b"SIP/2.0 ") for answer in bench.send(data))


def _parts(data: bytes) -> tuple[multipart.Part, ...]:
    kind, _, body = data.partition(b"\n")
    return multipart.parse(kind.decode("utf-8", "surrogateescape"), body)


def _use_parts(parts: tuple[multipart.Part, ...]) -> None:
    assert len(parts) <= multipart.PARTS_MAX
    assert not any(multipart.is_multipart(part.media_type) for part in parts)


def _parts_seeds() -> list[bytes]:
    inner = b"Content-Type: multipart/alternative;boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"
    nested = b"multipart/mixed;boundary=a\n--a\r\n" + inner + b"--a--"
    return [*(b'multipart/mixed;boundary="foobar"\n' + body for body in offers()), nested]


def _documents() -> list[bytes]:
    found = [part for body in offers() for part in re.findall(rb"<\?xml.*?</recording[^>]*>", body, re.DOTALL)]
    small = b'<?xml version="1.0"?><recording xmlns="urn:ietf:params:xml:ns:recording:1"><datamode>partial</datamode>'
    left = b'<participantsessionassoc participant_id="p"><disassociate-time>2026-01-01T00:00:00Z</disassociate-time>'
    return [*found, small + left + b"</participantsessionassoc></recording>"]


def _use_metadata(told: metadata.Metadata) -> None:
    once = State().apply(told)
    twice = once.apply(told)
    assert set(twice.participants) == set(once.participants)
    lines = [Line("1"), Line("2"), Line(None), Line(None, audio=False)]
    for state in (once, twice):
        assert len(state.senders(lines)) == len(lines)
        state.senders(lines[:1])


def _info(data: bytes) -> Request:
    kind, body = TYPES[data[0] % len(TYPES)] if data else "", data[1:]
    return _request(packet("INFO", body=body, extra=f"Content-Type: {kind}" if kind else ""))


def _info_seeds() -> list[bytes]:
    keys = (b"Signal=5\r\nDuration=160\r\n", b"5", b"11", b"Signal=!\nDuration=9999999")
    bodies = (*keys, b"Record: on\r\n", b"Record: off")
    return [bytes([number]) + body for number in range(len(TYPES)) for body in bodies]


def _use_info(request: Request) -> None:
    found = info.read(request)
    if isinstance(found, info.Info):
        assert found.digit in info.SYMBOLS
        assert 0 <= found.duration_ms <= info.DURATION_MS_MAX


def _request(data: bytes) -> Request:
    message = parse(data)
    if not isinstance(message, Request):
        raise Malformed("no request")
    return message


@lru_cache(maxsize=1)
def _challenger() -> Challenger:
    return Challenger(REALM, lambda user, name: ha1(name, user, REALM, "x") if user == USER else None, counting())


def _headers(data: bytes) -> list[str]:
    return [line.strip() for line in data.decode("utf-8", "surrogateescape").splitlines()]


def _digest_seeds() -> list[bytes]:
    asked = Challenger(REALM, lambda user, name: None, counting()).challenge(NOW_S)
    answer = (
        f'Digest realm="{REALM}", username="{USER}", uri="sip:a", qop=auth, nc=00000001, cnonce="c", response="0", '
    )
    nonces = [value.partition("nonce=")[2] for _, value in asked]
    return [(answer + f"nonce={nonce}").encode() for nonce in nonces] + [
        answer.encode() + b'nonce="AAAA"',
        b"Basic YTpi",
    ]


def _use_digest(headers: list[str]) -> None:
    _challenger().verify(headers, "INVITE", NOW_S)


def _named(data: bytes) -> Request:
    return _request(packet("INVITE", extra=data.decode("utf-8", "surrogateescape")))


def _use_named(request: Request) -> None:
    parties = parties_of(request, "192.0.2.9", trusted=True, found_by=HEADER)
    found = Identifiers()
    for sort, text in parties.found_by:
        found.add(sort, text, withheld=parties.from_user)
        wanted(sort, text, sees_withheld=True)
    for sort in Sort:
        for text in (parties.from_user, parties.from_uri, parties.request_uri):
            found.add(sort, text)
    for identifier in found.take():
        identifier.value.encode()


def _named_seeds() -> list[bytes]:
    return [
        b"Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2",
        b"User-to-User: 00FA080001000A5F5E1000;encoding=hex\nX-UCID: 00001000101600000000",
        b"Cisco-Guid: 1234567890-1234567890-1234567890-1234567890\nX-Case: 4711",
        b"Cisco-Guid: 12ab 34cd 56 78\nh323-conf-id: 00000000-0000-0000-0000-000000000001",
        b'P-Asserted-Identity: "A" <tel:+43-1-234567;phone-context=+43>, <sip:+4312@h;user=phone>\nPrivacy: id;header',
        b"Remote-Party-ID: <sip:1@h>;party=calling;privacy=full",
        b'X-Cisco-Recording-Participant: sip:1@h;media-index="0 1"',
    ]


def _use_text(data: bytes) -> None:
    """Each reader is the inverse of `str()` up to white space."""
    text = data.decode("utf-8", "surrogateescape")
    readers: tuple[Callable[[str], object], ...] = (Via.parse, NameAddr.parse, CSeq.parse)
    for reader in readers:
        try:
            value = reader(text)
        except Malformed:
            continue
        assert reader(str(value)) == value
    try:
        Uri.parse(text).user.encode()
    except Malformed:
        return


def _text_seeds() -> list[bytes]:
    found = {value.encode("utf-8", "surrogateescape") for data in torture() for value in _values(data)}
    return [*sorted(found), b"tel:+43-1;phone-context=+43", b"sip:a%20;b:c@[::1]:5060;lr?x=y", b"sips:h"]


def _values(data: bytes) -> list[str]:
    headers = parse_lines(data.partition(b"\r\n\r\n")[0].decode("utf-8", "surrogateescape"))[1]
    return [value for name in ("Via", "From", "To", "Contact", "CSeq", "Route") for value in headers.all(name)]


def _as_it_is(data: bytes) -> bytes:
    return data


SIGNALLING: tuple[Target[Any], ...] = (
    Target("sip", _message, _use_message, (Malformed,), messages),
    Target("stream", _frames, _use_frames, (), messages),
    Target("agent", _as_it_is, _agent, (), messages),
    Target("address", _as_it_is, _use_text, (), _text_seeds),
    Target("multipart", _parts, _use_parts, (Malformed,), _parts_seeds),
    Target("metadata", metadata.parse, _use_metadata, (Malformed,), _documents),
    Target("info", _info, _use_info, (Malformed,), _info_seeds),
    Target("digest", _headers, _use_digest, (), _digest_seeds),
    Target("identifiers", _named, _use_named, (Malformed,), _named_seeds),
)
