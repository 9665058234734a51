"""`python -m tests.fuzz TARGET --seconds N`: one target for a while; `--keep` makes the corpus from what was found.

Guided by coverage where atheris is installed (the extra `fuzz`), else hypothesis damages what is kept. What raises,
or hangs, ends the run with the input in a file of FOUND. What atheris finds on new ways is left in FOUND too, and
`--keep` then takes from seeds, corpus and that the fewest inputs that go every way that any of them goes.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

from tests.fuzz.arrays import sparing
from tests.fuzz.growth import Growth

FOUND = Path("build") / "fuzz"
RSS_MB_MAX = 2048  # where libFuzzer ends the run by itself
TIMEOUT_S = 10  # of wall time, for one input that never comes back; Hang is raised long before
PACKAGES = ["gateway", "media", "storage"]  # whose coverage guides


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep", action="store_true", help="make the target's corpus anew")
    parser.add_argument("--hypothesis", action="store_true", help="even where atheris is installed")
    chosen = parser.parse_args()
    found = FOUND / chosen.target
    if chosen.keep:
        from tests.fuzz.keep import keep

        print(keep(chosen.target, found))
    elif chosen.hypothesis or importlib.util.find_spec("atheris") is None:
        _damage(chosen.target, chosen.seconds)
    else:
        _guide(chosen.target, chosen.seconds, found)


def _guide(name: str, seconds: int, found: Path) -> None:
    """Atheris, for so long; never returns."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.target import CORPUS, LENGTH_MAX

    target = TARGETS[name]
    growth = Growth(seconds)
    found.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (found / f"seed-{number}").write_bytes(seed)

    begun = False

    def one(data: bytes) -> None:
        nonlocal begun
        if not begun:  # `Fuzz` has put its own in place; instrumented code asks the module for it
            begun, atheris._trace_cmp = True, sparing(atheris._trace_cmp)
        growth.took(target.check(data))
        if growth.over:  # libFuzzer ends the process without a word to Python
            print(growth.report(name), flush=True)

    kept = [str(CORPUS / name)] if (CORPUS / name).is_dir() else []
    options = [
        f"-max_total_time={seconds + 1}",
        f"-max_len={LENGTH_MAX}",
        f"-rss_limit_mb={RSS_MB_MAX}",
        f"-timeout={TIMEOUT_S}",
        f"-artifact_prefix={found.parent}/{name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(found), *kept], one)
    atheris.Fuzz()


def _damage(name: str, seconds: int) -> None:
    """Hypothesis, for so long."""
    from hypothesis import given, settings

    from tests.fuzz.damage import damaged
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    growth = Growth(seconds)

    @given(damaged(target.kept()))
    @settings(max_examples=1000, deadline=None, database=None)
    def some(data: bytes) -> None:
        growth.took(target.check(data))

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        some()
    print(growth.report(name))


if __name__ == "__main__":
    main()
