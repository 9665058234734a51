"""Nothing that a peer or a network does raises, or leaves a call behind."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.events import Ended, Invited
from gateway.sip.invitations import PENDING_S_MAX
from gateway.sip.outcomes import Answered, Failed, HungUp
from gateway.sip.uas import UserAgent
from tests.gateway.sip.bench import ANSWER, FLOW, Bench, packet, reply_to, response_of
from tests.gateway.sip.network import Fate, Network, Seen
from tests.gateway.sip.test_message import TORTURE

EVERYTHING_S = PENDING_S_MAX + 100.0
"""The longest a call can hold out that nobody cares for: pending, then no ACK, then no answer to a BYE."""

METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "PRACK", "REGISTER", "FROB")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good packet with some bytes cut, changed or put in."""
    base = draw(st.sampled_from([*(packet(method) for method in METHODS), TORTURE]))
    raw = bytearray(base)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(raw)))
        cut = draw(st.integers(0, 12))
        raw[at : at + cut] = draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"\r\n", b";", b'"', b"<", b":", b",", b": ,\r\n"]))
        )
    return bytes(raw)


def settle(bench: Bench) -> None:
    """Hangs up what stands; after the longest time nothing may be left of any call."""
    for event in [event for event in bench.events if isinstance(event, Invited)]:
        bench.agent.bye(event.dialog, bench.now)
    bench.taken()
    bench.wait(EVERYTHING_S)
    assert bench.agent.dialogs == 0
    assert bench.agent.next_deadline() is None
    invited = [event.dialog for event in bench.events if isinstance(event, Invited)]
    assert sorted(event.dialog for event in bench.events if isinstance(event, Ended)) == invited


@given(st.lists(st.one_of(st.binary(max_size=200), damaged()), max_size=6))
@settings(max_examples=400, deadline=None)
def test_no_datagram_raises_or_leaves_a_stuck_dialog(datagrams: list[bytes]) -> None:
    bench = Bench()
    for data in datagrams:
        for answer in bench.send(data):
            assert answer.startswith(b"SIP/2.0 ")
    settle(bench)


Step = Callable[[Bench, str, int], list[bytes]]


def _command(do: Callable[[UserAgent, int, float], bool]) -> Step:
    def step(bench: Bench, tag: str, number: int) -> list[bytes]:
        if bench.agent.dialogs:
            do(bench.agent, bench.invited(), bench.now)
        return bench.taken()

    return step


DEMANDING = "Require: 100rel\nSupported: timer\nSession-Expires: 90;refresher=uas"
KNOWING = "Supported: 100rel, timer\nSession-Expires: 90\nAllow: UPDATE, OPTIONS"
TIMED = "Session-Expires: 90;refresher=uac"
STATUSES = (100, 200, 491, 481)


def _inside(method: str) -> Step:
    return lambda bench, tag, n: bench.send(packet(method, seq=n + 1, branch=f"{method[0]}{n}", to_tag=tag))


STEPS: dict[str, Step] = {
    "invite": lambda bench, tag, n: bench.send(packet("INVITE", branch=f"first{n % 2}")),
    "invite reliably": lambda bench, tag, n: bench.send(packet("INVITE", branch=f"first{n % 2}", extra=DEMANDING)),
    "invite without offer": lambda bench, tag, n: bench.send(
        packet("INVITE", branch=f"first{n % 2}", body=b"", extra=KNOWING)
    ),
    "cancel": lambda bench, tag, n: bench.send(packet("CANCEL", branch=f"first{n % 2}")),
    "ack": lambda bench, tag, n: bench.send(packet("ACK", branch="ack", to_tag=tag)),
    "reinvite": _inside("INVITE"),
    "cancel reinvite": lambda bench, tag, n: bench.send(packet("CANCEL", seq=n + 1, branch=f"I{n}", to_tag=tag)),
    "ack reinvite": _inside("ACK"),
    "answer in ack": lambda bench, tag, n: bench.send(packet("ACK", branch="ack", to_tag=tag, body=ANSWER)),
    "bye": _inside("BYE"),
    "options": _inside("OPTIONS"),
    "update": _inside("UPDATE"),
    "offer update": lambda bench, tag, n: bench.send(
        packet("UPDATE", seq=n + 1, branch=f"O{n}", to_tag=tag, body=ANSWER, extra=KNOWING)
    ),
    "prack": lambda bench, tag, n: bench.send(
        packet("PRACK", seq=n + 1, branch=f"P{n}", to_tag=tag, extra=f"RAck: {bench.rseq} 1 INVITE")
    ),
    "prack with sdp": lambda bench, tag, n: bench.send(
        packet("PRACK", seq=n + 1, branch=f"P{n}", to_tag=tag, extra=f"RAck: {bench.rseq} 1 INVITE", body=ANSWER)
    ),
    "answer ours": lambda bench, tag, n: [
        raw for asked in bench.asked[-2:] for raw in bench.send(reply_to(asked, STATUSES[n], extra=TIMED))
    ],
    "answer update": _command(lambda agent, dialog, now: agent.update(dialog, ANSWER, now)),
    "probe": _command(lambda agent, dialog, now: agent.probe(dialog, now)),
    "ring": _command(lambda agent, dialog, now: agent.ring(dialog, now)),
    "early media": _command(lambda agent, dialog, now: agent.ring(dialog, now, ANSWER)),
    "accept": _command(lambda agent, dialog, now: agent.accept(dialog, ANSWER, now)),
    "reject": _command(lambda agent, dialog, now: agent.reject(dialog, 486, "", now)),
    "hang up": _command(lambda agent, dialog, now: agent.bye(dialog, now)),
    "wait": lambda bench, tag, n: bench.wait((0.3, 5.0, 46.0, 200.0)[n]),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 3)), max_size=25))
@settings(max_examples=400, deadline=None)
def test_no_order_of_messages_commands_and_time_leaves_a_stuck_dialog(script: list[tuple[str, int]]) -> None:
    bench, tag = Bench(), ""
    for name, number in script:
        for raw in STEPS[name](bench, tag, number):
            if raw.startswith(b"SIP/2.0 ") and b" INVITE\r\n" in raw:
                tag = response_of(raw).to.tag or tag
    settle(bench)


@pytest.mark.parametrize("seed", range(40))
def test_a_bad_network_costs_time_and_no_call(seed: int) -> None:
    """15 % lost each way, 10 % doubled, delays of 1 to 400 ms that reorder: established and ended exactly once."""
    chance = Random(seed)

    def fate(seen: Seen) -> Fate:
        if chance.random() < 0.15:
            return ()
        copies = 2 if chance.random() < 0.1 else 1
        return tuple(0.001 + 0.4 * chance.random() for _ in range(copies))

    network = Network(fate, answer_after_s=0.1)
    calls = [network.call() for _ in range(5)]
    network.run(30)
    for call in calls:
        network.caller.hang_up(call, network.now)
    network.run(EVERYTHING_S)
    answered = [event.call for event in network.heard if isinstance(event, Answered)]
    assert sorted(answered) == calls
    assert sorted(event.call for event in network.heard if isinstance(event, HungUp | Failed)) == calls
    assert sorted(event.dialog for event in network.events if isinstance(event, Ended)) == [1, 2, 3, 4, 5]
    assert network.server.dialogs == 0
    assert (network.server.next_deadline(), network.caller.next_deadline()) == (None, None)


def test_flipped_bits_never_raise() -> None:
    chance = Random(1)
    bench = Bench()
    for _ in range(3000):
        raw = bytearray(packet(chance.choice(METHODS), branch=str(chance.random())))
        for _ in range(chance.randrange(8)):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        bench.agent.receive(bytes(raw), FLOW, bench.now)
        bench.taken()
    settle(bench)
