"""The INVITEs that we serve: rung, accepted or refused, reliable on the way (RFC 3262), acknowledged or given up.

- A 200 is sent again until its ACK comes, over streams too (RFC 3261 §13.3.1.4); a reliable provisional response until
  its PRACK comes. Neither: the call ends.
- A 200 waits for the PRACK of a response with SDP (RFC 3262 §3), and has none itself if that settled the media.
- An INVITE without offer gets ours in the first reliable answer: a reliable 183, or the 200 (§13.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.sip import reliable
from gateway.sip.dialog import MAX_UNACKED, Answer, Dialog, Invitation, Stage, target_of
from gateway.sip.endpoint import Endpoint
from gateway.sip.errors import Malformed
from gateway.sip.events import Acknowledged, Agreed, Reinvited, Why, contact
from gateway.sip.machines import GIVE_UP_S, T1, T2
from gateway.sip.message import Request
from gateway.sip.reliable import RAck, Unacknowledged
from gateway.sip.screening import CAPABILITIES, Refusal

PENDING_S_MAX = 180.0
"""An INVITE that the gateway leaves unanswered is answered 487 after this (RFC 3261's timer C); no call hangs on us."""

NO_ANSWER = 'SIP;cause=488;text="no answer to the offer"'
"""Reason (RFC 3326) of a BYE to a peer that leaves our offer without an answer."""


class Invitations:
    """What happens to an INVITE between its arrival and its ACK."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    # Commands

    def ring(self, call: Dialog, now: float, sdp: bytes | None = None) -> bool:
        """180, or 183 with SDP; reliable if the peer demands it, or knows it and there is SDP to get across.

        False, and nothing is sent, while an earlier reliable one waits for its PRACK, and where it would have to be
        reliable without the offer that the peer waits for (RFC 3261 §13.2.1).
        """
        invitation = call.invitation
        if invitation is None:
            return False
        required = reliable.TAG in invitation.request.tokens("Require")
        known = required or reliable.TAG in invitation.request.tokens("Supported")
        offerless = not invitation.request.sdp and not invitation.agreed
        body = sdp or b""
        if invitation.agreed or (offerless and not known):
            body = b""  # said already; or an offer that could get lost
        if not required and not (known and body):
            self._provisional(call, invitation, 183 if body else 180, now, body)
            return True
        if invitation.unacknowledged is not None or (offerless and not body):
            return False
        self._reliable(call, invitation, now, body)
        return True

    def accept(self, call: Dialog, sdp: bytes, now: float) -> bool:
        """200, now or when the PRACK of a provisional response with SDP has come."""
        invitation = call.invitation
        if invitation is None or invitation.held is not None:
            return False
        if invitation.unacknowledged is not None and invitation.unacknowledged.has_sdp:
            invitation.held = sdp
        else:
            self._accepted(call, invitation, sdp, now)
        return True

    def reject(self, call: Dialog, status: int, reason: str, now: float, headers: Iterable[tuple[str, str]]) -> bool:
        """A final no; the first INVITE's dialog ends by it."""
        invitation = call.invitation
        if invitation is None:
            return False
        call.invitation = None
        self._endpoint.respond(
            invitation.incoming, invitation.transaction, status, now, headers, reason=reason, to_tag=call.local_tag
        )
        if call.stage is Stage.EARLY:
            self._endpoint.end(call, "rejected")
            self._endpoint.forget(call, now)
        return True

    # What comes in

    def take(self, call: Dialog, invitation: Invitation, now: float) -> None:
        """An INVITE that the gateway will answer."""
        call.invitation = invitation
        self._endpoint.trying(invitation.incoming, invitation.transaction, now)
        self._endpoint.deadlines.set(now + PENDING_S_MAX, ("pending", call.number, invitation.request.cseq.number))

    def again(self, call: Dialog, invitation: Invitation, now: float) -> None:
        """A re-INVITE; refused while another exchange is under way (§14.2)."""
        refusal = None
        if call.invitation is not None or len(call.answers) >= MAX_UNACKED or call.open_offer == "peers":
            refusal = self._endpoint.too_early()
        elif call.open_offer == "ours":
            refusal = Refusal(491)  # our offer still waits for its answer (RFC 5407 §3.1.5)
        else:
            try:
                target_of(invitation.request)
            except Malformed as error:
                refusal = Refusal(400, reason=f"Bad Request: {error.reason}")
        if refusal:
            self._endpoint.refuse(invitation.incoming, refusal, invitation.transaction, now)
            return
        self.take(call, invitation, now)
        request, flow = invitation.request, invitation.incoming.flow
        self._endpoint.events.append(Reinvited(call.number, request, request.sdp, flow))

    def acknowledged(self, ack: Request, now: float) -> None:
        """The ACK of a 200, which must bring the answer if the 200 made the offer."""
        call = self._endpoint.dialogs.find(ack)
        answer = call.answers.pop(ack.cseq.number, None) if call else None
        if call is None or answer is None:
            return  # a repeated one, or of a call that is gone
        body = ack.sdp
        if call.stage is not Stage.CONFIRMED:
            if not call.answers:
                self._endpoint.ask(call, "BYE", now, call.farewell)
        elif answer.is_offer and not body:
            self._endpoint.hang_up(call, "no_answer", now, NO_ANSWER)
        else:
            self._endpoint.events.append(Acknowledged(call.number, body if answer.is_offer else b""))

    def pracked(self, call: Dialog, rack: RAck, body: bytes, now: float) -> Refusal | None:
        """A PRACK names a response of ours; the final answer to it if it is not 200.

        An offer of the peer in it is not looked at here.
        """
        invitation = call.invitation
        waiting = invitation.unacknowledged if invitation else None
        if invitation is None or waiting is None or waiting.rack != rack:
            known, call.late_rack = rack == call.late_rack, None
            return None if known else Refusal(481)
        invitation.unacknowledged = None
        if waiting.is_offer:
            if not body:
                return Refusal(400, reason="Bad Request: no answer to the offer")
            invitation.agreed = True
            self._endpoint.events.append(Agreed(call.number, body))
        return None

    def go_on(self, call: Dialog, now: float) -> None:
        """Sends the 200 that waited for a PRACK, if nothing else is in its way."""
        invitation = call.invitation
        if invitation is not None and invitation.held is not None and invitation.unacknowledged is None:
            self._accepted(call, invitation, invitation.held, now)

    # Time

    def due(self, kind: str, call: Dialog, number: int, now: float) -> None:
        """A deadline that was set here."""
        invitation = call.invitation
        if kind == "answer":
            self._answer_again(call, number, now)
        elif invitation is None:
            pass
        elif kind == "provisional":
            self._provisional_again(call, invitation, number, now)
        elif invitation.request.cseq.number != number:
            pass
        else:
            self.give_up(call, 487, "timeout", now)

    def _answer_again(self, call: Dialog, seq: int, now: float) -> None:
        answer = call.answers.get(seq)
        if answer is None:
            return
        if now < answer.give_up_at:
            self._endpoint.outgoing.append((answer.data, answer.flow))
            answer.interval_s = min(2 * answer.interval_s, T2)
            again_at = min(now + answer.interval_s, answer.give_up_at)
            self._endpoint.deadlines.set(again_at, ("answer", call.number, seq))
            return
        call.answers.clear()  # RFC 3261 §13.3.1.4
        if call.stage is Stage.CONFIRMED:
            self._endpoint.hang_up(call, "no_ack", now)
        else:
            self._endpoint.ask(call, "BYE", now, call.farewell)

    def _provisional_again(self, call: Dialog, invitation: Invitation, rseq: int, now: float) -> None:
        waiting = invitation.unacknowledged
        if waiting is None or waiting.rack.rseq != rseq:
            return
        if now < waiting.give_up_at:
            self._endpoint.outgoing.append((waiting.data, invitation.transaction.flow))
            self._endpoint.deadlines.set(waiting.next_at(now), ("provisional", call.number, rseq))
        else:
            self.give_up(call, 504, "no_prack", now)

    def give_up(self, call: Dialog, status: int, why: Why, now: float) -> None:
        """The INVITE is answered by us; the gateway's answer would come too late. The first one's dialog ends by it."""
        self._endpoint.refuse_open(call, status, now)
        if call.stage is Stage.EARLY:
            self._endpoint.end(call, why)
            self._endpoint.forget(call, now)

    # Steps

    def _provisional(
        self,
        call: Dialog,
        invitation: Invitation,
        status: int,
        now: float,
        body: bytes,
        headers: Iterable[tuple[str, str]] = (),
    ) -> bytes:
        ours = contact(invitation.incoming.flow, invitation.request, sips=call.sips)
        fields = [ours, *CAPABILITIES, *headers]
        data = self._endpoint.response(
            invitation.incoming, status, fields, to_tag=call.local_tag, body=body, routes=True
        )
        self._endpoint.transactions.respond(invitation.transaction, status, data, now)
        return data

    def _reliable(self, call: Dialog, invitation: Invitation, now: float, body: bytes) -> None:
        number = (
            invitation.rseq + 1
            if invitation.rseq
            else reliable.first_number(self._endpoint.random(reliable.NUMBER_BYTES))
        )
        invitation.rseq = number
        headers = [("Require", reliable.TAG), ("RSeq", str(number))]
        data = self._provisional(call, invitation, 183 if body else 180, now, body, headers)
        rack = RAck(number, invitation.request.cseq.number, "INVITE")
        is_offer = bool(body) and not invitation.request.sdp
        invitation.unacknowledged = Unacknowledged(rack, data, now, bool(body), is_offer)
        invitation.agreed = invitation.agreed or (bool(body) and not is_offer)
        call.sdp = body or call.sdp
        self._endpoint.deadlines.set(invitation.unacknowledged.next_at(now), ("provisional", call.number, number))

    def _accepted(self, call: Dialog, invitation: Invitation, sdp: bytes, now: float) -> None:
        incoming, transaction, terms = invitation.incoming, invitation.transaction, invitation.terms
        ours = contact(incoming.flow, invitation.request, sips=call.sips)
        fields = [ours, *CAPABILITIES, *(terms.headers() if terms else ())]
        body = b"" if invitation.agreed else sdp
        data = self._endpoint.response(incoming, 200, fields, to_tag=call.local_tag, body=body, routes=True)
        self._endpoint.transactions.respond(transaction, 200, data, now)
        call.stage, call.invitation = Stage.CONFIRMED, None
        call.late_rack = invitation.unacknowledged.rack if invitation.unacknowledged else None
        call.sdp = body or call.sdp
        call.heard(invitation.request)
        seq, is_offer = invitation.request.cseq.number, bool(body) and not invitation.request.sdp
        call.answers[seq] = Answer(transaction.last, transaction.flow, now + GIVE_UP_S, T1, is_offer)
        self._endpoint.deadlines.set(now + T1, ("answer", call.number, seq))
        self._endpoint.settle(call, terms.session(now) if terms else None)
