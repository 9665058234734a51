"""A call is counted once in every table, in the cell that its worst track belongs to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.statistics.cells import NONE, SEVERAL, TABLES, cells_of, empty
from gateway.statistics.disclosure import COUNT_MIN, disclose
from media.framelog import NOTHING
from media.timeline import Gap, TrackFacts
from media.timemap import Piece
from storage.model import CallState


def track(
    packets: int = 500, lost: int = 0, jitter_ms: float = 1.0, codec: str = "PCMA", seconds: float = 10
) -> TrackFacts:
    tally = replace(NOTHING, packets=packets, lost=lost, jitter_us=round(jitter_ms * 1000))
    end_us = round(1e6 * seconds)
    piece = Piece(0, round(8000 * seconds), 0, 8000)
    return TrackFacts((codec,), 8000, tally, 0, end_us, end_us, (piece,), ())


def test_every_table_can_be_disclosed_and_has_each_cell_once() -> None:
    assert disclose(empty()).total == 0
    assert all(len(set(cells)) == len(cells) <= COUNT_MIN + 1 for cells in TABLES.values())


def test_a_good_call() -> None:
    found = cells_of(CallState.STORED, {"duration_ms": 45_000}, [track(seconds=44), track(seconds=40)])
    assert found == {
        "outcome": "stored",
        "duration_s": "30-60",
        "talk_s": "30-60",
        "codec": "PCMA",
        "mos": ">=4.3",
        "loss_percent": "<0.1",
        "jitter_ms": "<5",
    }
    assert all(cell in TABLES[table] for table, cell in found.items())


def test_the_worst_track_counts() -> None:
    found = cells_of(CallState.INTERRUPTED, {}, [track(), track(packets=97, lost=3, jitter_ms=30, codec="opus")])
    assert (found["loss_percent"], found["jitter_ms"], found["codec"]) == ("2-5", "20-50", SEVERAL)
    assert found["mos"] == "2.6-3.1"
    assert found["duration_s"] == NONE


@pytest.mark.parametrize("state", [CallState.NO_MEDIA, CallState.NOT_RECORDED])
def test_a_call_of_which_nothing_was_received_has_no_quality(state: CallState) -> None:
    found = cells_of(state, {"duration_ms": 1}, [replace(track(packets=0), codecs=(), map=())])
    assert found["outcome"] == state.value
    assert {found[name] for name in ("talk_s", "codec", "mos", "loss_percent", "jitter_ms")} == {NONE}


def test_hold_is_no_talk() -> None:
    held = replace(track(seconds=100), gaps=(Gap(20_000_000, 95_000_000, "hold"),))
    assert cells_of(CallState.STORED, {}, [held])["talk_s"] == "10-30"
