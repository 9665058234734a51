"""What erasing costs, whatever is erased, and what keys cost before that.

    python -m benchmarks.erasure [--quick] [--database sqlite] [--json FILE]

A call of a second and of three hours, a person's calls, one call of a bucket with very many, a day's expiry of more
and more artefacts, a tenant's closing; over SQLite and PostgreSQL, and one call with each key provider. Then whether
the sweep of a big expiry, which nobody waits for, lets others work; what keys add to set-up; bytes of keys a call. In
the same run: wrapping all keys anew instead of a leaf's, and DELETE with VACUUM, which destroys nothing in a backup.

Seconds are on the wall; half a second of each erasure is the readers' lease. CPU is of this process, and apart from it
of the database's server and the key provider. Calls come by `benchmarks.filled`, which says what of them is not real.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.erasurecases import (
    Cases,
    beside_a_sweep,
    closing,
    expiries,
    in_a_bucket,
    setting_up,
    single_and_person,
    with_provider,
)
from benchmarks.rigs import DATABASES, PROVIDERS, opened

COLUMNS = ("intent_s", "refused_s", "key_destroyed_s", "certificate_s", "cpu_s", "others_cpu_s", "sweep_s")
MARKS = {
    "call": {"refused_s": 1.0, "key_destroyed_s": 5.0},
    "person": {"key_destroyed_s": 30.0},
    "tenant": {"key_destroyed_s": 10.0},
    "expiry": {"key_destroyed_s": 10.0},
}
"""What is promised, in seconds on an idle machine; of an expiry that its time does not grow."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    year_calls: int  # of four artefacts each, over 365 days
    person_calls: int
    bucket_calls: int
    expiries: tuple[int, ...]  # artefacts
    tenant_calls: int  # of one artefact each, over 365 days
    saved_calls: int
    long_s: float
    swept: int  # artefacts of the largest expiry that is swept to its end, and beside which others work
    watched_s: float


FULL = Sizes(36_500, 1_000, 100_000, (1_000, 100_000, 1_000_000), 1_000_000, 2_000, 3 * 3600.0, 100_000, 15.0)
QUICK = Sizes(730, 50, 1_000, (100, 1_000), 2_000, 100, 120.0, 1_000, 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit 0 unless a mark was missed."""
    arguments = parse(argv)
    sizes = QUICK if arguments.quick else FULL
    before, own_s = machine.load(), time.process_time()
    paces = [machine.pace_ms()]
    described = machine.describe()
    print(report.heading("Erasing; seconds on the wall, CPU seconds", described), flush=True)
    cases: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="callvault-bench-") as folder:
        for provider in arguments.provider:
            cases |= with_provider(Path(folder) / provider, provider)
        for database in arguments.database:
            cases |= over(Path(folder) / database, database, sizes)
            paces.append(machine.pace_ms())
    shares = machine.disturbance(before, machine.load(), time.process_time() - own_s)
    remarks = machine.objections(shares, paces)
    missed = [miss for name, case in cases.items() for miss in misses(name, case)]
    print(_table(cases))
    print("\n".join([*(f"missed: {miss}" for miss in missed), *(f"void? {remark}" for remark in remarks)]))
    figures = {"sizes": "quick" if arguments.quick else "full", "cases": cases, "missed": missed}
    report.write(arguments.json, {"machine": described, **figures, "machine_load": shares, "remarks": remarks})
    return 1 if missed else 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="everything once and small, in seconds")
    parser.add_argument("--database", nargs="*", choices=DATABASES, default=list(DATABASES))
    parser.add_argument("--provider", nargs="*", choices=PROVIDERS, default=list(PROVIDERS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    return parser.parse_args(argv)


def over(root: Path, database: str, sizes: Sizes) -> dict[str, dict[str, Any]]:
    """All cases over one database, in one catalogue: each works beside what the others have left."""
    cases: dict[str, dict[str, Any]] = {}
    with opened(root, database=database) as rig:
        parts: list[Callable[[], Cases]] = [
            lambda: setting_up(rig, sizes.saved_calls),
            lambda: single_and_person(rig, sizes.year_calls, sizes.person_calls, sizes.long_s),
            lambda: in_a_bucket(rig, sizes.bucket_calls),
            lambda: beside_a_sweep(rig, sizes.swept, sizes.watched_s),
            lambda: expiries(rig, sizes.expiries, sizes.swept),
            lambda: closing(rig, sizes.tenant_calls),
        ]
        for part in parts:
            found = {f"{database}: {name}": case for name, case in part().items()}
            cases |= found
            print(_lines(found), file=sys.stderr, flush=True)
    return cases


def misses(name: str, case: dict[str, Any]) -> list[str]:
    """The marks that a case has missed."""
    what_is_erased = name.rpartition(": ")[2]
    marks = next((found for word, found in MARKS.items() if what_is_erased.startswith(word + " ")), {})
    return [f"{name}: {what} {case[what]} > {most}" for what, most in marks.items() if case.get(what, 0.0) > most]


def _table(cases: dict[str, dict[str, Any]]) -> str:
    rows = [[name, *(case.get(column, "") for column in COLUMNS)] for name, case in cases.items() if "intent_s" in case]
    return report.table(("case", *COLUMNS), rows) + "\n" + _lines(cases)


def _lines(cases: Cases) -> str:
    return "\n".join(
        f"{name}: {', '.join(f'{key} {value}' for key, value in case.items())}" for name, case in cases.items()
    )


if __name__ == "__main__":
    sys.exit(main())
