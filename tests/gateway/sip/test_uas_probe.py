"""Probing a silent peer: only 408, 481 and silence end the call."""

from __future__ import annotations

import pytest

from gateway.sip.events import Ended, Probed
from gateway.sip.invitations import PENDING_S_MAX
from tests.gateway.sip.bench import Bench, only, packet, reply_to, request_of


@pytest.mark.parametrize(
    ("allow", "method"),
    [
        ("", "OPTIONS"),
        ("Allow: INVITE, ACK, BYE, OPTIONS, UPDATE", "OPTIONS"),
        ("Allow: INVITE, ACK, BYE, UPDATE", "UPDATE"),
        ("Allow: INVITE, ACK, BYE", "OPTIONS"),
    ],
)
def test_the_probe_is_something_that_the_peer_takes(allow: str, method: str) -> None:
    bench = Bench()
    number, _ = bench.call(extra=allow)
    assert bench.agent.probe(number, bench.now)
    assert not bench.agent.probe(number, bench.now)
    request = request_of(only(bench.taken()))
    assert (request.method, request.to.tag) == (method, "alice")


@pytest.mark.parametrize("status", [200, 401, 403, 404, 405, 500, 503, 603])
def test_any_other_answer_is_a_sign_of_life(status: int) -> None:
    bench = Bench()
    number, _ = bench.call()
    bench.agent.probe(number, bench.now)
    assert bench.send(reply_to(only(bench.taken()), status)) == []
    assert bench.events[-1] == Probed(number, status)
    assert bench.wait(60) == []
    assert bench.agent.probe(number, bench.now)


@pytest.mark.parametrize("status", [408, 481])
def test_a_peer_that_knows_nothing_of_the_call_ends_it(status: int) -> None:
    bench = Bench()
    number, _ = bench.call()
    bench.agent.probe(number, bench.now)
    bye = only(bench.send(reply_to(only(bench.taken()), status)))
    assert request_of(bye).method == "BYE"
    assert bench.events[-2:] == [Probed(number, status), Ended(number, "lost")]


def test_no_answer_at_all_ends_the_call() -> None:
    bench = Bench()
    number, _ = bench.call()
    bench.agent.probe(number, bench.now)
    bench.wait(33)
    assert bench.events[-2:] == [Probed(number, 408), Ended(number, "lost")]
    bench.wait(PENDING_S_MAX)
    assert (bench.agent.dialogs, bench.agent.next_deadline()) == (0, None)


def test_only_a_standing_call_is_probed() -> None:
    bench = Bench()
    bench.send(packet("INVITE"))
    assert not bench.agent.probe(bench.invited(), bench.now)
    assert not bench.agent.probe(99, bench.now)


def test_a_hang_up_while_it_is_probed_is_told_once() -> None:
    bench = Bench()
    number, _ = bench.call()
    bench.agent.probe(number, bench.now)
    probe = only(bench.taken())
    bench.agent.bye(number, bench.now)
    bench.send(reply_to(only(bench.taken()), 200))
    bench.send(reply_to(probe, 481))
    bench.wait(60)
    assert (bench.ends, bench.agent.dialogs) == (["local"], 0)
