"""Transactions under scripted time and loss: what is repeated, when, until when, and who is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.sip.machines import SERVER_INVITE, State
from gateway.sip.reply import Incoming, reply
from gateway.sip.transaction import MAX_TRANSACTIONS, RESERVED_TRANSACTIONS, Outgoing, Transaction, Transactions
from tests.gateway.sip.bench import FLOW, OUTWARD, packet, request_of, response_of

INVITE = request_of(packet("INVITE"))
BYE = request_of(packet("BYE"))
THEIRS = Incoming.of(INVITE, FLOW)


class Line:
    """A transaction layer and a clock; every departure is written down."""

    def __init__(self) -> None:
        self.out: list[Outgoing] = []
        self.layer = Transactions(self.out)
        self.now = 0.0
        self.departures: list[tuple[float, str]] = []
        self.gave_up: list[Transaction] = []

    def note(self) -> None:
        """What waits goes out now."""
        self.departures += [(self.now, data.split(b"\r\n")[0].decode()) for data, _ in self.out]
        self.out.clear()

    def run(self, seconds: float) -> None:
        """Time passes, deadline by deadline."""
        end = self.now + seconds
        self.note()
        while (deadline := self.layer.next_deadline()) is not None and deadline <= end:
            self.now = deadline
            self.gave_up += self.layer.timers(deadline)
            self.note()
        self.now = end

    def times(self, start: str) -> list[float]:
        """When messages that begin so left."""
        return [at for at, line in self.departures if line.startswith(start)]

    def answer(self, transaction: Transaction, status: int) -> None:
        """A server's user answers."""
        self.layer.respond(transaction, status, reply(THEIRS, status, "tag"), self.now)

    def hear(self, status: int, *, of: Transaction) -> bool:
        """The peer answers a client's request; whether its user is told."""
        assert of.request is not None
        heard = Incoming.of(of.request, OUTWARD)
        return self.layer.receive(response_of(reply(heard, status, "theirs")), self.now) is of


def test_invite_is_repeated_with_doubling_intervals_until_64_t1() -> None:
    line = Line()
    invite = line.layer.request(INVITE, OUTWARD, 7, 0.0)
    line.run(100)
    assert line.times("INVITE") == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert line.gave_up == [invite]
    assert invite.user == 7
    assert len(line.layer) == 0


def test_other_request_is_repeated_at_most_every_t2() -> None:
    line = Line()
    bye = line.layer.request(BYE, OUTWARD, 1, 0.0)
    line.run(100)
    assert line.times("BYE") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert line.gave_up == [bye]


def test_provisional_answer_slows_other_requests_to_t2() -> None:
    line = Line()
    bye = line.layer.request(BYE, OUTWARD, 1, 0.0)
    line.run(0.2)
    assert line.hear(100, of=bye)
    line.run(20)
    assert line.times("BYE") == [0, 0.5, 4.5, 8.5, 12.5, 16.5]
    assert line.hear(200, of=bye)
    line.run(100)
    assert len(line.times("BYE")) == 6
    assert line.gave_up == []


def test_provisional_answer_stops_the_repeating_of_invite() -> None:
    line = Line()
    invite = line.layer.request(INVITE, OUTWARD, 1, 0.0)
    line.run(0.7)
    assert line.hear(180, of=invite)
    assert line.hear(180, of=invite)
    line.run(100)
    assert line.times("INVITE") == [0, 0.5]
    assert line.gave_up == []


def test_failure_is_acknowledged_each_time_it_comes_and_told_once() -> None:
    line = Line()
    request = request_of(packet("INVITE", extra="Route: <sip:p1;lr>"))
    invite = line.layer.request(request, OUTWARD, 1, 0.0)
    assert line.hear(486, of=invite)
    assert not line.hear(486, of=invite)
    acks = [request_of(data) for data, _ in line.out[1:]]
    assert len(acks) == 2
    assert acks[0] == acks[1]
    assert (acks[0].via, acks[0].uri, acks[0].cseq.number) == (request.via, request.uri, 1)
    assert (acks[0].to.tag, acks[0].headers.all("Route")) == ("theirs", ["<sip:p1;lr>"])
    line.run(31.9)
    assert len(line.layer) == 1
    line.run(0.2)
    assert len(line.layer) == 0


def test_every_2xx_is_told_for_64_t1() -> None:
    line = Line()
    invite = line.layer.request(INVITE, OUTWARD, 1, 0.0)
    assert line.hear(200, of=invite)
    assert line.hear(200, of=invite)
    line.run(32)
    assert not line.hear(200, of=invite)


def test_refused_invite_repeats_its_answer_until_the_ack() -> None:
    line = Line()
    served = line.layer.serve(INVITE, THEIRS)
    line.answer(served, 486)
    line.run(9)
    assert line.times("SIP/2.0 486") == [0, 0.5, 1.5, 3.5, 7.5]
    assert line.layer.acknowledged(request_of(packet("ACK")), line.now)
    line.run(4.9)
    assert len(line.layer) == 1
    line.run(0.2)
    assert (len(line.layer), len(line.departures)) == (0, 5)


def test_refused_invite_gives_up_without_an_ack() -> None:
    line = Line()
    line.answer(line.layer.serve(INVITE, THEIRS), 486)
    line.run(32)
    assert line.times("SIP/2.0 486")[-1] == 31.5
    assert (len(line.layer), line.gave_up) == (0, [])


def test_accepted_invite_answers_copies_and_passes_acks_up() -> None:
    line = Line()
    served = line.layer.serve(INVITE, THEIRS)
    line.answer(served, 200)
    assert line.layer.repeated(INVITE, 1.0)
    assert not line.layer.acknowledged(request_of(packet("ACK")), 1.0)
    line.run(31)
    assert line.times("SIP/2.0 200") == [0, 0]
    assert served.state is State.ACCEPTED
    line.run(1)
    assert not line.layer.repeated(INVITE, line.now)


def test_copy_of_an_unanswered_request_is_absorbed() -> None:
    line = Line()
    line.layer.serve(BYE, THEIRS)
    assert line.layer.repeated(BYE, 0.0)
    assert line.out == []


def test_answered_request_repeats_its_answer_for_64_t1() -> None:
    line = Line()
    line.answer(line.layer.serve(BYE, THEIRS), 200)
    line.run(31.9)
    assert line.layer.repeated(BYE, line.now)
    line.run(0.2)
    assert len(line.times("SIP/2.0 200")) == 2
    assert not line.layer.repeated(BYE, line.now)


def test_final_answer_is_sent_once_and_the_first_counts() -> None:
    line = Line()
    served = line.layer.serve(INVITE, THEIRS)
    line.answer(served, 487)
    line.answer(served, 200)
    line.run(0.1)
    assert [start for _, start in line.departures] == ["SIP/2.0 487 Request Terminated"]


@pytest.mark.parametrize(
    "change",
    [
        {"branch": "other"},
        {"call": "other"},
        {"seq": 2},
    ],
)
def test_another_request_is_no_copy(change: dict[str, str | int]) -> None:
    line = Line()
    line.layer.serve(INVITE, THEIRS)
    assert not line.layer.repeated(request_of(packet("INVITE", **change)), 0.0)  # type: ignore[arg-type]  # by name


def test_cancel_finds_its_invite_and_the_same_branch_of_another_host_does_not() -> None:
    line = Line()
    served = line.layer.serve(INVITE, THEIRS)
    assert line.layer.cancelled(request_of(packet("CANCEL"))) is served
    elsewhere = packet("CANCEL").replace(b"UDP 192.0.2.9", b"UDP 192.0.2.8")
    assert line.layer.cancelled(request_of(elsewhere)) is None


def test_merged_copy_is_known_as_long_as_the_first_lives() -> None:
    line = Line()
    served = line.layer.serve(INVITE, THEIRS, merge=True)
    copy = request_of(packet("INVITE", branch="other"))
    assert line.layer.merged(copy)
    line.answer(served, 486)
    line.run(40)
    assert not line.layer.merged(copy)


def test_server_holds_no_request() -> None:
    line = Line()
    served = line.layer.serve(INVITE, THEIRS)
    assert served.machine is SERVER_INVITE
    assert served.request is None


def test_flood_of_calls_leaves_room_inside_dialogs() -> None:
    line = Line()
    for number in range(MAX_TRANSACTIONS - RESERVED_TRANSACTIONS):
        line.layer.serve(replace(INVITE, call_id=str(number)), THEIRS)
    assert line.layer.full(in_dialog=False)
    assert not line.layer.full(in_dialog=True)
    for number in range(RESERVED_TRANSACTIONS):
        line.layer.serve(replace(BYE, call_id=str(number)), THEIRS)
    assert line.layer.full(in_dialog=True)
