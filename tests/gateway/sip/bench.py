"""A user agent on the bench: hand-made packets in, answers out, time by hand, chance by count."""

from __future__ import annotations

from collections.abc import Callable

from gateway.sip.events import Ended, Event, Invited, Settings
from gateway.sip.flow import Flow, Transport
from gateway.sip.gate import Gate
from gateway.sip.grammar import Address
from gateway.sip.message import Request, Response, parse
from gateway.sip.session_timer import MIN_S, WANTED_S
from gateway.sip.uas import UserAgent

LOCAL = ("192.0.2.1", 5060)
PEER = ("192.0.2.9", 5061)
FLOW = Flow("udp", LOCAL, PEER)
"""The peer's datagrams, as the server sees them."""
OUTWARD = Flow("udp", PEER, LOCAL)
"""The same way, as the peer sees it."""
OFFER = b"v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 6000 RTP/AVP 0\r\n"
ANSWER = OFFER.replace(b"192.0.2.9", b"192.0.2.1")


def counting() -> Callable[[int], bytes]:
    """Bytes that never repeat and are the same in every run."""
    count = 0

    def take(size: int) -> bytes:
        nonlocal count
        count += 1
        return count.to_bytes(8, "big").rjust(size, b"\0")[-size:]

    return take


def packet(
    method: str,
    *,
    seq: int = 1,
    branch: str = "a",
    call: str = "call-1",
    to_tag: str = "",
    body: bytes | None = None,
    extra: str = "",
    drop: str = "",
    uri: str = "sip:service@192.0.2.1",
) -> bytes:
    """A request as a well-behaved peer writes it; `extra` adds header lines, `drop` leaves one out."""
    content = (OFFER if method == "INVITE" else b"") if body is None else body
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.9:5061;branch=z9hG4bK-{branch}",
        "From: <sip:alice@192.0.2.9>;tag=alice",
        f"To: <sip:service@192.0.2.1>{f';tag={to_tag}' if to_tag else ''}",
        f"Call-ID: {call}",
        f"CSeq: {seq} {method}",
        "Contact: <sip:alice@192.0.2.9:5061>",
        "Max-Forwards: 70",
        *(("Content-Type: application/sdp",) if content and "Content-Type" not in extra else ()),
        *extra.splitlines(),
        f"Content-Length: {len(content)}",
    ]
    kept = [line for line in lines if not drop or not line.startswith(drop)]
    return ("\r\n".join(kept) + "\r\n\r\n").encode("utf-8", "surrogateescape") + content


class Bench:
    """One user agent, one peer."""

    def __init__(
        self,
        *,
        max_dialogs: int = 4096,
        gate: Gate | None = None,
        transport: Transport = "udp",
        session_s: int = WANTED_S,
        session_min_s: int = MIN_S,
    ) -> None:
        settings = Settings(max_dialogs=max_dialogs, session_s=session_s, session_min_s=session_min_s)
        self.agent = UserAgent(settings, counting(), gate)
        self.flow = Flow(transport, LOCAL, PEER, 1 if transport == "tcp" else None)
        self.now = 1000.0
        self.events: list[Event] = []
        self.asked: list[bytes] = []
        """Requests of ours that can be answered."""
        self.rseq = 0
        """Of the last reliable provisional response."""

    def send(self, data: bytes, source: Address = PEER) -> list[bytes]:
        """One packet of the peer; what is sent because of it."""
        self.agent.receive(data, self.flow.to(source), self.now)
        return self.taken()

    def taken(self) -> list[bytes]:
        """What waits to be sent; events are kept."""
        self.events += self.agent.take_events()
        sent = [data for data, _ in self.agent.take_outgoing()]
        for data in sent:
            if not data.startswith((b"SIP/2.0", b"ACK")):
                self.asked.append(data)
            elif b"\r\nRSeq: " in data:
                self.rseq = int(response_of(data).headers.required("RSeq"))
        return sent

    def wait(self, seconds: float) -> list[bytes]:
        """Lets time pass, deadline by deadline; what is sent meanwhile."""
        end, sent = self.now + seconds, list[bytes]()
        while (deadline := self.agent.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.agent.timers(self.now)
            sent += self.taken()
        self.now = end
        return sent

    def next(self, within_s: float) -> list[bytes]:
        """Lets time pass until something is sent; what that is."""
        end = self.now + within_s
        while (deadline := self.agent.next_deadline()) is not None and deadline <= end:
            if sent := self.wait(max(0.0, deadline - self.now)):
                return sent
        self.now = end
        return []

    def responses(self, data: bytes, source: Address = PEER) -> list[Response]:
        """The same as `send`, read."""
        return [response_of(raw) for raw in self.send(data, source)]

    def status(self, data: bytes, source: Address = PEER) -> list[int]:
        """The statuses that a packet brings."""
        return [response.status for response in self.responses(data, source)]

    def invited(self) -> int:
        """The dialog of the last INVITE."""
        return [event for event in self.events if isinstance(event, Invited)][-1].dialog

    def call(self, *, acknowledge: bool = True, extra: str = "") -> tuple[int, str]:
        """A call that stands: its number and our tag."""
        self.send(packet("INVITE", extra=extra))
        number = self.invited()
        self.agent.accept(number, ANSWER, self.now)
        tag = response_of(self.taken()[-1]).to.tag
        if acknowledge:
            self.send(packet("ACK", branch="ack", to_tag=tag))
        return number, tag

    @property
    def ends(self) -> list[str]:
        """Why calls ended, in order."""
        return [event.why for event in self.events if isinstance(event, Ended)]


def reply_to(request: bytes, status: int, *, extra: str = "", body: bytes = b"") -> bytes:
    """What a peer answers to a request of ours; `extra` adds header lines."""
    lines = request.partition(b"\r\n\r\n")[0].decode("utf-8", "surrogateescape").split("\r\n")[1:]
    kept = [line for line in lines if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")]
    kept += [*extra.splitlines(), *(["Content-Type: application/sdp"] if body else []), f"Content-Length: {len(body)}"]
    return "\r\n".join([f"SIP/2.0 {status} Any", *kept, "", ""]).encode("utf-8", "surrogateescape") + body


def response_of(data: bytes) -> Response:
    """A response that must be one."""
    message = parse(data)
    assert isinstance(message, Response)
    return message


def request_of(data: bytes) -> Request:
    """A request that must be one."""
    message = parse(data)
    assert isinstance(message, Request)
    return message


def only(sent: list[bytes]) -> bytes:
    """The one thing that was sent."""
    assert len(sent) == 1
    return sent[0]
