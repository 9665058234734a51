"""Keys pressed: each one once, whatever the network does to its packets, and told only where that was asked for."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.dtmf import END, Keys, Press
from media.messages import Pressed

from .bench import Bench, Sender, noise


def event(number: int, ticks: int, *, end: bool = False) -> bytes:
    return struct.pack("!BBH", number, 10 | (END if end else 0), ticks)


def press(number: int, timestamp: int = 1000, *, step: int = 160, updates: int = 3) -> list[tuple[bytes, int]]:
    """The packets of one press: beginning, updates, three ends."""
    packets = [(event(number, step * (1 + n)), timestamp) for n in range(updates)]
    return packets + [(event(number, step * (1 + updates), end=True), timestamp)] * 3


def told(keys: Keys, packets: list[tuple[bytes, int]], at_us: int = 1_020_000) -> list[Press]:
    found = []
    for number, (payload, timestamp) in enumerate(packets):
        found += keys.receive(payload, timestamp, at_us + 20_000 * number)
    return found


@pytest.mark.parametrize(("clock_hz", "step"), [(8000, 160), (48_000, 960)])
def test_a_press_is_told_once_with_its_beginning_and_its_length(clock_hz: int, step: int) -> None:
    keys = Keys(clock_hz)
    assert told(keys, press(11, step=step)) == [Press("#", 1_000_000, 80)]
    assert keys.finish() == []


@pytest.mark.parametrize("kept", [[0], [2], [3], [5], [0, 4], [1, 1, 1], [0, 1, 2], [3, 4, 5], [2, 1, 3, 0, 5]])
def test_a_press_is_told_once_whatever_is_lost_or_comes_twice(kept: list[int]) -> None:
    keys, packets = Keys(8000), press(5)
    found = told(keys, [packets[n] for n in kept]) + keys.finish()
    assert [press.symbol for press in found] == ["5"]


def test_presses_of_the_same_key_are_told_apart_and_a_straggler_is_no_new_one() -> None:
    keys = Keys(8000)
    first, second = press(5, 0xFFFFFF00), press(5, 0x100)  # the timestamps go round
    assert len(told(keys, first[:4] + second + first[4:])) == 2
    assert len(told(keys, press(5, 0x900)[:3])) == 0
    assert [press.symbol for press in told(keys, press(0, 0xE00)[:1])] == ["5"]  # its ends were lost
    assert [press.symbol for press in keys.finish()] == ["0"]


@pytest.mark.parametrize("payload", [b"", b"\x05", b"\x05\x80\x00", event(16, 160), event(255, 160)])
def test_what_is_no_key_is_nothing(payload: bytes) -> None:
    keys = Keys(8000)
    assert keys.receive(payload, 1, 0) == []
    assert keys.finish() == []


@given(st.lists(st.tuples(st.binary(max_size=8), st.integers(0, 3)), max_size=40))
def test_whatever_comes_each_timestamp_is_at_most_one_press(packets: list[tuple[bytes, int]]) -> None:
    keys = Keys(8000)
    ordered = sorted(packets, key=lambda packet: packet[1])
    found = told(keys, [(payload, 160 * step) for payload, step in ordered]) + keys.finish()
    assert len(found) <= len({step for _, step in packets})
    assert all(0 <= press.duration_ms <= 60_000 for press in found)


def test_a_key_shows_in_no_repr() -> None:
    keys = Keys(8000)
    told(keys, press(11)[:1])
    assert "#" not in repr(Press("#", 1, 1)) + repr(Pressed(1, Press("#", 1, 1))) + repr(keys._current)


@pytest.mark.parametrize("keys", [True, False])
def test_a_leg_tells_its_keys_only_where_that_was_asked_for_and_never_has_them_in_its_audio(keys: bool) -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, keys=keys)
    bench.play(sender, noise(200))
    for payload, _ in press(9):
        bench.send(sender, sender.packet(payload, 101, ticks=0))
        bench.wait()
    sender.rest(120)
    bench.play(sender, noise(200, 2))
    bench.send(sender, sender.packet(event(3, 160), 101, ticks=0))  # it hangs up while a key is held
    bench.wait()
    facts = bench.close()
    bench.wait()
    found = [event for event in bench.events if isinstance(event, Pressed)]
    assert [pressed.press.symbol for pressed in found] == (["9", "3"] if keys else [])
    if keys:
        assert found[0].press.at_us == pytest.approx(200_000, abs=25_000)
        assert found[0].press.duration_ms == 80
    assert facts.tally.events == 7
    assert b"".join(chunk.frames.payload for chunk in bench.chunks()) == noise(200) + noise(200, 2)


def test_a_key_that_is_pressed_in_a_pause_is_never_told() -> None:
    bench, sender = Bench(), Sender()
    bench.open(1, sender, keys=True)
    bench.play(sender, noise(100))
    bench.engine.pause(1, bench.now_ns)
    for payload, _ in press(9):
        bench.send(sender, sender.packet(payload, 101, ticks=0))
        bench.wait()
    bench.engine.resume(1, bench.now_ns)
    bench.play(sender, noise(100))
    bench.close()
    bench.wait()
    assert not [event for event in bench.events if isinstance(event, Pressed)]
