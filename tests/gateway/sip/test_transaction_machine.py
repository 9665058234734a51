"""Two transaction layers and any network between them: no order of loss, copies, delay and time breaks their rules.

Over datagrams messages are lost, doubled and reordered; over a stream they come in order, and only time passes. The
rules: a client's user is told one outcome, the one that the server's user gave first; a server's user sees no request
twice while its transaction lives; a stream carries each message once; and in the end nothing is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.sip.flow import Flow, Transport
from gateway.sip.machines import T4, State
from gateway.sip.message import Request, Response, parse
from gateway.sip.reply import Incoming, reply
from gateway.sip.transaction import Outgoing, Transaction, Transactions
from tests.gateway.sip.bench import LOCAL, PEER, packet, request_of

LONGEST_S = 100.0
"""After this long without a message every timer has fired."""

REQUESTS_MAX = 11
"""Copies of one request that are sent by timers: at 0, 0.5, 1.5, 3.5 and then every 4 s until 32 s."""


@dataclass(eq=False)
class Asked:
    """One request of the client's user, and what came of it."""

    transaction: Transaction
    outcomes: list[int] = field(default_factory=list)  # final statuses, 408 for a timeout of the layer
    served: list[Transaction] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Copy:
    """A message on its way."""

    to_server: bool
    data: bytes
    sent_at: float


class TwoLayers(RuleBasedStateMachine):
    """One client's layer, one server's."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.from_client: list[Outgoing] = []
        self.from_server: list[Outgoing] = []
        self.client = Transactions(self.from_client)
        self.server = Transactions(self.from_server)
        self.wire: list[Copy] = []
        self.asked: list[Asked] = []
        self.sent: dict[bytes, int] = {}

    @initialize(transport=st.sampled_from(["udp", "tcp"]))
    def open(self, transport: Transport) -> None:
        self.reliable = transport != "udp"
        self.there = Flow(transport, LOCAL, PEER, 1 if self.reliable else None)
        self.back = Flow(transport, PEER, LOCAL, 2 if self.reliable else None)

    @rule(method=st.sampled_from(["INVITE", "BYE", "OPTIONS"]))
    def ask(self, method: str) -> None:
        number = len(self.asked)
        request = request_of(packet(method, branch=f"b{number}", call=f"call-{number}"))
        self.asked.append(Asked(self.client.request(request, self.back, number, self.now)))
        self.put()

    @precondition(lambda self: self.wire)
    @rule(pick=st.integers(0, 50))
    def deliver(self, pick: int) -> None:
        self.arrive(self.wire.pop(0 if self.reliable else pick % len(self.wire)))

    @precondition(lambda self: self.wire and not self.reliable)
    @rule(pick=st.integers(0, 50))
    def lose(self, pick: int) -> None:
        self.wire.pop(pick % len(self.wire))

    @precondition(lambda self: self.wire and not self.reliable)
    @rule(pick=st.integers(0, 50))
    def double(self, pick: int) -> None:
        self.wire.append(self.wire[pick % len(self.wire)])

    @precondition(lambda self: self.asked)
    @rule(pick=st.integers(0, 50), status=st.sampled_from([100, 180, 200, 200, 486, 500]))
    def answer(self, pick: int, status: int) -> None:
        asked = self.asked[pick % len(self.asked)]
        if asked.served:
            self.respond(asked, asked.served[-1], status)

    @rule(seconds=st.sampled_from([0.1, 0.6, 3.0, 10.0, 40.0]))
    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.next_deadline()) is not None and at <= end:
            self.now = max(self.now, at)
            for transaction in self.client.timers(self.now):
                self.asked[transaction.user].outcomes.append(408)
            self.server.timers(self.now)
            self.put()
        self.now = end
        if not self.reliable:
            self.wire = [copy for copy in self.wire if self.now - copy.sent_at <= T4]  # none stays longer

    @invariant()
    def one_outcome_which_is_the_servers_first(self) -> None:
        for asked in self.asked:
            assert len(set(asked.outcomes)) <= 1
            if asked.outcomes and asked.outcomes[0] != 408:
                assert asked.outcomes[0] in asked.answers
            if asked.outcomes and not 200 <= asked.outcomes[0] < 300:
                assert len(asked.outcomes) == 1

    @invariant()
    def no_two_live_servers_for_one_request(self) -> None:
        for asked in self.asked:
            assert all(served.state is State.TERMINATED for served in asked.served[:-1])

    @invariant()
    def little_is_sent(self) -> None:
        for data, count in self.sent.items():
            request = not data.startswith((b"SIP/2.0", b"ACK"))
            assert not request or count <= (1 if self.reliable else REQUESTS_MAX)
            assert not self.reliable or count == 1 or data.startswith(b"SIP/2.0 1")  # which its user may repeat

    def teardown(self) -> None:
        if not hasattr(self, "reliable"):
            return
        for _ in range(3):  # what is asked arrives, is answered, and the answer arrives
            while self.wire:
                self.arrive(self.wire.pop(0))
            for asked in self.asked:
                if asked.served and asked.served[-1].state in (State.TRYING, State.PROCEEDING):
                    self.respond(asked, asked.served[-1], 500)
        self.wait(LONGEST_S)
        self.wire.clear()
        assert len(self.server) == 0
        for asked in self.asked:
            left = asked.transaction.state
            proceeding = asked.transaction.request is not None and asked.transaction.request.method == "INVITE"
            assert left is State.TERMINATED or (proceeding and left is State.PROCEEDING)  # limited by its user
            assert asked.outcomes or left is State.PROCEEDING
        assert self.next_deadline() is None

    # The two users and the wire

    def respond(self, asked: Asked, served: Transaction, status: int) -> None:
        assert asked.transaction.request is not None
        if served.state in (State.TRYING, State.PROCEEDING):
            asked.answers.append(status)
        data = reply(Incoming.of(asked.transaction.request, self.there), status, "tag")
        self.server.respond(served, status, data, self.now)
        self.put()

    def arrive(self, copy: Copy) -> None:
        message = parse(copy.data)
        if isinstance(message, Request):
            self.serve(message)
        else:
            self.hear(message)
        self.put()

    def serve(self, request: Request) -> None:
        if request.method == "ACK":
            self.server.acknowledged(request, self.now)
        elif not self.server.repeated(request, self.now):
            asked = self.asked[int(request.call_id.removeprefix("call-"))]
            asked.served.append(self.server.serve(request, Incoming.of(request, self.there), 0))

    def hear(self, response: Response) -> None:
        transaction = self.client.receive(response, self.now)
        if transaction is not None and response.status >= 200:
            self.asked[transaction.user].outcomes.append(response.status)

    def put(self) -> None:
        for to_server, outgoing in ((True, self.from_client), (False, self.from_server)):
            for data, _ in outgoing:
                self.sent[data] = self.sent.get(data, 0) + 1
                self.wire.append(Copy(to_server, data, self.now))
            outgoing.clear()

    def next_deadline(self) -> float | None:
        times = [self.client.next_deadline(), self.server.next_deadline()]
        return min((at for at in times if at is not None), default=None)


TestTwoLayers: Any = TwoLayers.TestCase
TestTwoLayers.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
