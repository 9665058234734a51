"""Everything inside dialogs, the same for whoever placed the call: the peer's requests in their order, and our own."""

from __future__ import annotations

from gateway.sip import session_timer
from gateway.sip.dialog import Dialog, Invitation, Stage
from gateway.sip.endpoint import Endpoint
from gateway.sip.errors import Malformed
from gateway.sip.exchanges import Exchanges
from gateway.sip.info import Infos
from gateway.sip.invitations import Invitations
from gateway.sip.message import Request
from gateway.sip.reply import Incoming
from gateway.sip.screening import CAPABILITIES, Refusal
from gateway.sip.session_timer import Session, Terms, TooBrief
from gateway.sip.transaction import Transaction
from gateway.sip.upkeep import Upkeep

RETRY_AFTER = ("Retry-After", "5")
"""With 503: long enough that a balancer asks another server first."""


class Conversation:
    """Finds out what a message inside a dialog is for; its four parts say what becomes of it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.invitations = Invitations(endpoint)
        self.exchanges = Exchanges(endpoint, self.invitations)
        self.infos = Infos(endpoint)
        self.upkeep = Upkeep(endpoint)

    def request(self, call: Dialog | None, request: Request, incoming: Incoming, now: float) -> None:
        """A request with a To tag; `call` is the dialog that it names."""
        if call is None or (call.stage is Stage.ENDING and request.method not in ("BYE", "OPTIONS")):
            self._endpoint.refuse(incoming, Refusal(481))
        elif self._endpoint.transactions.full(in_dialog=True):
            self._endpoint.refuse(incoming, Refusal(503, (RETRY_AFTER,)))
        elif request.cseq.number <= call.remote_seq:
            self._endpoint.refuse(incoming, Refusal(500, reason="CSeq Out of Order"))
        else:
            call.remote_seq, call.flow = request.cseq.number, incoming.flow
            transaction = self._endpoint.transactions.serve(request, incoming, call.number)
            self._serve(call, request, incoming, transaction, now)

    def terms(self, request: Request, running: Session | None) -> Terms | Refusal | None:
        """The session timer that a 2xx to an INVITE or UPDATE will settle, or why there will be no 2xx."""
        settings = self._endpoint.settings
        try:
            terms = session_timer.terms(request, running, floor_s=settings.session_min_s, wanted_s=settings.session_s)
        except Malformed as error:
            return Refusal(400, reason=f"Bad Request: {error.reason}")
        return Refusal(422, (("Min-SE", str(terms.min_s)),)) if isinstance(terms, TooBrief) else terms

    def timers(self, now: float) -> list[Transaction]:
        """Does what is due; returns our requests that nobody answered."""
        gave_up = self._endpoint.transactions.timers(now)
        for transaction in gave_up:
            self.upkeep.gave_up(transaction, now)
        for kind, number, which in self._endpoint.deadlines.due(now):
            call = self._endpoint.dialogs.get(number)
            if call is None:
                continue
            if kind == "update":
                self.exchanges.due(call, which, now)
            elif kind == "info":
                self.infos.answer(call, which, 500, now)
            else:
                self.invitations.due(kind, call, which, now)
        for number in self._endpoint.sessions.due(now):
            call = self._endpoint.dialogs.get(number)
            if call is not None:
                self.upkeep.session_due(call, now)
        self._endpoint.fade(now)
        return gave_up

    def _serve(self, call: Dialog, request: Request, incoming: Incoming, transaction: Transaction, now: float) -> None:
        """A request that is new and in order."""
        match request.method:
            case "BYE":
                self._endpoint.refuse_open(call, 487, now)  # §15.1.2
                self._endpoint.respond(incoming, transaction, 200, now)
                self._endpoint.end(call, "bye")
                self._endpoint.forget(call, now)
            case "PRACK":
                self.exchanges.prack(call, request, incoming, transaction, now)
            case "INFO":
                self.infos.take(call, request, incoming, transaction, now)
            case "INVITE" | "UPDATE":
                terms = self.terms(request, call.session)
                if isinstance(terms, Refusal):
                    self._endpoint.refuse(incoming, terms, transaction, now)
                elif request.method == "UPDATE":
                    self.exchanges.update(call, request, incoming, transaction, terms, now)
                else:
                    self.invitations.again(call, Invitation(request, incoming, transaction, terms), now)
            case _:
                self._endpoint.respond(incoming, transaction, 200, now, CAPABILITIES)
