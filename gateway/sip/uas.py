"""The user agent server: datagrams and time in; datagrams, events and answers out. No sockets, clock or randomness.

`UserAgent` answers by itself what needs no decision (RFC 3261 §8.2, §9.2, §12.2.2, §15.1.2) and tells its gateway the
rest as events. A command for a dialog that has meanwhile ended does nothing and returns False: the event that says so
is on its way. Max-Forwards of 0 is no reason to refuse: we are where the request was going (RFC 4475 §3.3.11).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from gateway.sip.deadlines import Deadlines
from gateway.sip.dialog import MAX_UNACKED, Answer, Dialog, Dialogs, Pending, Stage, target_of
from gateway.sip.errors import Malformed
from gateway.sip.events import (
    BRANCH_BYTES,
    Acknowledged,
    Cancelled,
    Ended,
    Event,
    Invited,
    Reinvited,
    Settings,
    Why,
)
from gateway.sip.grammar import Address
from gateway.sip.machines import GIVE_UP_S, T1, T2, State
from gateway.sip.message import Answerable, Request, Response, parse
from gateway.sip.reply import TAG_BYTES, Incoming, Replies
from gateway.sip.screening import CAPABILITIES, SDP, Refusal, screen
from gateway.sip.transaction import Datagram, Transaction, Transactions

PENDING_S_MAX = 180.0
"""An INVITE that the gateway leaves unanswered is answered 487 after this (RFC 3261's timer C); no call hangs on us."""

RETRY_AFTER = ("Retry-After", "5")
"""With 503: long enough that a balancer asks another server first."""

RETRY_SPREAD_S = 10
"""With 500 for an INVITE that comes too early: 0 to this, by chance (§14.2)."""


class UserAgent:
    """All calls of one SIP endpoint.

    `random(n)` gives n unpredictable bytes. `admit(first, now)` says whether a request inside a dialog may come from
    address `now` when the INVITE came from `first`; it is asked only where the two differ.
    """

    def __init__(
        self,
        settings: Settings,
        random: Callable[[int], bytes],
        admit: Callable[[Address, Address], bool] = lambda first, now: True,
    ) -> None:
        self.draining = False
        self.counts: Counter[str] = Counter()
        """What was dropped or refused, by constant names; for metrics."""
        self._settings = settings
        self._random = random
        self._admit = admit
        self._outgoing: list[Datagram] = []
        self._events: list[Event] = []
        self._transactions = Transactions(self._outgoing)
        self._dialogs = Dialogs()
        self._deadlines: Deadlines[tuple[str, int, int]] = Deadlines()
        self._replies = Replies(settings.server_name, random(16))

    # What comes out

    def take_datagrams(self) -> list[Datagram]:
        """What is to be sent: bytes, destination, local address."""
        taken = self._outgoing[:]
        self._outgoing.clear()
        return taken

    def take_events(self) -> list[Event]:
        """What has happened, in order."""
        taken, self._events = self._events, []
        return taken

    @property
    def dialogs(self) -> int:
        """Calls at this moment, those being set up or torn down included."""
        return len(self._dialogs)

    def next_deadline(self) -> float | None:
        """When `timers` must be called next, or None."""
        times = [at for at in (self._transactions.next_deadline(), self._deadlines.next()) if at is not None]
        return min(times, default=None)

    # Commands

    def ring(self, dialog: int, now: float) -> bool:
        """180 for a pending INVITE."""
        return self._answer(dialog, 180, now) is not None

    def accept(self, dialog: int, sdp: bytes, now: float) -> bool:
        """200 for the pending INVITE or re-INVITE, sent again until its ACK comes."""
        answered = self._answer(dialog, 200, now, CAPABILITIES, body=sdp)
        if answered is None:
            return False
        call, pending = answered
        call.stage, call.pending = Stage.CONFIRMED, None
        call.remote_target = target_of(pending.request)
        transaction, seq = pending.transaction, pending.request.cseq.number
        call.answers[seq] = Answer(
            transaction.last,
            transaction.destination,
            transaction.local,
            now + GIVE_UP_S,
            T1,
            not pending.request.body,
        )
        self._deadlines.set(now + T1, ("answer", call.number, seq))
        return True

    def reject(
        self, dialog: int, status: int, reason: str, now: float, headers: Iterable[tuple[str, str]] = ()
    ) -> bool:
        """A final no (300–699) for the pending INVITE or re-INVITE; the first one's dialog ends by it."""
        answered = self._answer(dialog, status, now, headers, reason=reason)
        if answered is None:
            return False
        answered[0].pending = None
        if answered[0].stage is Stage.EARLY:
            self._end(answered[0], "rejected")
            self._dialogs.remove(answered[0])
        return True

    def bye(self, dialog: int, now: float, reason: str | None = None) -> bool:
        """Ends the call whatever its stage; `reason` is the value of a Reason header (RFC 3326).

        The BYE waits for the ACK of our 200, as a server's must (§15); `Ended` does not.
        """
        call = self._dialogs.get(dialog)
        if call is None or call.stage is Stage.ENDING:
            return False
        call.farewell = (("Reason", reason),) if reason else ()
        if call.stage is Stage.EARLY:
            self._refuse_pending(call, 480, now)
            self._end(call, "local")
            self._dialogs.remove(call)
            return True
        self._refuse_pending(call, 487, now)
        self._end(call, "local")
        if not call.answers:
            self._send_bye(call, now)
        return True

    # What comes in

    def receive(self, data: bytes, source: Address, local: Address, now: float) -> None:
        """One datagram. Never raises for what a peer can send."""
        try:
            message = parse(data)
        except Answerable as error:
            self.counts["malformed"] += 1
            self._complain(error, source, local)
            return
        except Malformed:
            self.counts["garbage"] += 1
            return
        if isinstance(message, Response):
            self._response(message, now)
        elif message.method == "ACK":
            self._ack(message, now)
        elif not self._transactions.repeated(message, now):
            self._request(message, Incoming.of(message, source, local), now)

    def timers(self, now: float) -> None:
        """Does what is due."""
        for transaction in self._transactions.timers(now):
            self._farewell_done(transaction)
        for kind, number, seq in self._deadlines.due(now):
            call = self._dialogs.get(number)
            if call is None:
                continue
            if kind == "answer":
                self._answer_again(call, seq, now)
            elif call.pending is not None and call.pending.request.cseq.number == seq:
                self._refuse_pending(call, 487, now)
                if call.stage is Stage.EARLY:
                    self._end(call, "timeout")
                    self._dialogs.remove(call)

    # Requests

    def _request(self, request: Request, incoming: Incoming, now: float) -> None:
        if refusal := screen(request):
            self._refuse(incoming, refusal)
        elif request.method == "CANCEL":
            self._cancel(request, incoming, now)
        elif request.to.tag:
            self._in_dialog(request, incoming, now)
        elif request.method == "OPTIONS":
            self._options(incoming)
        elif request.method == "BYE":
            self._refuse(incoming, Refusal(481))
        else:
            self._invite(request, incoming, now)

    def _options(self, incoming: Incoming) -> None:
        """The answer that an INVITE would get, as far as it can be told (§11.2)."""
        busy = self.draining or len(self._dialogs) >= self._settings.max_dialogs
        if busy or self._transactions.full(in_dialog=False):
            self._refuse(incoming, Refusal(503, (RETRY_AFTER,)))
        else:
            self._stateless(incoming, 200, CAPABILITIES)

    def _invite(self, request: Request, incoming: Incoming, now: float) -> None:
        if self.draining or self._transactions.full(in_dialog=False):
            self._refuse(incoming, Refusal(503, (RETRY_AFTER,)))
            return
        # These two can change between a request and its retransmission, so the answer is kept.
        if self._transactions.merged(request):
            self._refuse(incoming, Refusal(482), self._transactions.serve(request, incoming), now)
            return
        if len(self._dialogs) >= self._settings.max_dialogs:
            refusal = Refusal(503, (RETRY_AFTER,))
            self._refuse(incoming, refusal, self._transactions.serve(request, incoming), now)
            return
        try:
            call = self._dialogs.answering(request, incoming, self._random(TAG_BYTES).hex())
        except Malformed as error:
            self._refuse(incoming, Refusal(400, reason=f"Bad Request: {error.reason}"))
            return
        transaction = self._transactions.serve(request, incoming, call.number, merge=True)
        self._pend(call, Pending(request, incoming, transaction), now)
        self._events.append(Invited(call.number, request, request.body, incoming.source, incoming.local))

    def _in_dialog(self, request: Request, incoming: Incoming, now: float) -> None:
        call = self._dialogs.find(request)
        if call is None or (call.stage is Stage.ENDING and request.method == "INVITE"):
            self._refuse(incoming, Refusal(481))
        elif incoming.source[0] != call.peer[0] and not self._admit(call.peer, incoming.source):
            self._refuse(incoming, Refusal(403))
        elif self._transactions.full(in_dialog=True):
            self._refuse(incoming, Refusal(503, (RETRY_AFTER,)))
        elif request.cseq.number <= call.remote_seq:
            self._refuse(incoming, Refusal(500, reason="CSeq Out of Order"))
        else:
            call.remote_seq, call.peer = request.cseq.number, incoming.source
            transaction = self._transactions.serve(request, incoming, call.number)
            if request.method == "BYE":
                self._bye(call, incoming, transaction, now)
            elif request.method == "INVITE":
                self._reinvite(call, Pending(request, incoming, transaction), now)
            else:
                self._respond(incoming, transaction, 200, now, CAPABILITIES)

    def _reinvite(self, call: Dialog, pending: Pending, now: float) -> None:
        refusal = None
        if call.pending or len(call.answers) >= MAX_UNACKED:
            wait_s = self._random(1)[0] % (RETRY_SPREAD_S + 1)
            refusal = Refusal(500, (("Retry-After", str(wait_s)),))  # §14.2
        elif any(answer.is_offer for answer in call.answers.values()):
            refusal = Refusal(491)  # our offer still waits for its answer (RFC 5407 §3.1.5)
        else:
            try:
                target_of(pending.request)
            except Malformed as error:
                refusal = Refusal(400, reason=f"Bad Request: {error.reason}")
        if refusal:
            self._refuse(pending.incoming, refusal, pending.transaction, now)
            return
        self._pend(call, pending, now)
        self._events.append(Reinvited(call.number, pending.request, pending.request.body, pending.incoming.source))

    def _bye(self, call: Dialog, incoming: Incoming, transaction: Transaction, now: float) -> None:
        self._refuse_pending(call, 487, now)  # §15.1.2
        self._respond(incoming, transaction, 200, now)
        self._end(call, "bye")
        self._dialogs.remove(call)

    def _cancel(self, request: Request, incoming: Incoming, now: float) -> None:
        invite = self._transactions.cancelled(request)
        if invite is None or self._transactions.full(in_dialog=True):
            self._refuse(incoming, Refusal(481 if invite is None else 503))
            return
        call = self._dialogs.get(invite.user)
        tag = call.local_tag if call else ""
        self._respond(incoming, self._transactions.serve(request, incoming, invite.user), 200, now, to_tag=tag)
        if call is None or invite.state is not State.PROCEEDING:
            return  # too late, or never a call: no effect (§9.2)
        self._refuse_pending(call, 487, now)
        self._events.append(Cancelled(call.number))
        if call.stage is Stage.EARLY:
            self._end(call, "cancel")
            self._dialogs.remove(call)

    def _ack(self, ack: Request, now: float) -> None:
        if self._transactions.acknowledged(ack, now):
            return
        call = self._dialogs.find(ack)
        if call is None or call.answers.pop(ack.cseq.number, None) is None:
            return  # a repeated one, or of a call that is gone
        if call.stage is Stage.CONFIRMED:
            self._events.append(Acknowledged(call.number, ack.body))
        elif not call.answers:
            self._send_bye(call, now)

    def _response(self, response: Response, now: float) -> None:
        transaction = self._transactions.receive(response, now)
        if transaction is None:
            self.counts["stray_responses"] += 1
        elif response.status >= 200:
            self._farewell_done(transaction)

    # Steps

    def _end(self, call: Dialog, why: Why) -> None:
        """Tells the gateway, once."""
        if call.stage is not Stage.ENDING:
            call.stage = Stage.ENDING
            self._events.append(Ended(call.number, why))

    def _pend(self, call: Dialog, pending: Pending, now: float) -> None:
        call.pending = pending
        self._respond(pending.incoming, pending.transaction, 100, now)
        self._deadlines.set(now + PENDING_S_MAX, ("pending", call.number, pending.request.cseq.number))

    def _answer(
        self,
        dialog: int,
        status: int,
        now: float,
        headers: Iterable[tuple[str, str]] = (),
        *,
        reason: str = "",
        body: bytes = b"",
    ) -> tuple[Dialog, Pending] | None:
        """Answers the pending INVITE of a dialog, if there is one."""
        call = self._dialogs.get(dialog)
        if call is None or call.pending is None:
            return None
        pending, makes_dialog = call.pending, 100 < status < 300
        fields = [self._settings.contact] if makes_dialog else []
        fields += [*headers, *((("Content-Type", SDP),) if body else ())]
        data = self._replies.make(
            pending.incoming, status, fields, reason=reason, to_tag=call.local_tag, body=body, routes=makes_dialog
        )
        self._transactions.respond(pending.transaction, status, data, now)
        return call, pending

    def _refuse_pending(self, call: Dialog, status: int, now: float) -> None:
        if call.pending is not None:
            pending, call.pending = call.pending, None
            self._respond(pending.incoming, pending.transaction, status, now, to_tag=call.local_tag)

    def _respond(
        self,
        incoming: Incoming,
        transaction: Transaction,
        status: int,
        now: float,
        headers: Iterable[tuple[str, str]] = (),
        *,
        reason: str = "",
        to_tag: str = "",
    ) -> None:
        data = self._replies.make(incoming, status, headers, reason=reason, to_tag=to_tag)
        self._transactions.respond(transaction, status, data, now)

    def _stateless(
        self, incoming: Incoming, status: int, headers: Iterable[tuple[str, str]] = (), reason: str = ""
    ) -> None:
        data = self._replies.make(incoming, status, headers, reason=reason)
        self._outgoing.append((data, incoming.destination, incoming.local))

    def _refuse(
        self, incoming: Incoming, refusal: Refusal, transaction: Transaction | None = None, now: float = 0.0
    ) -> None:
        self.counts[f"refused_{refusal.status}"] += 1
        if transaction is None:
            self._stateless(incoming, refusal.status, refusal.headers, refusal.reason)
        else:
            self._respond(incoming, transaction, refusal.status, now, refusal.headers, reason=refusal.reason)

    def _complain(self, error: Answerable, source: Address, local: Address) -> None:
        reason = f"Bad Request: {error.reason}" if error.status == 400 else ""
        self._stateless(Incoming.of_malformed(error, source, local), error.status, reason=reason)

    def _answer_again(self, call: Dialog, seq: int, now: float) -> None:
        answer = call.answers.get(seq)
        if answer is None:
            return
        if now < answer.give_up_at:
            self._outgoing.append((answer.data, answer.destination, answer.local))
            answer.interval_s = min(2 * answer.interval_s, T2)
            self._deadlines.set(min(now + answer.interval_s, answer.give_up_at), ("answer", call.number, seq))
            return
        call.answers.clear()  # RFC 3261 §13.3.1.4
        self._refuse_pending(call, 487, now)
        self._end(call, "no_ack")
        self._send_bye(call, now)

    def _send_bye(self, call: Dialog, now: float) -> None:
        via = self._settings.via(self._random(BRANCH_BYTES))
        bye = call.request("BYE", via, headers=(*call.farewell, ("User-Agent", self._settings.server_name)))
        self._transactions.request(bye, call.local, call.next_hop(), call.number, now)

    def _farewell_done(self, transaction: Transaction) -> None:
        """Our BYE was answered, or will never be; only a BYE has a client transaction here."""
        call = self._dialogs.get(transaction.user)
        if call is not None and call.stage is Stage.ENDING:
            self._dialogs.remove(call)
