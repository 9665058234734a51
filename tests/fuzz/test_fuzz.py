"""Every parser keeps its promise: over the corpus, and over some hundred damaged copies of it in each run."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings

from tests.fuzz.arrays import sparing
from tests.fuzz.damage import damaged
from tests.fuzz.growth import Grown, Growth
from tests.fuzz.target import CORPUS, CPU_S_MAX, Hang, Target
from tests.fuzz.targets import TARGETS

EXAMPLES = 60  # of each of some twenty-five targets: a few seconds in all; `python -m tests.fuzz` looks for longer
CORPUS_BYTES_MAX = 1 << 20
FILES = range(1, 100)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_does_no_harm(name: str) -> None:
    for data in TARGETS[name].kept():
        TARGETS[name].check(data)


@pytest.mark.parametrize("name", TARGETS)
def test_nor_does_what_is_nearly_that(name: str) -> None:
    target = TARGETS[name]

    @given(damaged(target.kept()))
    @settings(max_examples=EXAMPLES, deadline=None)
    def no_harm(data: bytes) -> None:
        target.check(data)

    no_harm()


def test_every_target_has_a_corpus_and_it_is_small() -> None:
    assert sorted(TARGETS) == sorted(path.name for path in CORPUS.iterdir())
    assert all(len(target.kept()) in FILES for target in TARGETS.values())
    assert sum(path.stat().st_size for path in CORPUS.glob("*/*")) < CORPUS_BYTES_MAX


def _raising(data: bytes) -> bytes:
    if data == b"bad":
        raise LookupError
    if data == b"refused":
        raise ValueError
    return data


def _looping(data: bytes) -> None:
    end = time.thread_time() + len(data) * CPU_S_MAX * 1.1
    while time.thread_time() < end:
        pass


def test_a_process_that_keeps_more_and_more_is_found() -> None:
    resident = iter([100.0, 100.0, 200.0])
    clock = iter([0.0, 3.0, 5.0, 9.0, 10.0])
    growth = Growth(10.0, now=clock.__next__, resident_mib=resident.__next__)
    for _ in range(3):
        growth.took(0.001)
    with pytest.raises(Grown, match="200 MiB at the end"):
        growth.report("own")


def test_what_is_promised_is_borne_and_all_else_is_found() -> None:
    target = Target("own", _raising, _looping, (ValueError,), list)
    assert target.check(b"") < CPU_S_MAX
    target.check(b"refused")
    with pytest.raises(LookupError):
        target.check(b"bad")
    with pytest.raises(Hang):
        target.check(b"1")


def test_arrays_are_compared_behind_the_back_of_a_hook_and_nothing_else_is() -> None:
    """Atheris's keeps every array that a comparison gives."""
    seen: list[object] = []

    def hook(left: object, right: object, operation: int, *more: object) -> object:
        seen.append((left, right, operation, *more))
        return "hooked"

    compare, array = sparing(hook), np.arange(3)
    for number, expected in enumerate(([1, 0, 0], [1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 1])):
        assert compare(array, 1, number, 7, False).tolist() == expected
        assert compare(np.ones(3, np.int64), array, number, 7, True).tolist() == expected[::-1]
    assert seen == []
    assert compare(1, 2, 0, 7, False) == "hooked"
    assert seen == [(1, 2, 0, 7, False)]
