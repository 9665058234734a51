"""The benchmark of the probe at its smallest: what was erased does not open, and its controls do."""

from __future__ import annotations

from pathlib import Path

from benchmarks.proving import measured


def test_both_claims_hold_with_a_control(tmp_path: Path) -> None:
    found = measured(tmp_path, calls=8, over=2)
    for claim, artefacts in (("one call", 4), ("tenant", 8 * 4 + 1)):
        assert (found[claim]["opened"], found[claim]["artefacts"]) == (0, artefacts)
        assert found[claim]["control_opened"] > 0
