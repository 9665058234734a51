"""The list of all figures: commands that exist, in a time that can be found, and what is said of one that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import calls, erasure, latency, search, tones
from benchmarks.__main__ import STEPS, Step, main, run

PARSERS: dict[str, Callable[[list[str]], object]] = {
    "benchmarks.calls": calls.parse,
    "benchmarks.erasure": erasure.parse,
    "benchmarks.latency": latency.parse,
    "benchmarks.search": search.parse,
    "benchmarks.tones": tones.parse,
}


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_command_can_be_read(step: Step, tmp_path: Path) -> None:
    module, *options = step.command(tmp_path)[2:]
    PARSERS[module](options)


def test_together_they_take_less_than_half_an_hour(capsys: pytest.CaptureFixture[str]) -> None:
    assert sum(step.about_s for step in STEPS) <= 22 * 60
    assert main([]) == 0
    assert capsys.readouterr().out.count("python -m ") == len(STEPS)


def test_one_that_fails_is_told_and_leaves_what_it_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Step("wrong", "benchmarks.search --days none", 1), tmp_path) == 2
    assert "wrong: exit 2" in capsys.readouterr().out
    assert "invalid int value" in (tmp_path / "wrong.txt").read_text()
