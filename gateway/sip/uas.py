"""The user agent server: messages and time in; messages, events and answers out. No sockets, clock or randomness.

`UserAgent` answers by itself what needs no decision (RFC 3261 §8.2, §9.2, §12.2.2, §15.1.2) and tells its gateway the
rest as events. A command for a dialog that has meanwhile ended does nothing and returns False: the event that says so
is on its way. Max-Forwards of 0 is no reason to refuse: we are where the request was going (RFC 4475 §3.3.11).

What belongs to no dialog is dealt with here; `conversation` has the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from gateway.sip.conversation import RETRY_AFTER, Conversation
from gateway.sip.dialog import Invitation, Stage
from gateway.sip.endpoint import Endpoint
from gateway.sip.errors import Malformed
from gateway.sip.events import Cancelled, Event, Invited, Settings
from gateway.sip.flow import Flow
from gateway.sip.gate import Gate, Granted, OpenGate
from gateway.sip.machines import State
from gateway.sip.message import Answerable, Request, Response, parse
from gateway.sip.registrations import Registrations
from gateway.sip.reply import TAG_BYTES, Incoming
from gateway.sip.screening import CAPABILITIES, Refusal, screen
from gateway.sip.transaction import Outgoing

IN_DIALOG_ONLY = frozenset({"BYE", "PRACK", "UPDATE", "INFO"})
"""Methods that mean nothing outside a dialog."""

URGENT_DIALOGS = 64
"""Calls beyond `max_dialogs` that are taken where the gate says that they must not be refused; then they are, too."""


class UserAgent:
    """All calls of one SIP endpoint.

    `random(n)` gives n unpredictable bytes. `gate` is asked before anything is kept of a request; what it refuses is
    answered without state.
    """

    def __init__(self, settings: Settings, random: Callable[[int], bytes], gate: Gate | None = None) -> None:
        self.draining = False
        self._gate = gate or OpenGate()
        self._endpoint = Endpoint(settings, random, self._gate)
        self._conversation = Conversation(self._endpoint)
        self._invitations = self._conversation.invitations
        self.registrations = Registrations(self._endpoint.outgoing, random)
        """Our own at registrars; their time comes with `timers`."""

    # What comes out

    def take_outgoing(self) -> list[Outgoing]:
        """What is to be sent, and by which way."""
        return self._endpoint.take_outgoing()

    def take_events(self) -> list[Event]:
        """What has happened, in order."""
        taken = self._endpoint.events[:]
        self._endpoint.events.clear()
        return taken

    @property
    def counts(self) -> Counter[str]:
        """What was dropped or refused, by constant names; for metrics."""
        return self._endpoint.counts

    @property
    def dialogs(self) -> int:
        """Calls at this moment, those being set up or torn down included."""
        return len(self._endpoint.dialogs)

    def next_deadline(self) -> float | None:
        """When `timers` must be called next, or None."""
        times = (self._endpoint.next_deadline(), self.registrations.next_deadline())
        return min((at for at in times if at is not None), default=None)

    # Commands

    def ring(self, dialog: int, now: float, sdp: bytes | None = None) -> bool:
        """180 for a pending INVITE, or 183 with SDP: early media. Sent again until its PRACK where it is reliable.

        False while an earlier reliable one is not acknowledged; `accept` need not wait for that.
        """
        call = self._endpoint.dialogs.get(dialog)
        return call is not None and self._invitations.ring(call, now, sdp)

    def accept(self, dialog: int, sdp: bytes, now: float) -> bool:
        """200 for the pending INVITE or re-INVITE, sent again until its ACK; `sdp` is our offer if it had none."""
        call = self._endpoint.dialogs.get(dialog)
        return call is not None and self._invitations.accept(call, sdp, now)

    def reject(
        self, dialog: int, status: int, reason: str, now: float, headers: Iterable[tuple[str, str]] = ()
    ) -> bool:
        """A final no (300–699) for the pending INVITE or re-INVITE; the first one's dialog ends by it."""
        call = self._endpoint.dialogs.get(dialog)
        return call is not None and self._invitations.reject(call, status, reason, now, headers)

    def update(self, dialog: int, sdp: bytes | None, now: float) -> bool:
        """The answer to the offer that `Updated` told of; None refuses it, and the media stay as they were."""
        call = self._endpoint.dialogs.get(dialog)
        return call is not None and self._conversation.exchanges.answer(call, sdp, now)

    def inform(self, dialog: int, seq: int, status: int, now: float) -> bool:
        """The final answer to the INFO that `Informed` told of."""
        call = self._endpoint.dialogs.get(dialog)
        return call is not None and self._conversation.infos.answer(call, seq, status, now)

    def bye(self, dialog: int, now: float, reason: str | None = None) -> bool:
        """Ends the call whatever its stage; `reason` is the value of a Reason header (RFC 3326).

        The BYE waits for the ACK of our 200, as a server's must (§15); `Ended` does not.
        """
        call = self._endpoint.dialogs.get(dialog)
        if call is None or call.stage is Stage.ENDING:
            return False
        if call.stage is Stage.EARLY:
            self._endpoint.refuse_open(call, 480, now)
            self._endpoint.end(call, "local")
            self._endpoint.forget(call, now)
        else:
            self._endpoint.hang_up(call, "local", now, reason)
        return True

    def probe(self, dialog: int, now: float) -> bool:
        """Asks the peer whether the call still stands; `Probed` tells, and only 408 and 481 end the call.

        False if the call does not stand, or a probe is under way.
        """
        call = self._endpoint.dialogs.get(dialog)
        return call is not None and self._conversation.upkeep.probe(call, now)

    # What comes in

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """One message, as it came by `flow`. Never raises for what a peer can send."""
        if not self._gate.hears(flow):
            self.counts["unheard"] += 1
            return
        try:
            message = parse(data, stream=flow.reliable)
        except Answerable as error:
            self.counts["malformed"] += 1
            self._complain(error, flow)
            return
        except Malformed:
            self.counts["garbage"] += 1
            return
        transactions = self._endpoint.transactions
        if isinstance(message, Response):
            self._response(message, now)
        elif message.method == "ACK":
            if not transactions.acknowledged(message, now):
                self._invitations.acknowledged(message, now)
        elif not transactions.repeated(message, now):
            self._request(message, Incoming.of(message, flow), now)

    def timers(self, now: float) -> None:
        """Does what is due."""
        self._conversation.timers(now)
        self.registrations.timers(now)

    def _response(self, response: Response, now: float) -> None:
        transaction = self._endpoint.transactions.receive(response, now)
        if transaction is not None:
            self._conversation.upkeep.answered(transaction, response, now)
        elif not self.registrations.answered(response, now):
            self.counts["stray_responses"] += 1

    # Requests

    def _request(self, request: Request, incoming: Incoming, now: float) -> None:
        if request.method == "CANCEL":  # it cannot be challenged (§22.1), and only its INVITE's sender knows the branch
            self._cancel(request, incoming, now)
            return
        call = self._endpoint.dialogs.find(request) if request.to.tag else None
        verdict = self._gate.admit(request, incoming.flow, now, call.granted if call else None)
        if not isinstance(verdict, Granted):
            self._turn_away(incoming, verdict)
        elif refusal := screen(request, secure=incoming.flow.secure):
            self._endpoint.refuse(incoming, refusal)
        elif request.to.tag:
            self._conversation.request(call, request, incoming, now)
        elif request.method == "OPTIONS":
            self._options(incoming)
        elif request.method in IN_DIALOG_ONLY:
            self._endpoint.refuse(incoming, Refusal(481))
        else:
            self._invite(request, incoming, verdict, now)

    def _turn_away(self, incoming: Incoming, refusal: Refusal | None) -> None:
        """Without state, whatever the method: a stranger costs nothing, and gets no answer sent twice."""
        if refusal is None:
            self.counts["dropped"] += 1
        else:
            self._endpoint.refuse(incoming, refusal)

    def _options(self, incoming: Incoming) -> None:
        """The answer that an INVITE would get, as far as it can be told (§11.2)."""
        if self.draining or self._full() or self._endpoint.transactions.full(in_dialog=False):
            self._endpoint.refuse(incoming, Refusal(503, (RETRY_AFTER,)))
        else:
            self._endpoint.stateless(incoming, 200, CAPABILITIES)

    def _full(self) -> bool:
        return len(self._endpoint.dialogs) >= self._endpoint.settings.max_dialogs

    def _refused_room(self, request: Request, granted: Granted) -> bool:
        """Whether there is no room for this call: there is more of it for those that must not be refused."""
        if not self._full():
            return False
        beyond = len(self._endpoint.dialogs) - self._endpoint.settings.max_dialogs
        return beyond >= URGENT_DIALOGS or not self._gate.urgent(request, granted)

    def _refused_unseen(self, request: Request, granted: Granted) -> bool:
        """The same before anything is kept of it; urgent calls may use what is reserved for requests in dialogs."""
        transactions = self._endpoint.transactions
        if not transactions.full(in_dialog=False):
            return False
        return transactions.full(in_dialog=True) or not self._gate.urgent(request, granted)

    def _invite(self, request: Request, incoming: Incoming, granted: Granted, now: float) -> None:
        transactions = self._endpoint.transactions
        if self.draining or self._refused_unseen(request, granted):
            self._endpoint.refuse(incoming, Refusal(503, (RETRY_AFTER,)))
            return
        # These two can change between a request and its retransmission, so the answer is kept.
        if transactions.merged(request):
            self._endpoint.refuse(incoming, Refusal(482), transactions.serve(request, incoming), now)
            return
        if self._refused_room(request, granted):
            refusal = Refusal(503, (RETRY_AFTER,))
            self._endpoint.refuse(incoming, refusal, transactions.serve(request, incoming), now)
            return
        terms = self._conversation.terms(request, None)
        if isinstance(terms, Refusal):
            self._endpoint.refuse(incoming, terms)
            return
        try:
            tag = self._endpoint.random(TAG_BYTES).hex()
            call = self._endpoint.dialogs.answering(request, incoming, granted, tag)
        except Malformed as error:
            self._endpoint.refuse(incoming, Refusal(400, reason=f"Bad Request: {error.reason}"))
            return
        transaction = transactions.serve(request, incoming, call.number, merge=True)
        self._invitations.take(call, Invitation(request, incoming, transaction, terms), now)
        self._endpoint.events.append(Invited(call.number, request, request.sdp, incoming.flow, granted))

    def _cancel(self, request: Request, incoming: Incoming, now: float) -> None:
        transactions = self._endpoint.transactions
        invite = transactions.cancelled(request)
        if invite is None or transactions.full(in_dialog=True):
            self._endpoint.refuse(incoming, Refusal(481 if invite is None else 503))
            return
        call = self._endpoint.dialogs.get(invite.user)
        tag = call.local_tag if call else ""
        self._endpoint.respond(incoming, transactions.serve(request, incoming, invite.user), 200, now, to_tag=tag)
        if call is None or invite.state is not State.PROCEEDING:
            return  # too late, or never a call: no effect (§9.2)
        self._endpoint.refuse_open(call, 487, now)
        self._endpoint.events.append(Cancelled(call.number))
        if call.stage is Stage.EARLY:
            self._endpoint.end(call, "cancel")
            self._endpoint.forget(call, now)

    def _complain(self, error: Answerable, flow: Flow) -> None:
        reason = f"Bad Request: {error.reason}" if error.status == 400 else ""
        self._endpoint.stateless(Incoming.of_malformed(error, flow), error.status, reason=reason)
