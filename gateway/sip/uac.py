"""The user agent client of `callvault call`: places calls, renegotiates, hangs up.

Like the server's agent it holds no socket, clock or randomness; inside dialogs both are the same (`conversation`), so a
caller keeps a session timer, acknowledges reliable provisional responses, and takes the peer's offers: it answers each
with the description it was given for the call. Order of events for a call: `Progress`*, then `Failed`, or `Answered`
… `HungUp`; one of these two comes last, once.
Of a forking proxy's answers the first is taken; the others' servers give up by themselves when no ACK comes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.sip import reliable, session_timer
from gateway.sip.conversation import Conversation
from gateway.sip.deadlines import Deadlines
from gateway.sip.dialog import SIPS, Dialog, Stage, checked_routes
from gateway.sip.endpoint import Endpoint
from gateway.sip.errors import Malformed
from gateway.sip.events import BRANCH_BYTES, Ended, Informed, Reinvited, Settings, Updated, contact, via
from gateway.sip.flow import Flow
from gateway.sip.gate import OpenGate
from gateway.sip.headers import Headers
from gateway.sip.machines import GIVE_UP_S
from gateway.sip.message import SDP, Request, Response, parse
from gateway.sip.outcomes import Answered, CallerEvent, Failed, HungUp, Progress, Reanswered
from gateway.sip.reliable import RAck
from gateway.sip.reply import TAG_BYTES, Incoming
from gateway.sip.screening import CAPABILITIES, Refusal, screen
from gateway.sip.transaction import Outgoing, Transaction

RING_S_MAX = 180.0
"""A call that is not answered by then is cancelled (RFC 3261's timer C, seen from the caller)."""


@dataclass(slots=True, eq=False)
class _Call:
    number: int
    invite: Request
    flow: Flow
    media: bytes = field(repr=False)
    """Our offer, or our answer where the INVITE has none."""
    ringing: bool = False
    cancelled: bool = False
    retried: bool = False
    early: Dialog | None = None
    rseq: int = 0
    """Of the last reliable provisional response that came in order."""
    peers_media: bytes = field(default=b"", repr=False)
    """SDP of a reliable provisional response."""
    dialog: Dialog | None = None
    asked: Transaction | None = None
    """Our own re-INVITE or UPDATE that waits for its answer."""


class Caller:
    """Any number of outgoing calls. `random(n)` gives n unpredictable bytes."""

    def __init__(self, settings: Settings, random: Callable[[int], bytes]) -> None:
        self._endpoint = Endpoint(settings, random, OpenGate())
        self._conversation = Conversation(self._endpoint)
        self._events: list[CallerEvent] = []
        self._calls: dict[int, _Call] = {}
        self._deadlines: Deadlines[tuple[str, int]] = Deadlines()
        self._last = 0

    def take_outgoing(self) -> list[Outgoing]:
        """What is to be sent, and by which way."""
        return self._endpoint.take_outgoing()

    def take_events(self) -> list[CallerEvent]:
        """What has happened, in order."""
        taken, self._events = self._events, []
        return taken

    def next_deadline(self) -> float | None:
        """When `timers` must be called next, or None."""
        times = [at for at in (self._endpoint.next_deadline(), self._deadlines.next()) if at is not None]
        return min(times, default=None)

    # Commands

    def invite(
        self,
        target: str,
        flow: Flow,
        offer: bytes,
        now: float,
        *,
        caller: str,
        headers: tuple[tuple[str, str], ...] = (),
        answer: bytes = b"",
    ) -> int:
        """Calls `target` (a SIP URI) by `flow`, as `caller` (a SIP URI); the number names the call.

        Without an `offer` the peer makes one, which gets `answer`.
        """
        self._last += 1
        fields = [("Via", self._via(flow)), ("Max-Forwards", "70")]
        fields += [("From", f"<{caller}>;tag={self._endpoint.random(TAG_BYTES).hex()}"), ("To", f"<{target}>")]
        fields += [("Call-ID", self._endpoint.random(16).hex()), ("CSeq", "1 INVITE")]
        ours = contact(flow, sips=target.lower().startswith(SIPS))
        fields += [("User-Agent", self._endpoint.settings.server_name), ours, *CAPABILITIES, *headers]
        fields += [("Content-Type", SDP)] if offer else []
        request = Request.make("INVITE", target, Headers(tuple(fields)), offer)
        self._calls[self._last] = _Call(self._last, request, flow, offer or answer)
        self._endpoint.transactions.request(request, flow, self._last, now)
        self._deadlines.set(now + RING_S_MAX, ("ring", self._last))
        return self._last

    def reinvite(self, call: int, offer: bytes, now: float, headers: tuple[tuple[str, str], ...] = ()) -> bool:
        """Offers new media, or asks for an offer by an empty one; False if the call does not stand or an exchange is
        under way (§14.1)."""
        known = self._standing(call)
        if known is None or known.dialog is None or known.dialog.open_offer or known.dialog.invitation is not None:
            return False
        self._ask(known, known.dialog, "INVITE", offer, headers, now)
        known.dialog.refresh = known.asked
        return True

    def update(self, call: int, offer: bytes, now: float, headers: tuple[tuple[str, str], ...] = ()) -> bool:
        """UPDATE, with an offer or without, also while it rings once there is an early dialog (RFC 3311)."""
        known = self._standing(call)
        dialog = (known.dialog or known.early) if known else None
        if known is None or dialog is None:
            return False
        self._ask(known, dialog, "UPDATE", offer, headers, now)
        return True

    def hang_up(self, call: int, now: float) -> bool:
        """BYE for a call that stands, CANCEL for one that does not yet; False if there is none."""
        known = self._calls.get(call)
        if known is None:
            return False
        if known.dialog is not None:
            if known.dialog.stage is Stage.ENDING:
                return False
            self._endpoint.hang_up(known.dialog, "local", now)
        elif not known.cancelled:
            known.cancelled = True
            if known.ringing:
                self._cancel(known, now)  # else when the first provisional response shows that it has arrived (§9.1)
        return True

    # What comes in

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """One message. Never raises for what a peer can send."""
        try:
            message = parse(data)
        except Malformed:
            return  # a peer of a test caller gets no second opinion
        if isinstance(message, Response):
            number = self._response(message, now)
        else:
            number = self._request(message, Incoming.of(message, flow), now)
        self._settle(now)
        self._left(number, now)

    def timers(self, now: float) -> None:
        """Does what is due."""
        for transaction in self._conversation.timers(now):
            call = self._calls.get(transaction.user)
            if call is not None and transaction.request is call.invite:
                self._over(call, Failed(call.number, 408, "no answer"), now)
            self._left(transaction.user, now)
        for kind, number in self._deadlines.due(now):
            call = self._calls.get(number)
            if call is None or call.dialog is not None:
                continue
            if kind == "ring":
                self.hang_up(number, now)
            else:
                self._over(call, Failed(number, 487, "cancelled"), now)
        self._settle(now)

    def _settle(self, now: float) -> None:
        """What the conversation told: offers are answered, ends are passed on."""
        while self._endpoint.events:
            event = self._endpoint.events.pop(0)
            call = self._calls.get(event.dialog)
            dialog = self._endpoint.dialogs.get(event.dialog)
            match event:
                case Reinvited() if call is not None and dialog is not None:
                    self._conversation.invitations.accept(dialog, call.media, now)
                case Updated() if call is not None and dialog is not None:
                    self._conversation.exchanges.answer(dialog, call.media, now)
                case Informed() if dialog is not None:  # keys are of no use here, and nothing is recorded
                    self._conversation.infos.answer(dialog, event.seq, 200 if event.record is None else 403, now)
                case Ended() if call is not None and event.why != "local":
                    self._over(call, HungUp(call.number, "peer" if event.why == "bye" else "lost"), now, keep=True)

    def _left(self, number: int, now: float) -> None:
        """Our BYE may have been answered, or crossed by the peer's: then the call is over."""
        call = self._calls.get(number)
        if call is not None and call.dialog is not None and self._endpoint.dialogs.get(number) is None:
            self._over(call, HungUp(number, "us"), now)

    # Responses

    def _response(self, response: Response, now: float) -> int:
        """The number of the call that it is for, or 0."""
        transaction = self._endpoint.transactions.receive(response, now)
        if transaction is None:
            return 0
        call = self._calls.get(transaction.user)
        if call is not None and transaction.request is call.invite:
            self._invite_answered(call, response, now)
        elif call is not None and transaction is call.asked:
            self._reanswered(call, transaction, response, now)
        else:
            self._conversation.upkeep.answered(transaction, response, now)
        return transaction.user

    def _invite_answered(self, call: _Call, response: Response, now: float) -> None:
        if response.status < 200:
            call.ringing = True
            if response.status > 100:
                self._provisional(call, response, now)
            if call.cancelled:
                self._cancel(call, now)
        elif response.status == 422 and not call.retried and not call.cancelled:
            self._invite_again(call, response, now)
        elif response.status >= 300:
            self._over(call, Failed(call.number, response.status, response.reason), now)
        elif call.dialog is None:
            self._established(call, response, now)
        elif response.to.tag == call.dialog.remote_tag:
            self._endpoint.acknowledge(call.dialog, response.cseq.number)

    def _provisional(self, call: _Call, response: Response, now: float) -> None:
        number = reliable.number_of(response)
        if number is None:
            self._events.append(Progress(call.number, response.status, response.body))
            return
        if call.rseq and number != call.rseq + 1:
            return  # it came again, or before its time: the PRACK of the other one is under way (RFC 3262 §4)
        if call.early is None:
            with suppress(Malformed):
                call.early = self._endpoint.dialogs.calling(call.number, call.invite, response, call.flow)
                call.early.stage, call.early.sdp = Stage.EARLY, call.media
        if call.early is None or response.to.tag != call.early.remote_tag:
            return
        call.rseq = number
        self._events.append(Progress(call.number, response.status, response.body))
        offered = bool(response.body) and not call.invite.body and not call.peers_media
        call.peers_media = response.body or call.peers_media
        rack = RAck(number, response.cseq.number, "INVITE")
        self._endpoint.ask(call.early, "PRACK", now, [("RAck", str(rack))], call.media if offered else b"")

    def _invite_again(self, call: _Call, response: Response, now: float) -> None:
        """After 422: the same INVITE with the interval that is asked for (RFC 4028 §7.4)."""
        try:
            least_s = str(session_timer.min_se(response.headers))
        except Malformed:
            self._over(call, Failed(call.number, response.status, response.reason), now)
            return
        changed = {"via": self._via(call.flow), "cseq": f"{call.invite.cseq.number + 1} INVITE"}
        changed |= {"session-expires": least_s}
        fields = [(name, changed.get(name.lower(), value)) for name, value in call.invite.headers]
        fields = [field for field in fields if field[0].lower() != "min-se"]
        call.invite = Request.make("INVITE", call.invite.uri, Headers((*fields, ("Min-SE", least_s))), call.invite.body)
        call.retried = True
        self._endpoint.transactions.request(call.invite, call.flow, call.number, now)

    def _established(self, call: _Call, response: Response, now: float) -> None:
        try:
            dialog = self._confirmed(call, response)
        except Malformed:
            self._over(call, Failed(call.number, response.status, "answer makes no dialog"), now)
            return
        call.dialog, dialog.sdp = dialog, call.media
        answer = b"" if call.invite.body or call.peers_media else call.media
        self._endpoint.acknowledge(dialog, response.cseq.number, answer)
        if call.cancelled:  # it was answered before our CANCEL came
            self._endpoint.ask(dialog, "BYE", now)
            self._over(call, Failed(call.number, 487, "cancelled"), now)
            return
        self._endpoint.settle(dialog, session_timer.settled(response, now))
        self._events.append(Answered(call.number, response.body or call.peers_media, call.invite.call_id))

    def _confirmed(self, call: _Call, response: Response) -> Dialog:
        """The dialog that a 2xx makes, or confirms; its routes are the 2xx's (§13.2.2.4)."""
        early, call.early = call.early, None
        if early is not None and early.remote_tag == response.to.tag:
            early.heard(response)
            early.routes = tuple(reversed(checked_routes(response)))
            early.stage = Stage.CONFIRMED
            return early
        if early is not None:
            self._endpoint.dialogs.remove(early)
        return self._endpoint.dialogs.calling(call.number, call.invite, response, call.flow)

    def _reanswered(self, call: _Call, transaction: Transaction, response: Response, now: float) -> None:
        dialog = call.dialog or call.early
        if response.status < 200 or dialog is None:
            return
        call.asked = None
        if dialog.refresh is transaction:
            dialog.refresh = None
        if response.status < 300:
            dialog.heard(response)
            self._endpoint.settle(dialog, session_timer.settled(response, now))
            if response.cseq.method == "INVITE":
                asked = transaction.request
                self._endpoint.acknowledge(dialog, response.cseq.number, b"" if asked and asked.body else call.media)
        if response.status in (408, 481):  # §12.2.1.2
            self._over(call, HungUp(call.number, "lost"), now)
        else:
            self._events.append(Reanswered(call.number, response.status, response.body))

    # Requests

    def _request(self, request: Request, incoming: Incoming, now: float) -> int:
        """The number of the call that it is for, or 0."""
        transactions = self._endpoint.transactions
        if request.method == "ACK":
            if not transactions.acknowledged(request, now):
                self._conversation.invitations.acknowledged(request, now)
        elif transactions.repeated(request, now):
            pass
        elif refusal := screen(request, secure=incoming.flow.secure):
            self._endpoint.refuse(incoming, refusal)
        elif request.to.tag:
            dialog = self._endpoint.dialogs.find(request)
            self._conversation.request(dialog, request, incoming, now)
            return dialog.number if dialog else 0
        else:
            status = {"INVITE": 480, "OPTIONS": 200}.get(request.method, 481)
            self._endpoint.refuse(incoming, Refusal(status))
        return 0

    # Steps

    def _via(self, flow: Flow) -> str:
        return via(flow, self._endpoint.random(BRANCH_BYTES))

    def _standing(self, call: int) -> _Call | None:
        """The call, if it is not ending and no request of ours is open in it."""
        known = self._calls.get(call)
        if known is None or known.asked is not None or known.cancelled:
            return None
        return None if known.dialog is not None and known.dialog.stage is Stage.ENDING else known

    def _ask(
        self, call: _Call, dialog: Dialog, method: str, body: bytes, headers: tuple[tuple[str, str], ...], now: float
    ) -> None:
        timer = session_timer.asking(dialog.session, dialog.min_se) if dialog.session and not headers else ()
        call.media = body or call.media
        dialog.sdp = call.media
        call.asked = self._endpoint.ask(dialog, method, now, (*timer, *headers), body)

    def _cancel(self, call: _Call, now: float) -> None:
        """CANCEL has the Via of its INVITE and nothing of its own (§9.1)."""
        invite = call.invite
        kept = [(name, invite.headers.required(name)) for name in ("Via", "From", "To", "Call-ID")]
        fields = [*kept, ("CSeq", f"{invite.cseq.number} CANCEL"), ("Max-Forwards", "70")]
        cancel = Request.make("CANCEL", invite.uri, Headers(tuple(fields)))
        self._endpoint.transactions.request(cancel, call.flow, call.number, now)
        self._deadlines.set(now + GIVE_UP_S, ("cancel", call.number))

    def _over(self, call: _Call, event: Failed | HungUp, now: float, *, keep: bool = False) -> None:
        """Tells it; with `keep` the dialog stays until our BYE is answered."""
        self._events.append(event)
        del self._calls[call.number]
        for dialog in (call.dialog, call.early):
            if dialog is not None and not keep:
                self._endpoint.forget(dialog, now)
