"""The user agent client of `callvault call`: places calls, re-INVITEs, hangs up.

Like the server's agent it holds no socket, clock or randomness, and it uses the same transactions and dialogs. What it
serves is what a caller must: BYE is answered, a re-INVITE is refused (491 while our own is pending, else 488).
Order of events for a call: `Progress`*, then `Failed`, or `Answered` … `HungUp`; one of these two comes last, once.
Of a forking proxy's answers the first is taken; the others' servers give up by themselves when no ACK comes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from gateway.sip.deadlines import Deadlines
from gateway.sip.dialog import Dialog, Dialogs, Stage, target_of
from gateway.sip.errors import Malformed
from gateway.sip.events import BRANCH_BYTES, Settings
from gateway.sip.grammar import Address
from gateway.sip.headers import Headers
from gateway.sip.machines import GIVE_UP_S
from gateway.sip.message import Request, Response, parse
from gateway.sip.reply import TAG_BYTES, Incoming, Replies
from gateway.sip.screening import CAPABILITIES, SDP, Refusal, screen
from gateway.sip.transaction import Datagram, Transactions

RING_S_MAX = 180.0
"""A call that is not answered by then is cancelled (RFC 3261's timer C, seen from the caller)."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A provisional response above 100."""

    call: int
    status: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The call stands; `body` is the SDP answer. The ACK is sent already."""

    call: int
    body: bytes
    call_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The call was not established: the peer's status, or 408 for no answer at all, or 487 for our own CANCEL."""

    call: int
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reanswered:
    """The final answer to our re-INVITE; the call goes on with the old media unless it is a 2xx."""

    call: int
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class HungUp:
    """The call is over: by the peer's BYE, by ours (answered, or given up), or lost (the peer knows nothing of it)."""

    call: int
    by: Literal["peer", "us", "lost"]


CallerEvent = Progress | Answered | Failed | Reanswered | HungUp


@dataclass(slots=True, eq=False)
class _Call:
    number: int
    invite: Request
    local: Address
    destination: Address
    ringing: bool = False
    cancelled: bool = False
    dialog: Dialog | None = None
    reinvite: Request | None = None
    ack: bytes = b""
    ack_seq: int = 0


class Caller:
    """Any number of outgoing calls. `random(n)` gives n unpredictable bytes."""

    def __init__(self, settings: Settings, random: Callable[[int], bytes]) -> None:
        self._settings = settings
        self._agent = ("User-Agent", settings.server_name)
        self._random = random
        self._replies = Replies(settings.server_name, random(16))
        self._outgoing: list[Datagram] = []
        self._events: list[CallerEvent] = []
        self._transactions = Transactions(self._outgoing)
        self._dialogs = Dialogs()
        self._calls: dict[int, _Call] = {}
        self._deadlines: Deadlines[tuple[str, int]] = Deadlines()
        self._last = 0

    def take_datagrams(self) -> list[Datagram]:
        """What is to be sent: bytes, destination, local address."""
        taken = self._outgoing[:]
        self._outgoing.clear()
        return taken

    def take_events(self) -> list[CallerEvent]:
        """What has happened, in order."""
        taken, self._events = self._events, []
        return taken

    def next_deadline(self) -> float | None:
        """When `timers` must be called next, or None."""
        times = [at for at in (self._transactions.next_deadline(), self._deadlines.next()) if at is not None]
        return min(times, default=None)

    # Commands

    def invite(
        self,
        target: str,
        destination: Address,
        local: Address,
        offer: bytes,
        now: float,
        *,
        caller: str,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> int:
        """Calls `target` (a SIP URI) at `destination`, as `caller` (a SIP URI); the number names the call."""
        self._last += 1
        fields = [("Via", self._via()), ("Max-Forwards", "70")]
        fields += [("From", f"<{caller}>;tag={self._random(TAG_BYTES).hex()}"), ("To", f"<{target}>")]
        fields += [("Call-ID", self._random(16).hex()), ("CSeq", "1 INVITE"), *self._offer_headers(), *headers]
        request = Request.make("INVITE", target, Headers(tuple(fields)), offer)
        self._calls[self._last] = _Call(self._last, request, local, destination)
        self._transactions.request(request, local, destination, self._last, now)
        self._deadlines.set(now + RING_S_MAX, ("ring", self._last))
        return self._last

    def reinvite(self, call: int, offer: bytes, now: float) -> bool:
        """Offers new media; False if the call does not stand or another offer is pending (§14.1)."""
        known = self._calls.get(call)
        if known is None or known.dialog is None or known.reinvite or known.dialog.stage is Stage.ENDING:
            return False
        known.reinvite = known.dialog.request("INVITE", self._via(), headers=self._offer_headers(), body=offer)
        self._transactions.request(known.reinvite, known.local, known.dialog.next_hop(), call, now)
        return True

    def hang_up(self, call: int, now: float) -> bool:
        """BYE for a call that stands, CANCEL for one that does not yet; False if there is none."""
        known = self._calls.get(call)
        if known is None:
            return False
        if known.dialog is not None:
            if known.dialog.stage is Stage.ENDING:
                return False
            known.dialog.stage = Stage.ENDING
            self._bye(known.dialog, now)
        elif not known.cancelled:
            known.cancelled = True
            if known.ringing:
                self._cancel(known, now)  # else when the first provisional response shows that it has arrived (§9.1)
        return True

    # What comes in

    def receive(self, data: bytes, source: Address, local: Address, now: float) -> None:
        """One datagram. Never raises for what a peer can send."""
        try:
            message = parse(data)
        except Malformed:
            return  # a peer of a test caller gets no second opinion
        if isinstance(message, Request):
            self._request(message, Incoming.of(message, source, local), now)
            return
        transaction = self._transactions.receive(message, now)
        call = self._calls.get(transaction.user) if transaction else None
        if transaction is None or transaction.request is None or call is None:
            return
        if transaction.request is call.invite:
            self._invite_answered(call, message, now)
        elif transaction.request.method == "BYE" and message.status >= 200:
            self._over(call, HungUp(call.number, "us"))
        elif transaction.request.method == "INVITE":
            self._reinvite_answered(call, message, now)

    def timers(self, now: float) -> None:
        """Does what is due."""
        for transaction in self._transactions.timers(now):
            call = self._calls.get(transaction.user)
            if call is not None and transaction.request is call.invite:
                self._over(call, Failed(call.number, 408, "no answer"))
            elif call is not None and transaction.request is call.reinvite:
                self._over(call, HungUp(call.number, "lost"))
            elif call is not None and transaction.request and transaction.request.method == "BYE":
                self._over(call, HungUp(call.number, "us"))
        for kind, number in self._deadlines.due(now):
            call = self._calls.get(number)
            if call is None or call.dialog is not None:
                continue
            if kind == "ring":
                self.hang_up(number, now)
            else:
                self._over(call, Failed(number, 487, "cancelled"))

    # Responses

    def _invite_answered(self, call: _Call, response: Response, now: float) -> None:
        if response.status < 200:
            call.ringing = True
            if response.status > 100:
                self._events.append(Progress(call.number, response.status))
            if call.cancelled:
                self._cancel(call, now)
        elif response.status >= 300:
            self._over(call, Failed(call.number, response.status, response.reason))
        elif call.dialog is None:
            self._established(call, response, now)
        elif response.to.tag == call.dialog.remote_tag:
            self._ack_again(call, response)

    def _established(self, call: _Call, response: Response, now: float) -> None:
        try:
            call.dialog = self._dialogs.calling(call.number, call.invite, response, call.local, call.destination)
        except Malformed:
            self._over(call, Failed(call.number, response.status, "answer makes no dialog"))
            return
        self._ack(call, call.dialog, response)
        if call.cancelled:  # it was answered before our CANCEL came
            self._bye(call.dialog, now)
            self._over(call, Failed(call.number, 487, "cancelled"))
        else:
            self._events.append(Answered(call.number, response.body, call.invite.call_id))

    def _reinvite_answered(self, call: _Call, response: Response, now: float) -> None:
        if response.status < 200 or call.dialog is None:
            return
        if call.reinvite is None:
            self._ack_again(call, response)
            return
        call.reinvite = None
        if response.status < 300:
            self._ack(call, call.dialog, response)
        if response.status in (408, 481):  # §12.2.1.2
            self._over(call, HungUp(call.number, "lost"))
        else:
            self._events.append(Reanswered(call.number, response.status, response.body))

    def _ack(self, call: _Call, dialog: Dialog, response: Response) -> None:
        with suppress(Malformed):  # else it keeps the old one
            dialog.remote_target = target_of(response)
        call.ack_seq = response.cseq.number
        call.ack = dialog.request("ACK", self._via(), seq=call.ack_seq).to_bytes()
        self._outgoing.append((call.ack, dialog.next_hop(), call.local))

    def _ack_again(self, call: _Call, response: Response) -> None:
        """For a 2xx that came again; another's ACK is long gone (§13.2.2.4)."""
        if call.dialog is not None and response.status < 300 and response.cseq.number == call.ack_seq:
            self._outgoing.append((call.ack, call.dialog.next_hop(), call.local))

    # Requests

    def _request(self, request: Request, incoming: Incoming, now: float) -> None:
        if request.method == "ACK":
            self._transactions.acknowledged(request, now)
        elif not self._transactions.repeated(request, now) and not self._transactions.full(in_dialog=True):
            refusal = self._serve(request, incoming)
            transaction = self._transactions.serve(request, incoming)
            headers = CAPABILITIES if refusal.status == 200 else refusal.headers
            self._transactions.respond(
                transaction, refusal.status, self._replies.make(incoming, refusal.status, headers), now
            )

    def _serve(self, request: Request, incoming: Incoming) -> Refusal:
        """The answer to a request of the peer; 200 is the kindest of refusals."""
        if refusal := screen(request):
            return refusal
        if not request.to.tag:
            return Refusal(480 if request.method == "INVITE" else 200 if request.method == "OPTIONS" else 481)
        dialog = self._dialogs.find(request)
        if dialog is None:
            return Refusal(481)
        if request.cseq.number <= dialog.remote_seq:
            return Refusal(500)
        dialog.remote_seq, dialog.peer = request.cseq.number, incoming.source
        call = self._calls.get(dialog.number)
        if request.method == "BYE" and call is not None:
            self._over(call, HungUp(call.number, "us" if dialog.stage is Stage.ENDING else "peer"))
        if request.method == "INVITE":
            return Refusal(491 if call and call.reinvite else 488)
        return Refusal(200)

    # Steps

    def _via(self) -> str:
        return self._settings.via(self._random(BRANCH_BYTES))

    def _offer_headers(self) -> tuple[tuple[str, str], ...]:
        return self._settings.contact, self._agent, *CAPABILITIES, ("Content-Type", SDP)

    def _bye(self, dialog: Dialog, now: float) -> None:
        bye = dialog.request("BYE", self._via(), headers=(self._agent,))
        self._transactions.request(bye, dialog.local, dialog.next_hop(), dialog.number, now)

    def _cancel(self, call: _Call, now: float) -> None:
        """CANCEL has the Via of its INVITE and nothing of its own (§9.1)."""
        invite = call.invite
        kept = [(name, invite.headers.required(name)) for name in ("Via", "From", "To", "Call-ID")]
        fields = [*kept, ("CSeq", f"{invite.cseq.number} CANCEL"), ("Max-Forwards", "70")]
        cancel = Request.make("CANCEL", invite.uri, Headers(tuple(fields)))
        self._transactions.request(cancel, call.local, call.destination, call.number, now)
        self._deadlines.set(now + GIVE_UP_S, ("cancel", call.number))

    def _over(self, call: _Call, event: Failed | HungUp) -> None:
        self._events.append(event)
        del self._calls[call.number]
        if call.dialog is not None:
            self._dialogs.remove(call.dialog)
