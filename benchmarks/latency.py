"""How long a call waits for callvault: `python -m benchmarks.latency [--calls 1,10] [--background 0] [--json FILE]`.

At each load, so many calls of two tracks at once, in rounds, on a whole callvault, while as many others talk on as
`--background` says. Transcription is on up to 10 calls: on one machine it takes what the call path is measured with.
For every call:

    setup           INVITE on the wire → 200 received
    speech          kernel stamp of the packet that decided → `speech_started` read by a subscriber
    onset           the labelled begin of speech in the audio, as it was sent → the same
    ready           BYE on the wire → the call no longer live, and the first byte of its WAV received
    transcript      BYE on the wire → the redacted transcript received

With `--only-speech` calls talk and are hung up, and `speech` and `onset` are all that is measured besides `setup`: for
many at once, `--only-speech --calls 500 --seconds 30`. How many of them were up is said; the others are failures.

p50, p95 and p99 of each. Beside `onset` stand the starts that no label explains, by the minute of audio. A subscriber
waits for the events; what follows the end of a call is asked for when `call_ended` says so, as a customer's system
would.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import installation, machine, native, report, speech
from benchmarks.installation import Installation
from benchmarks.rounds import KIND, MEASURES, RATE, WAIT_S, Heard, Round, Samples
from benchmarks.signalling import CALLER_ADDRESS, PACKETS_A_SECOND, Call, Callers, legs_of, make_calls
from benchmarks.speech import Speech

TRANSCRIBED_MAX = 10
SHED = "callvault_media_cells_shed_total"  # cells of 20 ms without a speech decision, for lack of time
SPEECH = ("setup", "speech", "onset")
ROUND_S_MAX = 10.0  # what a round takes beside its media


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 when everything asked for came, and the generator kept its schedule."""
    arguments = parse(argv)
    circle = speech.make()
    where = machine.describe()
    print(report.heading("Latency, in milliseconds", where))
    loads: list[dict[str, object]] = []
    with native.generator(native.frames_of(circle.octets)) as generator:
        for calls in arguments.calls:
            samples = calls if arguments.only_speech else max(arguments.samples, calls)
            load = Load(
                calls, arguments.background, samples, arguments.seconds, arguments.only_speech, arguments.media_workers
            )
            loads.append(run(load, generator, circle))
            print(_table(loads[-1]) + "\n")
    report.write(arguments.json, {"machine": where, "loads": loads})
    return 1 if any(load["failures"] or load["void"] for load in loads) else 0


@dataclass(frozen=True, slots=True)
class Load:
    """`samples` calls are measured, `calls` of them at once for `seconds` each, beside `background` others."""

    calls: int
    background: int
    samples: int
    seconds: float
    only_speech: bool = False
    media_workers: int = 1

    @property
    def rounds(self) -> int:
        return -(-self.samples // self.calls)

    @property
    def transcribed(self) -> bool:
        return self.calls + self.background <= TRANSCRIBED_MAX and not self.only_speech

    @property
    def measures(self) -> tuple[str, ...]:
        return SPEECH if self.only_speech else MEASURES


def run(load: Load, generator: native.Generator, circle: Speech) -> dict[str, object]:
    """One load on a fresh installation."""
    samples = Samples()
    heard = Heard()
    overrides = {"MEDIA__WORKERS": load.media_workers} | ({} if load.transcribed else {"TRANSCRIPTION__WORKERS": 0})
    with (
        installation.running(overrides) as running,
        contextlib.closing(Callers(CALLER_ADDRESS, running.sip)) as callers,
    ):
        threading.Thread(target=heard.read, args=(running.client,), daemon=True).start()
        before, callvault_s, own_s = machine.load(), running.cpu().total_s, time.process_time()
        with _talking(load, running, callers, generator, circle) as background:
            for turn in range(load.rounds):
                made = make_calls(KIND, turn * load.calls, load.calls)
                a_round = Round(running, callers, heard, circle, made, samples, load.transcribed)
                (a_round.measure_speech if load.only_speech else a_round.measure)(generator, load.seconds)
        used_s = running.cpu().total_s - callvault_s + time.process_time() - own_s
        shares = machine.disturbance(before, machine.load(), used_s)
        shed = running.metric(SHED)
        complaints = running.complaints()
    samples.failures += [f"background: {call.failure}" for call in background if call.failure]
    kept = samples.schedule_kept
    return {
        "calls": load.calls,
        "background": load.background,
        "media_workers": load.media_workers,
        "calls_measured": samples.calls,
        "rounds": load.rounds,
        "seconds": load.seconds,
        **{f"{name}_ms": report.percentiles(samples.ms[name]) for name in load.measures},
        "false_starts_a_minute": round(60 * samples.false_starts / max(1.0, samples.audio_s), 2),
        "missed_onsets": samples.missed_onsets,
        "labelled_onsets": samples.onsets,
        "cells_shed": round(shed),
        "cells": round(samples.audio_s * PACKETS_A_SECOND),
        "schedule_kept": round(kept, 5),
        "failures": [f"{count} times: {why}" for why, count in Counter(samples.failures).most_common()],
        "void": [f"the generator kept only {kept:.2%} of its schedule"] if kept < native.SCHEDULE_SHARE_MIN else [],
        "machine_load": shares,
        "remarks": machine.objections(shares),
        "log": complaints,
    }


@contextlib.contextmanager
def _talking(
    load: Load, running: Installation, callers: Callers, generator: native.Generator, circle: Speech
) -> Iterator[list[Call]]:
    """Calls that talk as long as the context lasts, of which nothing is measured."""
    calls = make_calls(KIND, load.rounds * load.calls, load.background)
    if not calls:
        yield calls
        return
    callers.call(calls, RATE)
    callers.run(lambda: all(call.state in ("up", "failed") for call in calls), WAIT_S)
    up = [call for call in calls if call.state == "up"]
    packets = round((load.rounds * (load.seconds + ROUND_S_MAX) + WAIT_S) * PACKETS_A_SECOND)
    sending = generator.start(legs_of(up, running.sip[0], time.monotonic_ns() + native.LEAD_NS, packets, circle.pause))
    try:
        yield calls
    finally:
        sending.stop()
        callers.hang_up(up, RATE)
        callers.run(lambda: all(call.state in ("over", "failed") for call in up), WAIT_S)


def _table(load: dict[str, object]) -> str:
    rows = []
    for name in MEASURES:
        found = load.get(f"{name}_ms", {})
        assert isinstance(found, dict)
        rows.append([name, *(found.get(column, "none") for column in ("p50", "p95", "p99", "count"))])
    lines = [report.table([f"at {load['calls']} calls", "p50", "p95", "p99", "count"], rows)]
    names = (
        "background",
        "media_workers",
        "false_starts_a_minute",
        "missed_onsets",
        "labelled_onsets",
        "cells_shed",
        "cells",
        "calls_measured",
        "schedule_kept",
        "failures",
        "void",
        "remarks",
        "log",
    )
    return "\n".join([*lines, *(f"{name:<22} {load[name]}" for name in names)])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description="How long a call waits.")
    parser.add_argument("--calls", type=_numbers, default=[1, 10], help="loads, as calls at once: 1,10")
    parser.add_argument("--only-speech", action="store_true", help="nothing of what follows the end of a call")
    parser.add_argument("--media-workers", type=int, default=1, metavar="N", help="that take calls; one more stands by")
    parser.add_argument("--background", type=int, default=0, help="calls that talk on beside them")
    parser.add_argument("--samples", type=int, default=20, help="calls measured at each load")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each call talks")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
