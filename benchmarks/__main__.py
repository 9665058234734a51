"""All figures of the media gateway in one go: `python -m benchmarks` lists the commands, `--run FOLDER` runs them.

Each writes its figures as JSON into the folder and what it prints beside it. Leave the machine alone meanwhile: a run
that was disturbed says so, and a generator that misses its schedule makes its run void. They need a C compiler, and
apt-get install libssl-dev rtpengine-daemon; the profile needs pip install py-spy.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Step:
    """One benchmark, as it is called, and how long it takes on two cores (seconds)."""

    name: str
    arguments: str
    about_s: int

    def command(self, folder: Path) -> list[str]:
        """What is run."""
        return [sys.executable, "-m", *self.arguments.split(), "--json", str(folder / f"{self.name}.json")]


STEPS = (
    Step("siprec", "benchmarks.calls --kind siprec --calls 500 --compare rtpengine", 320),
    Step("siprec-python", "benchmarks.calls --kind siprec --calls 300 --no-native", 120),
    Step("trunk", "benchmarks.calls --kind trunk --calls 800", 135),
    Step("srtp", "benchmarks.calls --kind srtp --calls 400", 125),
    Step("srtp-python", "benchmarks.calls --kind srtp --calls 250 --no-native", 115),
    Step("webrtc", "benchmarks.calls --kind webrtc --calls 40", 110),
    Step("webrtc-profile", "benchmarks.calls --kind webrtc --calls 40 --seconds 30 --profile 20", 85),
    Step("speech", "benchmarks.latency --only-speech --calls 500 --seconds 30", 70),
    Step("speech-two-workers", "benchmarks.latency --only-speech --calls 500 --seconds 30 --media-workers 2", 75),
    Step("search", "benchmarks.search", 50),
    Step("erasure", "benchmarks.erasure --quick", 60),
    Step("tones", "benchmarks.tones", 15),
)
STEP_S_MAX = 600.0  # one that takes longer is ended, and has failed


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 when every command did."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="All figures of the media gateway.")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="run them, and write what they find there")
    arguments = parser.parse_args(argv)
    if arguments.run is None:
        print("\n".join(f"python -m {step.arguments:<82} # {step.about_s} s" for step in STEPS))
        print(f"# together {sum(step.about_s for step in STEPS) / 60:.0f} minutes")
        return 0
    arguments.run.mkdir(parents=True, exist_ok=True)
    return max([run(step, arguments.run) for step in STEPS])


def run(step: Step, folder: Path) -> int:
    """Run one; its exit status."""
    print(f"{step.name}: {step.arguments}, about {step.about_s} s", flush=True)
    began_s = time.monotonic()
    with (folder / f"{step.name}.txt").open("wb") as said:
        process = subprocess.Popen(step.command(folder), stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            status = process.wait(STEP_S_MAX)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # so that it ends what it has started
            status = process.wait()
    print(
        f"{step.name}: {'held' if status == 0 else f'exit {status}'} after {time.monotonic() - began_s:.0f} s",
        flush=True,
    )
    return abs(status)


if __name__ == "__main__":
    sys.exit(main())
