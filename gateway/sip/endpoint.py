"""What the parts of a user agent share: its tables and deadlines, and the ways to answer, to ask and to tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from gateway.sip.alarms import Alarms
from gateway.sip.deadlines import Deadlines
from gateway.sip.dialog import Dialog, Dialogs, Stage
from gateway.sip.events import BRANCH_BYTES, Ended, Event, Settings, Why, contact, via
from gateway.sip.flow import Flow
from gateway.sip.gate import Gate
from gateway.sip.machines import GIVE_UP_S, State
from gateway.sip.message import SDP
from gateway.sip.reply import Incoming, Replies
from gateway.sip.screening import CAPABILITIES, Refusal
from gateway.sip.session_timer import Session
from gateway.sip.transaction import Outgoing, Transaction, Transactions

RETRY_SPREAD_S = 10
"""With 500 for an offer that comes too early: 0 to this, by chance (RFC 3261 §14.2, RFC 3311 §5.2)."""


class Endpoint:
    """One endpoint's calls, and everything that is done to any of them from more than one place.

    Entries of `deadlines` name a kind, a dialog and a number that tells one from the next; `sessions` are the dialogs'
    session timers.
    """

    def __init__(self, settings: Settings, random: Callable[[int], bytes], gate: Gate) -> None:
        self.settings = settings
        self.random = random
        self.gate = gate
        self.counts: Counter[str] = Counter()
        self.outgoing: list[Outgoing] = []
        self.events: list[Event] = []
        self.transactions = Transactions(self.outgoing)
        self.dialogs = Dialogs()
        self.deadlines: Deadlines[tuple[str, int, int]] = Deadlines()
        self.sessions: Alarms[int] = Alarms()
        self._replies = Replies(settings.server_name, random(16))
        self._fading: Deadlines[Transaction] = Deadlines()
        self._trying: list[tuple[Incoming, Transaction, float]] = []

    # Time

    def next_deadline(self) -> float | None:
        """When something is due next, or None."""
        heaps = (self.transactions.next_deadline(), self.deadlines.next(), self.sessions.next(), self._fading.next())
        return min((at for at in heaps if at is not None), default=None)

    def take_outgoing(self) -> list[Outgoing]:
        """What is to be sent, and by which way; an INVITE that nobody has answered meanwhile gets its 100 now.

        One that was answered at once needs none (RFC 3261 §17.2.1).
        """
        for incoming, transaction, now in self._trying:
            if transaction.state is State.PROCEEDING and not transaction.last:
                self.respond(incoming, transaction, 100, now)
        self._trying.clear()
        taken = self.outgoing[:]
        self.outgoing.clear()
        return taken

    def trying(self, incoming: Incoming, transaction: Transaction, now: float) -> None:
        """An INVITE that the gateway will answer, or that gets 100 when the next messages are taken."""
        self._trying.append((incoming, transaction, now))

    def fade(self, now: float) -> None:
        """Gives up the re-INVITEs of finished calls that got a provisional answer and no other."""
        for transaction in self._fading.due(now):
            self.transactions.abandon(transaction)

    # Answers

    def response(
        self,
        incoming: Incoming,
        status: int,
        headers: Iterable[tuple[str, str]] = (),
        *,
        reason: str = "",
        to_tag: str = "",
        body: bytes = b"",
        routes: bool = False,
    ) -> bytes:
        """A response's bytes."""
        fields = [*headers, ("Content-Type", SDP)] if body else headers
        return self._replies.make(incoming, status, fields, reason=reason, to_tag=to_tag, body=body, routes=routes)

    def respond(
        self,
        incoming: Incoming,
        transaction: Transaction,
        status: int,
        now: float,
        headers: Iterable[tuple[str, str]] = (),
        *,
        reason: str = "",
        to_tag: str = "",
        body: bytes = b"",
    ) -> None:
        """Answers a request that has a transaction."""
        data = self.response(incoming, status, headers, reason=reason, to_tag=to_tag, body=body)
        self.transactions.respond(transaction, status, data, now)

    def stateless(
        self, incoming: Incoming, status: int, headers: Iterable[tuple[str, str]] = (), reason: str = ""
    ) -> None:
        """Answers a request that leaves nothing behind."""
        self.outgoing.append((self.response(incoming, status, headers, reason=reason), incoming.back))

    def refuse(
        self, incoming: Incoming, refusal: Refusal, transaction: Transaction | None = None, now: float = 0.0
    ) -> None:
        """Says no, and counts it."""
        self.counts[f"refused_{refusal.status}"] += 1
        if transaction is None:
            self.stateless(incoming, refusal.status, refusal.headers, refusal.reason)
        else:
            self.respond(incoming, transaction, refusal.status, now, refusal.headers, reason=refusal.reason)

    def too_early(self) -> Refusal:
        """For an offer while another of the peer's is open."""
        return Refusal(500, (("Retry-After", str(self.random(1)[0] % (RETRY_SPREAD_S + 1))),))

    # Our requests

    def ask(
        self, call: Dialog, method: str, now: float, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Transaction:
        """Sends a request of ours inside a dialog."""
        flow = self.way(call)
        fields = [("User-Agent", self.settings.server_name), *headers]
        if method in ("INVITE", "UPDATE", "OPTIONS"):
            fields += [contact(flow, sips=call.sips), *CAPABILITIES]
        if body:
            fields.append(("Content-Type", SDP))
        request = call.request(method, via(flow, self.random(BRANCH_BYTES)), headers=tuple(fields), body=body)
        return self.transactions.request(request, flow, call.number, now)

    def acknowledge(self, call: Dialog, seq: int, answer: bytes = b"") -> None:
        """The ACK of a 2xx to an INVITE of ours (RFC 3261 §13.2.2.4): the same each time the 2xx comes."""
        flow = self.way(call)
        if call.ack[0] != seq:
            headers = (("Content-Type", SDP),) if answer else ()
            ack = call.request("ACK", via(flow, self.random(BRANCH_BYTES)), seq=seq, headers=headers, body=answer)
            call.ack = seq, ack.to_bytes()
        self.outgoing.append((call.ack[1], flow))

    def way(self, call: Dialog) -> Flow:
        """Of our requests in a dialog: where the peer says, if that is his to say, else where he is."""
        flow = call.next_hop()
        host = flow.remote[0]
        return flow if host == call.flow.remote[0] or self.gate.reaches(call.granted.trunk, host) else call.flow

    # A call's end

    def end(self, call: Dialog, why: Why) -> None:
        """Tells the gateway, once."""
        if call.stage is not Stage.ENDING:
            call.stage = Stage.ENDING
            call.session = None
            self.sessions.clear(call.number)
            self.events.append(Ended(call.number, why))

    def forget(self, call: Dialog, now: float) -> None:
        """Nothing more is to come of this dialog."""
        self.sessions.clear(call.number)
        self.dialogs.remove(call)
        if call.refresh is not None and call.reinviting:
            self._fading.set(now + GIVE_UP_S, call.refresh)

    def hang_up(self, call: Dialog, why: Why, now: float, reason: str | None = None) -> None:
        """Ends a call that stands. The BYE waits for the ACK of our 200, as a server's must (§15); `Ended` does not."""
        call.farewell = (("Reason", reason),) if reason else ()
        self.refuse_open(call, 487, now)
        self.end(call, why)
        if not call.answers:
            self.ask(call, "BYE", now, call.farewell)

    def refuse_open(self, call: Dialog, status: int, now: float) -> None:
        """Answers what the gateway has not answered yet."""
        if call.invitation is not None:
            invitation, call.invitation = call.invitation, None
            self.respond(invitation.incoming, invitation.transaction, status, now, to_tag=call.local_tag)
        if call.update is not None:
            update, call.update = call.update, None
            self.respond(update.incoming, update.transaction, status, now)
        for question in call.questions.values():
            self.respond(question.incoming, question.transaction, status, now)
        call.questions.clear()

    # The session timer

    def settle(self, call: Dialog, session: Session | None) -> None:
        """What a 2xx says of the dialog's session timer holds from now on."""
        call.session = session
        if session is None:
            self.sessions.clear(call.number)
        else:
            self.sessions.set(call.number, session.wake_at)
