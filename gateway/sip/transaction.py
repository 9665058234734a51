"""The transaction layer: every message finds its transaction by one lookup, every timer comes out of one heap.

It repeats, absorbs and gives up by the tables of `machines`; its user (the agent above) sees each request once, each
response that matters, and each timeout. Nothing here knows dialogs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.sip.deadlines import Deadlines
from gateway.sip.flow import Flow
from gateway.sip.headers import Headers
from gateway.sip.machines import (
    CLIENT_INVITE,
    CLIENT_OTHER,
    GIVE_UP_S,
    SERVER_INVITE,
    SERVER_OTHER,
    STREAMS,
    T1,
    T2,
    T4,
    TIMER_D_S,
    Act,
    Input,
    Machine,
    State,
)
from gateway.sip.message import Request, Response
from gateway.sip.reply import Incoming

MAX_TRANSACTIONS = 32_768
"""Alive at once. A call leaves two for 32 s, so 450 set-ups a second fit; at about 1 KiB each (measured)
it bounds memory."""

RESERVED_TRANSACTIONS = 4096
"""Of those, kept for requests inside dialogs: a flood of new calls must not keep a running one from its BYE."""

Outgoing = tuple[bytes, Flow]
"""A message and its way."""

Key = tuple[object, ...]


@dataclass(slots=True, eq=False)
class Transaction:
    """One transaction. `user` is whatever number the layer above knows it by."""

    machine: Machine
    key: Key
    state: State
    user: int
    flow: Flow
    request: Request | None = None  # of a client's; a server's would only hold memory
    merge_key: Key | None = None
    last: bytes = field(default=b"", repr=False)
    interval_s: float = T1


def _key(request: Request, method: str) -> Key:
    """Of a server's transaction (RFC 3261 §17.2.3).

    Branch and sent-by decide; Call-ID, CSeq and From tag, equal in every true retransmission, are asked besides: so
    RFC 2543 peers need no case of their own, and a vendor's constant branch does no harm.
    """
    via = request.via
    return via.branch, via.host, via.port, method, request.call_id, request.cseq.number, request.from_.tag


def _merge_key(request: Request) -> Key:
    return request.from_.tag, request.call_id, request.cseq.number


class Transactions:
    """All transactions of one agent; what is to be sent is appended to `outgoing`."""

    def __init__(self, outgoing: list[Outgoing]) -> None:
        self._outgoing = outgoing
        self._servers: dict[Key, Transaction] = {}
        self._clients: dict[Key, Transaction] = {}
        self._merge: dict[Key, Transaction] = {}
        self._deadlines: Deadlines[tuple[Transaction, Input]] = Deadlines()

    def __len__(self) -> int:
        return len(self._servers) + len(self._clients)

    def full(self, *, in_dialog: bool) -> bool:
        """Whether a further request must be refused without keeping anything."""
        return len(self) >= MAX_TRANSACTIONS - (0 if in_dialog else RESERVED_TRANSACTIONS)

    # Servers

    def repeated(self, request: Request, now: float) -> bool:
        """Whether the request is a retransmission; then it has been answered as far as it is to be."""
        transaction = self._servers.get(_key(request, request.method))
        if transaction is None:
            return False
        self._apply(transaction, Input.REQUEST, now)
        return True

    def acknowledged(self, ack: Request, now: float) -> bool:
        """Whether the ACK was for a failure and ends here; otherwise it is the dialog's."""
        transaction = self._servers.get(_key(ack, "INVITE"))
        return transaction is not None and not self._apply(transaction, Input.ACK, now)

    def cancelled(self, cancel: Request) -> Transaction | None:
        """The INVITE that a CANCEL means (§9.2)."""
        return self._servers.get(_key(cancel, "INVITE"))

    def merged(self, request: Request) -> bool:
        """Whether the same INVITE has come by another way (§8.2.2.2)."""
        return _merge_key(request) in self._merge

    def serve(self, request: Request, incoming: Incoming, user: int = 0, *, merge: bool = False) -> Transaction:
        """A new server transaction; with `merge`, other copies of the request will be told apart from it."""
        machine = SERVER_INVITE if request.method == "INVITE" else SERVER_OTHER
        transaction = Transaction(
            _for(machine, incoming.flow),
            _key(request, request.method),
            machine.start,
            user,
            incoming.back,
        )
        self._servers[transaction.key] = transaction
        if merge:
            transaction.merge_key = _merge_key(request)
            self._merge[transaction.merge_key] = transaction
        return transaction

    def respond(self, transaction: Transaction, status: int, data: bytes, now: float) -> None:
        """Sends a response and, as the table says, sends it again."""
        self._apply(transaction, _class_of(status), now, data)

    # Clients

    def request(self, request: Request, flow: Flow, user: int, now: float) -> Transaction:
        """A new client transaction; its branch must be fresh."""
        machine = CLIENT_INVITE if request.method == "INVITE" else CLIENT_OTHER
        key = (request.via.branch, request.method)
        transaction = Transaction(_for(machine, flow), key, machine.start, user, flow, request)
        self._clients[key] = transaction
        self._apply(transaction, Input.START, now, request.to_bytes())
        return transaction

    def receive(self, response: Response, now: float) -> Transaction | None:
        """The client transaction whose user is to see the response, or None."""
        transaction = self._clients.get((response.via.branch, response.cseq.method))
        if transaction is None:
            return None
        told = self._apply(transaction, _class_of(response.status), now, response=response)
        return transaction if told else None

    def abandon(self, transaction: Transaction) -> None:
        """Forgets a client's transaction that nobody waits for any more."""
        transaction.state = State.TERMINATED
        self._forget(transaction)

    # Time

    def next_deadline(self) -> float | None:
        """When `timers` should be called next."""
        return self._deadlines.next()

    def timers(self, now: float) -> list[Transaction]:
        """Does what is due; returns the clients' transactions that gave up."""
        gave_up = []
        for transaction, timer in self._deadlines.due(now):
            if self._apply(transaction, timer, now) and transaction.request is not None:
                gave_up.append(transaction)
        return gave_up

    def _apply(
        self, transaction: Transaction, event: Input, now: float, data: bytes = b"", response: Response | None = None
    ) -> bool:
        """One row of the table; whether its user is to be told."""
        row = transaction.machine.rows.get((transaction.state, event))
        if row is None:
            return False
        state, acts = row
        told = False
        for act in acts:
            match act:
                case Act.SEND:
                    transaction.last = data
                    self._send(transaction)
                case Act.REPEAT:
                    self._send(transaction)
                case Act.ACK if transaction.request and response:
                    transaction.last = _failure_ack(transaction.request, response)
                    self._send(transaction)
                case Act.TELL | Act.TELL_TIMEOUT:
                    told = True
                case _:
                    self._later(transaction, act, now)
        transaction.state = state
        if state is State.TERMINATED:
            self._forget(transaction)
        return told

    def _later(self, transaction: Transaction, act: Act, now: float) -> None:
        match act:
            case Act.RESEND_LATER:
                self._deadlines.set(now + transaction.interval_s, (transaction, Input.RESEND))
                transaction.interval_s = min(2 * transaction.interval_s, transaction.machine.interval_max_s)
            case Act.RESEND_SLOWLY:
                self._deadlines.set(now + T2, (transaction, Input.RESEND))
            case Act.GIVE_UP_LATER:
                self._deadlines.set(now + GIVE_UP_S, (transaction, Input.GIVE_UP))
            case Act.LINGER_FULL | Act.LINGER_J:
                self._deadlines.set(now + GIVE_UP_S, (transaction, Input.LINGER))
            case Act.LINGER_D:
                self._deadlines.set(now + TIMER_D_S, (transaction, Input.LINGER))
            case Act.LINGER_T4:
                self._deadlines.set(now + T4, (transaction, Input.LINGER))

    def _send(self, transaction: Transaction) -> None:
        if transaction.last:
            self._outgoing.append((transaction.last, transaction.flow))

    def _forget(self, transaction: Transaction) -> None:
        table = self._servers if transaction.request is None else self._clients
        table.pop(transaction.key, None)
        if transaction.merge_key is not None:
            self._merge.pop(transaction.merge_key, None)


def _for(machine: Machine, flow: Flow) -> Machine:
    return STREAMS[machine] if flow.reliable else machine


def _class_of(status: int) -> Input:
    if status < 200:
        return Input.PROVISIONAL
    return Input.SUCCESS if status < 300 else Input.FAILURE


def _failure_ack(invite: Request, response: Response) -> bytes:
    """The ACK of a failure: same branch, same route, To of the response (§17.1.1.3)."""
    fields = [("Via", str(invite.via)), *(("Route", route) for route in invite.headers.all("Route"))]
    fields += [("From", invite.headers.required("From")), ("To", response.headers.required("To"))]
    fields += [("Call-ID", invite.call_id), ("CSeq", f"{invite.cseq.number} ACK"), ("Max-Forwards", "70")]
    return Request.make("ACK", invite.uri, Headers(tuple(fields))).to_bytes()
