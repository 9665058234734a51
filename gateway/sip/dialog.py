"""Dialogs (RFC 3261 §12): who talks to whom, by which tags and routes, and what of it is still open.

Invariants:
- A dialog is found by its number (ours) or by Call-ID, local tag and remote tag (the peer's messages).
- `remote_seq` only rises; a request that does not raise it is old (§12.2.2). ACK and CANCEL do not count.
- At most one INVITE of the peer is unanswered (`invitation`); at most MAX_UNACKED are answered but not acknowledged.
- At most one offer is open in either direction (`open_offer`; RFC 3264 §4, RFC 6337 §2).
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Literal

from gateway.sip.errors import Malformed
from gateway.sip.flow import Flow
from gateway.sip.gate import Granted
from gateway.sip.grammar import NameAddr, Uri, split_list
from gateway.sip.headers import Headers
from gateway.sip.message import Request, Response
from gateway.sip.reliable import RAck, Unacknowledged
from gateway.sip.reply import Incoming
from gateway.sip.session_timer import MIN_S, Session, Terms
from gateway.sip.transaction import Transaction

MAX_UNACKED = 4
"""Accepted INVITEs without ACK in one dialog. A peer that lost ACKs may re-INVITE once or twice before our 200 comes
again; more is no accident."""


SIPS = "sips:"


class Stage(Enum):
    """How far a dialog is."""

    EARLY = auto()  # its INVITE has no final answer
    CONFIRMED = auto()
    ENDING = auto()  # over for the gateway; our BYE is to be sent, or to be answered


@dataclass(slots=True, eq=False)
class Invitation:
    """An INVITE that waits for the gateway's answer."""

    request: Request
    incoming: Incoming
    transaction: Transaction
    terms: Terms | None = None
    """Of the session timer, for its 2xx."""
    rseq: int = 0
    """Of its last reliable provisional response; 0 before the first."""
    unacknowledged: Unacknowledged | None = None
    agreed: bool = False
    """Whether offer and answer were exchanged before the 2xx, which then has no SDP (RFC 6337 §3.1.1)."""
    held: bytes | None = field(default=None, repr=False)
    """SDP of a 200 that waits for a PRACK (RFC 3262 §3)."""


@dataclass(frozen=True, slots=True)
class Update:
    """An offer of the peer in an UPDATE or a PRACK that waits for the gateway's answer."""

    request: Request
    incoming: Incoming
    transaction: Transaction
    terms: Terms | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """An INFO that waits for the gateway's answer."""

    incoming: Incoming
    transaction: Transaction


@dataclass(slots=True)
class Answer:
    """A 200 to an INVITE that is sent again until its ACK comes (§13.3.1.4)."""

    data: bytes = field(repr=False)
    flow: Flow
    give_up_at: float
    interval_s: float
    is_offer: bool
    """Whether the 200 carries the offer, so that the ACK must bring the answer."""


@dataclass(slots=True, eq=False)
class Dialog:
    """One dialog, seen from our side."""

    number: int
    call_id: str
    local_tag: str
    remote_tag: str
    local_name: str
    """Our From in it, tag included."""
    remote_name: str
    """Our To in it, tag included where the peer has one."""
    remote_target: str
    """URI of the peer's Contact."""
    routes: tuple[str, ...]
    flow: Flow
    """By which its last request that counted came; a client's first goes."""
    granted: Granted
    """By whom it was let in."""
    remote_seq: int = -1
    local_seq: int = 0
    stage: Stage = Stage.EARLY
    invitation: Invitation | None = None
    update: Update | None = None
    questions: dict[int, Question] = field(default_factory=dict)
    """By their CSeq number."""
    answers: dict[int, Answer] = field(default_factory=dict)
    """By the CSeq number of their INVITE."""
    farewell: tuple[tuple[str, str], ...] = ()
    """Headers of the BYE that is still to be sent."""
    allows: frozenset[str] = frozenset()
    """Methods that the peer says it takes; empty if it never said."""
    sdp: bytes = field(default=b"", repr=False)
    """Our last description, for a refresh that must be a re-INVITE."""
    session: Session | None = None
    min_se: int = MIN_S
    """The greatest Min-SE that a 422 of the peer named."""
    refresh: Transaction | None = None
    """Our refresh that waits for its answer."""
    probe: Transaction | None = None
    """Our probe that waits for its answer."""
    late_rack: RAck | None = None
    """Of a provisional response that was overtaken by its 2xx: its PRACK is still welcome (RFC 3262 §3)."""
    ack: tuple[int, bytes] = field(default=(-1, b""), repr=False)
    """CSeq number and bytes of the ACK of our last INVITE, for a 2xx that comes again."""
    placed: bool = False
    """Whether we placed the call, and made its Call-ID."""
    sips: bool = False
    """Whether it must be encrypted on every hop, so that our Contact says so (RFC 3261 §12.1.1)."""

    @property
    def key(self) -> tuple[str, str, str]:
        """By what messages name it."""
        return self.call_id, self.local_tag, self.remote_tag

    @property
    def open_offer(self) -> Literal["", "ours", "peers"]:
        """Whose offer has no answer yet."""
        invitation = self.invitation
        if any(answer.is_offer for answer in self.answers.values()) or self.reinviting:
            return "ours"
        if invitation is not None and invitation.unacknowledged is not None and invitation.unacknowledged.is_offer:
            return "ours"
        offered = invitation is not None and bool(invitation.request.sdp) and not invitation.agreed
        return "peers" if offered or self.update is not None else ""

    @property
    def reinviting(self) -> bool:
        """Whether a re-INVITE of ours has no final answer yet."""
        return self.refresh is not None and self.refresh.key[1] == "INVITE"

    def heard(self, message: Request | Response) -> None:
        """Takes over what a request or 2xx of the peer says of itself: its target, if that is one, and its methods."""
        if message.contact is not None:
            with suppress(Malformed):  # else it keeps the old one
                self.remote_target = target_of(message)
        self.allows = methods_of(message) or self.allows

    def next_hop(self) -> Flow:
        """The way of our requests: the dialog's connection, or to the first route or the peer's Contact.

        Names are not resolved here; for those, and for a Contact that names no host, it is where the peer's last
        request came from. `transport=tcp` there moves a dialog from datagrams to a connection of its own; an encrypted
        one stays so whatever is said, and another does not become one: the peer was not asked who it is.
        """
        try:
            uri = Uri.parse(NameAddr.parse(self.routes[0]).uri if self.routes else self.remote_target)
            host = uri.host.strip("[]")
            ipaddress.ip_address(host)
        except ValueError:
            return self.flow
        if not self.flow.secure and (uri.scheme == "sips" or uri.transport == "tls"):
            return self.flow
        flow = self.flow.to((host, uri.port or self.flow.default_port))
        return replace(flow, transport="tcp") if uri.transport == "tcp" and not flow.secure else flow

    def request(
        self,
        method: str,
        via: str,
        *,
        seq: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
    ) -> Request:
        """A request inside the dialog (§12.2.1.1); `seq` repeats a number (ACK), else the next one is taken."""
        if seq is None:
            self.local_seq += 1
            seq = self.local_seq
        uri, routes = self.remote_target, self.routes
        if routes and not Uri.parse(NameAddr.parse(routes[0]).uri).loose:
            uri, routes = NameAddr.parse(routes[0]).uri, (*routes[1:], f"<{self.remote_target}>")  # a strict router
        fields = [("Via", via), *(("Route", route) for route in routes), ("Max-Forwards", "70")]
        fields += [("From", self.local_name), ("To", self.remote_name), ("Call-ID", self.call_id)]
        fields += [("CSeq", f"{seq} {method}"), *headers]
        return Request.make(method, uri, Headers(tuple(fields)), body)


def target_of(message: Request | Response) -> str:
    """The Contact that a dialog's requests will go to; it must be a SIP URI."""
    contact = message.contact
    if contact is None:
        raise Malformed("Contact missing")
    if Uri.parse(contact.uri).scheme not in ("sip", "sips"):
        raise Malformed("Contact is no SIP URI")
    return contact.uri


def _must_be_encrypted(request: Request, target: str, routes: tuple[str, ...]) -> bool:
    last_hop = NameAddr.parse(routes[0]).uri if routes else target
    return any(uri.lower().startswith(SIPS) for uri in (request.uri, last_hop))


def methods_of(message: Request | Response) -> frozenset[str]:
    """What Allow names."""
    return frozenset(word for value in message.headers.all("Allow") for word in split_list(value) if word)


def checked_routes(message: Request | Response) -> tuple[str, ...]:
    """The Record-Route elements, each of which can be used as a Route."""
    for route in message.record_routes:
        Uri.parse(NameAddr.parse(route).uri)
    return message.record_routes


class Dialogs:
    """All dialogs of one agent."""

    def __init__(self) -> None:
        self._by_number: dict[int, Dialog] = {}
        self._by_key: dict[tuple[str, str, str], Dialog] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._by_number)

    def answering(self, request: Request, incoming: Incoming, granted: Granted, local_tag: str) -> Dialog:
        """The dialog that an INVITE makes at its server (§12.1.1). Raises `Malformed` if it cannot make one."""
        target, routes = target_of(request), checked_routes(request)
        self._last += 1
        dialog = Dialog(
            self._last,
            request.call_id,
            local_tag,
            request.from_.tag,
            f"{request.headers.required('To')};tag={local_tag}",
            request.headers.required("From"),
            target,
            routes,
            incoming.flow,
            granted,
            request.cseq.number,
            allows=methods_of(request),
            sips=_must_be_encrypted(request, target, routes),
        )
        self._add(dialog)
        return dialog

    def calling(self, number: int, invite: Request, success: Response, flow: Flow) -> Dialog:
        """The dialog that a 2xx makes at its client (§12.1.2). Raises `Malformed` if it cannot make one."""
        dialog = Dialog(
            number,
            invite.call_id,
            invite.from_.tag,
            success.to.tag,
            invite.headers.required("From"),
            success.headers.required("To"),
            target_of(success),
            tuple(reversed(checked_routes(success))),
            flow,
            Granted(),
            local_seq=invite.cseq.number,
            stage=Stage.CONFIRMED,
            allows=methods_of(success),
            placed=True,
            sips=invite.uri.lower().startswith(SIPS),
        )
        self._add(dialog)
        return dialog

    def _add(self, dialog: Dialog) -> None:
        self._by_number[dialog.number] = dialog
        self._by_key[dialog.key] = dialog

    def get(self, number: int) -> Dialog | None:
        """By our number."""
        return self._by_number.get(number)

    def find(self, request: Request) -> Dialog | None:
        """By a request of the peer inside it."""
        return self._by_key.get((request.call_id, request.to.tag, request.from_.tag))

    def remove(self, dialog: Dialog) -> None:
        """Forgets it; the number is never used again."""
        self._by_number.pop(dialog.number, None)
        self._by_key.pop(dialog.key, None)
