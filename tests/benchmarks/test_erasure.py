"""The benchmark of erasing at its smallest: what it fills is as the store writes it, opens, and is erased."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import erasure
from benchmarks.erasurecases import expiries, in_a_bucket, single_and_person
from benchmarks.rigs import opened


def test_what_is_filled_opens_is_found_and_is_erased(tmp_path: Path) -> None:
    with opened(tmp_path) as rig:
        cases = single_and_person(rig, calls=40, of_person=4, long_s=120.0)
        assert (cases["call of 1 s"]["objects"], cases["call of 0.0333333 h"]["objects"]) == (2, 4)
        person = cases["person of 4 calls of 40"]
        assert (person["buckets_kept"], "keys_rewrapped" in person) == (3 * (40 - 2 - 4), False)  # a call a day
        assert person["refused_s"] < person["rewrapped_s"] < person["read_back_s"] < person["key_destroyed_s"]


def test_a_leaf_is_wrapped_anew_and_not_the_bucket(tmp_path: Path) -> None:
    with opened(tmp_path) as rig:
        cases = in_a_bucket(rig, calls=200)
        case = cases["call of a bucket of 200"]
        assert (case["leaves_replaced"], case["leaves_kept"], case["keys_rewrapped"]) == (1, 3, 63)
        assert cases["instead"]["keys"] == 200


def test_an_expiry_wraps_nothing_anew_and_is_swept_as_far_as_was_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as rig:
        cases = expiries(rig, sizes=(8, 40), swept=8)
        assert cases["expiry of 8 artefacts"]["buckets_dropped"] == 3
        assert "sweep_s" in cases["expiry of 8 artefacts"]
        assert "sweep_s" not in cases["expiry of 40 artefacts"]
        assert "keys_rewrapped" not in cases["expiry of 40 artefacts"]


@pytest.mark.parametrize(
    ("case", "missed"),
    [("sqlite: call of 1 s", 1), ("sqlite: person of 10 calls of 365", 0), ("sqlite: set-up", 0)],
)
def test_a_mark_is_missed_by_the_case_that_it_is_for(case: str, missed: int) -> None:
    assert len(erasure.misses(case, {"refused_s": 0.6, "key_destroyed_s": 5.1})) == missed
