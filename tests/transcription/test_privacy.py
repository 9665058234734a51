"""What the engines' libraries do behind our back: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOADING = """
import numpy
from transcription.engines import open_engine
from transcription.redaction.rampart import open_names
from transcription.redaction.tokens import line_of
open_engine().transcribe(numpy.zeros(16_000, numpy.float32), "en")
assert list(open_names().find([line_of("caller", "ask Oluwaseun Adeyemi to ring me")]))
"""


def test_loading_and_using_the_models_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOADING], env=os.environ | home, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == []
