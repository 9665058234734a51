"""What the peer says inside a dialog by UPDATE (RFC 3311) and PRACK (RFC 3262): offers, answers, signs of life.

An UPDATE without SDP is answered here: it moves the target and the session timer, and may bring metadata, of which the
gateway is told. One with an offer, and a PRACK with one, is the gateway's to answer, at once: a request that is no
INVITE cannot wait for people.
"""

from __future__ import annotations

from gateway.sip.dialog import Dialog, Stage, Update
from gateway.sip.endpoint import Endpoint
from gateway.sip.errors import Malformed
from gateway.sip.events import Told, Updated, contact
from gateway.sip.invitations import Invitations
from gateway.sip.machines import GIVE_UP_S
from gateway.sip.message import Request
from gateway.sip.reliable import RAck
from gateway.sip.reply import Incoming
from gateway.sip.screening import CAPABILITIES, Refusal
from gateway.sip.session_timer import Terms
from gateway.sip.transaction import Transaction

UPDATE_S_MAX = GIVE_UP_S / 2
"""An offer that the gateway leaves unanswered is answered 500 after this: before the peer's transaction gives up."""


class Exchanges:
    """Serves UPDATE and PRACK."""

    def __init__(self, endpoint: Endpoint, invitations: Invitations) -> None:
        self._endpoint = endpoint
        self._invitations = invitations

    def update(
        self,
        call: Dialog,
        request: Request,
        incoming: Incoming,
        transaction: Transaction,
        terms: Terms | None,
        now: float,
    ) -> None:
        """An UPDATE; its session timer's terms are acceptable."""
        if not request.sdp:
            if request.metadata:
                self._endpoint.events.append(Told(call.number, request))
            self._yes(call, Update(request, incoming, transaction, terms), b"", now)
        elif refusal := self._refusal(call):
            self._endpoint.refuse(incoming, refusal, transaction, now)
        else:
            self._offered(call, Update(request, incoming, transaction, terms), now)

    def prack(self, call: Dialog, request: Request, incoming: Incoming, transaction: Transaction, now: float) -> None:
        """A PRACK: it may answer an offer of ours, or make one once the media are settled (RFC 3262 §5)."""
        ours = call.open_offer == "ours"
        try:
            refusal = self._invitations.pracked(call, RAck.parse(request.headers.required("RAck")), request.sdp, now)
        except Malformed as error:
            refusal = Refusal(400, reason=f"Bad Request: {error.reason}")
        offers = bool(request.sdp) and not ours and refusal is None
        if offers:
            refusal = self._refusal(call)
        if refusal:
            self._endpoint.refuse(incoming, refusal, transaction, now)
            if ours and call.open_offer != "ours":  # acknowledged, and not answered
                self._invitations.give_up(call, 400, "no_answer", now)
        elif offers:
            self._offered(call, Update(request, incoming, transaction), now)
        else:
            self._endpoint.respond(incoming, transaction, 200, now)
            self._invitations.go_on(call, now)

    def answer(self, call: Dialog, sdp: bytes | None, now: float) -> bool:
        """The gateway's answer to an offer; None refuses it (488) and leaves the media as they were."""
        if call.update is None:
            return False
        update, call.update = call.update, None
        if sdp is None:
            self._endpoint.refuse(update.incoming, Refusal(488), update.transaction, now)
        else:
            call.sdp = sdp
            self._yes(call, update, sdp, now)
        self._invitations.go_on(call, now)
        return True

    def due(self, call: Dialog, seq: int, now: float) -> None:
        """The gateway has had its time."""
        if call.update is not None and call.update.request.cseq.number == seq:
            update, call.update = call.update, None
            self._endpoint.refuse(update.incoming, self._endpoint.too_early(), update.transaction, now)
            self._invitations.go_on(call, now)

    def _refusal(self, call: Dialog) -> Refusal | None:
        """Why an offer cannot be taken now (RFC 3311 §5.2)."""
        if call.open_offer == "ours":
            return Refusal(491)
        unsettled = call.stage is Stage.EARLY and not (call.invitation and call.invitation.agreed)
        return self._endpoint.too_early() if unsettled or call.open_offer == "peers" else None

    def _offered(self, call: Dialog, update: Update, now: float) -> None:
        call.update = update
        request = update.request
        self._endpoint.deadlines.set(now + UPDATE_S_MAX, ("update", call.number, request.cseq.number))
        self._endpoint.events.append(Updated(call.number, request, request.sdp, update.incoming.flow))

    def _yes(self, call: Dialog, update: Update, body: bytes, now: float) -> None:
        terms = update.terms
        ours = contact(update.incoming.flow, update.request, sips=call.sips)
        fields = [ours, *CAPABILITIES, *(terms.headers() if terms else ())]
        self._endpoint.respond(update.incoming, update.transaction, 200, now, fields, body=body)
        if update.request.method == "UPDATE":
            call.heard(update.request)
            if call.stage is Stage.CONFIRMED:
                self._endpoint.settle(call, terms.session(now) if terms else None)
