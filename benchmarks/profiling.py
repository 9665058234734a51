"""Where a process spends its time: py-spy looks at every process of an installation, and its stacks are sorted by what
they do. The profiler stops what it looks at for moments, so a run that is profiled is for the shares alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import processes
from benchmarks.installation import Installation


class NoProfiler(Exception):
    """py-spy is not installed; the text says how."""


RATE_HZ = 200
GRACE_S = 60.0
SHARE_MIN = 0.01  # of a core: a process that does less is not looked at


def split(running: Installation, seconds: float) -> dict[str, dict[str, float]]:
    """For each process that works, by role, the share of each kind of work in its samples, the largest first."""
    program = shutil.which("py-spy") or shutil.which(str(Path(sys.executable).with_name("py-spy")))
    if program is None:
        raise NoProfiler("a profile needs py-spy: pip install py-spy")
    raise NotImplementedError
