"""Ten thousand held calls do not make the next one slower: every message is one look-up, time one heap."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from tests.gateway.sip.bench import ANSWER, Bench, packet, response_of

HELD = 10_000
ROUNDS = 15
CALLS = 20  # of one round: some ten milliseconds, so that one round lost to the host does not decide
RATIO_MAX = 3.0  # measured 1.0 to 1.2; a scan over all calls or transactions would make it some hundred


def set_up(bench: Bench, name: str, *, end: bool) -> None:
    """INVITE, 200, ACK and, if it is to `end`, BYE."""
    bench.send(packet("INVITE", call=name, branch=name))
    bench.agent.accept(bench.invited(), ANSWER, bench.now)
    tag = response_of(bench.taken()[0]).to.tag
    bench.send(packet("ACK", call=name, branch=f"{name}-ack", to_tag=tag))
    if end:
        bench.send(packet("BYE", call=name, branch=f"{name}-bye", seq=2, to_tag=tag))
    bench.events.clear()


def cost(bench: Bench, clock: Callable[[], float], number: int) -> float:
    """CPU seconds of some calls."""
    began = clock()
    for call in range(CALLS):
        set_up(bench, f"new-{number}-{call}", end=True)
    return clock() - began


def test_ten_thousand_held_calls_do_not_slow_the_set_up_of_the_next() -> None:
    idle, busy = (Bench(max_dialogs=2 * HELD) for _ in range(2))
    for number in range(HELD):
        set_up(busy, f"held-{number}", end=False)
        if number % 100 == 0:
            busy.wait(2.0)  # fifty a second
    assert busy.agent.dialogs == HELD
    costs = [(cost(idle, time.thread_time, n), cost(busy, time.thread_time, n)) for n in range(ROUNDS)]
    without, beside = (median(side) / CALLS * 1e6 for side in zip(*costs, strict=True))
    print(f"set-up and end of a call: {without:.0f} us CPU alone, {beside:.0f} us beside {HELD} held calls")
    assert beside < RATIO_MAX * without
    assert (idle.agent.dialogs, busy.agent.dialogs) == (0, HELD)
