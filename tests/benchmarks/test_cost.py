"""Microseconds, calls a core, and what a profiler's stacks are taken for."""

from __future__ import annotations

from benchmarks.cost import Stages, calls_per_core, cost, us, us_per_packet
from benchmarks.processes import Use
from benchmarks.profiling import apportioned, shares, sort

ENGINE = "main (gateway/processes/media.py:97);Worker.run (media/worker.py:96);Engine.tick (media/engine.py:281)"
STACKS = [
    f"{ENGINE};Listener.listen (media/listen.py:40);Ears.hear (media/ears.py:101);_narrowed (media/ears.py:147) 5",
    f"{ENGINE};Listener.listen (media/listen.py:40);Ears.hear (media/ears.py:105) 1",
    f"{ENGINE};Engine._receive (media/engine.py:330);Intake.take (media/intake.py:93) 2",
    "run (asyncio/runners.py:190);Peer._take_media (media/webrtc/peer.py:148);unprotect (pylibsrtp/__init__.py:9) 2",
    "run (asyncio/runners.py:190);BaseEventLoop._run_once (asyncio/base_events.py:1884);epoll_wait (libc.so.6) 9",
    "Condition.wait (threading.py:331);PyThread_acquire_lock_timed (libpython3.11.so.1.0);0x7fa8f10aee0b (libc.so.6) 9",
]


def use(at_s: float, **cpu_s: float) -> Use:
    return Use(at_s, cpu_s, frozenset({1}))


def test_calls_a_core_are_those_whose_packets_take_seven_tenths_of_it() -> None:
    assert calls_per_core(14.0, 2) == 500
    assert calls_per_core(14.0, 1) == 1000
    assert calls_per_core(0.0, 2) == 0
    assert us_per_packet(500, 2) == 14.0
    assert us(0.5, 100_000) == 5.0


def test_the_cost_is_of_everything_from_the_first_invite_until_all_is_stored() -> None:
    stages = Stages(
        use(0, media=1.0), use(1, media=1.5), use(2, media=2.5, uploader=0.5), use(3, media=3.0, uploader=1)
    )
    figures = cost(stages, packets=100_000, calls=10, tracks=2)
    assert figures["cpu_us_per_packet"] == 30.0
    assert figures["cpu_us_per_packet_by_role"] == {"media": 20.0, "uploader": 10.0}
    assert figures["cpu_us_per_packet_while_talking"] == 15.0
    assert (figures["cpu_ms_per_call_setup"], figures["cpu_ms_per_call_hang_up"]) == (50.0, 100.0)
    assert figures["calls_per_core"] == 233


def test_a_stack_is_sorted_by_the_first_kind_of_work_that_it_shows_unless_it_waits() -> None:
    counts = sort(STACKS)
    assert counts == {"decoding for speech detection": 5, "speech detection": 1, "RTP": 2, "SRTP": 2}
    found = {"media": shares(counts)}
    assert apportioned(found, {"media": 50.0, "nats": 2.0})[0] == ("media", "decoding for speech detection", 25.0)
    assert apportioned(found, {"media": 50.0, "nats": 2.0})[-1] == ("nats", "everything", 2.0)
